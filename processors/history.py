"""A file of history: its records by topic, and the partitions that they would lie in.

Each line is {"topic", "append_time_ms", "value"}; a topic stands in the order in which it was appended, and how the
topics are interleaved says nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka.partitioner import murmur2

from processors.detector import Delivered
from processors.windows.store import why_refused
from schemas.codec import Codec
from schemas.errors import SchemaError
from schemas.records import FeedHealth, Funding, JournalContext, Liquidation, OpenInterest, Record
from schemas.topics import FEED_HEALTH, FUNDING, LIQUIDATIONS, OPEN_INTEREST, TOPICS

KINDS: Final[dict[str, type[Record]]] = {
    FEED_HEALTH.name: FeedHealth,
    OPEN_INTEREST.name: OpenInterest,
    FUNDING.name: Funding,
    LIQUIDATIONS.name: Liquidation,
}
ORDER: Final = tuple(KINDS)  # of context that was appended at the same time


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a file of history."""

    topic: str
    append_time_ms: int
    value: dict[str, Any]


class Appended(NamedTuple):
    """One record of a file: when it was appended, and its value as its topic holds it."""

    append_time_ms: int
    record: Record
    value: bytes


class Part(NamedTuple):
    """What one partition is made of, each in the order of its topic."""

    liquidations: list[Delivered]
    contexts: list[JournalContext]


def partition_of(asset: str, partitions: int) -> int:
    """Partition of an asset, as every client with the partitioner murmur2_random has it.

    >>> partition_of("BTC", 12)
    10"""
    return int(murmur2(asset.encode()) & 0x7FFFFFFF) % partitions


def read_lines(lines: Iterable[bytes], codec: Codec) -> dict[str, list[Appended]]:
    """The records of a file by topic. Raises SchemaError, naming the line, for what does not fit."""
    read: dict[str, list[Appended]] = {name: [] for name in KINDS}
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            line = msgspec.json.decode(text, type=Line)
            record = _record(line)
            value = codec.encode(TOPICS[line.topic], record)
        except (msgspec.MsgspecError, ValueError, SchemaError) as exc:
            raise SchemaError(f"reading line {number}: {exc}") from exc
        own = read[line.topic]
        if own and line.append_time_ms < own[-1].append_time_ms:
            raise SchemaError(
                f"reading line {number}: append_time_ms {line.append_time_ms} of {line.topic} is before the"
                f" {own[-1].append_time_ms} of an earlier line; a topic stands in the order in which it was appended"
            )
        own.append(Appended(line.append_time_ms, record, value))
    return read


def parts_of(read: Mapping[str, Sequence[Appended]], *, partitions: int) -> dict[int, Part]:
    """The partitions in which there are liquidations, with the context that each is told."""
    parts: dict[int, Part] = {}
    for one in read[LIQUIDATIONS.name]:
        assert isinstance(one.record, Liquidation)
        part = parts.setdefault(partition_of(one.record.asset, partitions), Part([], []))
        part.liquidations.append(Delivered(len(part.liquidations), one.append_time_ms, one.record))
    for topic in ORDER[:-1]:
        offsets = Counter[int]()
        for one in read[topic]:
            place = place_of(one.record, partitions)
            context = _context(topic, place, offsets[place], one)
            offsets[place] += 1
            told = parts.values() if isinstance(one.record, FeedHealth) else [parts[place]] if place in parts else []
            for part in told:
                part.contexts.append(context)
    for part in parts.values():
        part.contexts.sort(key=lambda context: context.append_time_ms)  # stable: the order of topics, then their own
    return parts


def place_of(record: Record, partitions: int) -> int:
    """Partition of a record in its topic; health has one."""
    return partition_of(key_of(record), partitions) if isinstance(record, Liquidation | OpenInterest | Funding) else 0


def key_of(record: Record) -> str:
    """Key of a record in its topic."""
    if isinstance(record, Liquidation | OpenInterest | Funding):
        return record.asset
    assert isinstance(record, FeedHealth)
    return f"{record.exchange}/{record.channel}"


def read_history(lines: Iterable[bytes], *, partitions: int) -> dict[int, Part]:
    """The partitions in which a file has liquidations. Raises SchemaError, naming the line, for what does not fit."""
    return parts_of(read_lines(lines, Codec()), partitions=partitions)


def _record(line: Line) -> Record:
    kind = KINDS.get(line.topic)
    if kind is None:
        raise ValueError(f"topic is {line.topic!r}, must be one of {', '.join(ORDER)}")
    if line.append_time_ms < 0:
        raise ValueError(f"append_time_ms is {line.append_time_ms}, must not be negative")
    record = msgspec.convert(_with_id(kind, line.value), type=kind)
    if isinstance(record, Liquidation):
        reason = why_refused(record)
        if reason:
            raise ValueError(reason)
    return record


def _with_id(kind: type[Record], value: dict[str, Any]) -> dict[str, Any]:
    """Context may come without its id, which says no more than its other fields."""
    return {"event_id": ""} | value if kind in (OpenInterest, Funding) else value


def _context(topic: str, partition: int, offset: int, one: Appended) -> JournalContext:
    return JournalContext(
        topic=topic,
        partition=partition,
        offset=offset,
        append_time_ms=one.append_time_ms,
        key=key_of(one.record).encode(),
        value=one.value,
    )
