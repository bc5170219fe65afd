"""The detector over history: records of a file instead of topics, and a journal made by rule instead of a worker's.

The rule: a record of context takes effect before the first liquidation whose append time is equal or later; ticks stand
on a grid of 200 ms of append time while something is open, each before the first liquidation from its time on and
behind context of its time; after the last liquidation they go on until nothing is open.

    append time   0        200       400       600
    log             L1  C1     L2              ...
    journal            C1   T200 C?  T400            C1 before L2; T200 only if something is open then

Each partition is a fold of its own, as in the topics, with as many partitions as the settings say."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka.partitioner import murmur2

from processors.detector import Delivered, Detector, Output
from processors.settings import DetectorSettings
from processors.windows.store import why_refused
from schemas.errors import SchemaError
from schemas.records import (
    CascadeAlert,
    FeedHealth,
    Funding,
    JournalContext,
    JournalEntry,
    Liquidation,
    OpenInterest,
    Record,
    WindowAggregate,
)
from schemas.topics import FEED_HEALTH, FUNDING, LIQUIDATIONS, OPEN_INTEREST
from schemas.words import JournalKind

GRID_MS: Final = 200
RUN_MAX: Final = 500  # records folded at once
EPOCH: Final = 1
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


class Step(NamedTuple):
    """One step of a fold over history: the journal's entry, None where it was liquidations, and what came of it."""

    entry: JournalEntry | None
    outputs: list[Output]


class Part(NamedTuple):
    """What one partition is made of, each in the order of its topic."""

    liquidations: list[Delivered]
    contexts: list[JournalContext]


def partition_of(asset: str, partitions: int) -> int:
    """Partition of an asset, as every client with the partitioner murmur2_random has it.

    >>> partition_of("BTC", 12)
    10"""
    return int(murmur2(asset.encode()) & 0x7FFFFFFF) % partitions


def read_history(lines: Iterable[bytes], *, partitions: int) -> dict[int, Part]:
    """The partitions in which a file has liquidations. Raises SchemaError, naming the line, for what does not fit."""
    parts: dict[int, Part] = {}
    newest_ms: dict[str, int] = {}
    read: dict[str, list[tuple[int, Record]]] = {name: [] for name in KINDS}
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            line = msgspec.json.decode(text, type=Line)
            record = _record(line)
        except (msgspec.MsgspecError, ValueError) as exc:
            raise SchemaError(f"reading line {number}: {exc}") from exc
        if line.append_time_ms < newest_ms.setdefault(line.topic, 0):
            raise SchemaError(
                f"reading line {number}: append_time_ms {line.append_time_ms} of {line.topic} is before the"
                f" {newest_ms[line.topic]} of an earlier line; a topic stands in the order in which it was appended"
            )
        newest_ms[line.topic] = line.append_time_ms
        read[line.topic].append((line.append_time_ms, record))
    for append_ms, record in read[LIQUIDATIONS.name]:
        assert isinstance(record, Liquidation)
        part = parts.setdefault(partition_of(record.asset, partitions), Part([], []))
        part.liquidations.append(Delivered(len(part.liquidations), append_ms, record))
    for topic in ORDER[:-1]:
        for offset, (append_ms, record) in enumerate(read[topic]):
            context = _context(topic, offset, append_ms, record)
            if isinstance(record, OpenInterest | Funding):
                own = parts.get(partition_of(record.asset, partitions))
                if own is not None:
                    own.contexts.append(context)
            else:
                for part in parts.values():
                    part.contexts.append(context)
    for part in parts.values():
        part.contexts.sort(key=lambda context: context.append_time_ms)  # stable: the order of topics, then their own
    return parts


def new_detector(settings: DetectorSettings) -> Detector:
    """A detector for one part: it takes context as `read_history` gives it, and its outputs name no source."""
    return Detector(settings, partition=None, decode=lambda kind, data: msgspec.json.decode(data, type=kind))


def fold_history(detector: Detector, part: Part, *, partition: int) -> Iterator[Step]:
    """Fold one part with the journal of the rule, which is made on the way: ticks depend on what is open."""
    log, contexts = part.liquidations, part.contexts
    at = told = 0
    grid_ms = _grid_after(log[0].append_time_ms) if log else 0
    while at < len(log) or detector.wants_ticks:
        is_context = told < len(contexts) and contexts[told].append_time_ms <= grid_ms
        until_ms = contexts[told].append_time_ms if is_context else grid_ms
        end = _end_of_run(log, at, until_ms)
        for start in range(at, end, RUN_MAX):
            yield Step(None, detector.fold(log[start : min(start + RUN_MAX, end)]))
        at = end
        if is_context:
            yield _apply(detector, partition, JournalKind.CONTEXT, context=contexts[told])
            told += 1
        elif detector.wants_ticks:
            yield _apply(detector, partition, JournalKind.TICK, append_time_ms=grid_ms)
            grid_ms += GRID_MS
        elif at < len(log):
            grid_ms = _grid_after(log[at].append_time_ms)
    for context in contexts[told:]:
        yield _apply(detector, partition, JournalKind.CONTEXT, context=context)


def detect(
    parts: dict[int, Part], settings: DetectorSettings
) -> tuple[list[CascadeAlert], list[WindowAggregate]]:  # fmt: skip
    """All alerts by (append_time_ms, asset, sequence), and all windows by (append_time_ms, asset, size and start)."""
    alerts: list[CascadeAlert] = []
    windows: list[WindowAggregate] = []
    for partition in sorted(parts):
        for step in fold_history(new_detector(settings), parts[partition], partition=partition):
            for output in step.outputs:
                if isinstance(output.record, CascadeAlert):
                    alerts.append(output.record)
                elif isinstance(output.record, WindowAggregate):
                    windows.append(output.record)
    alerts.sort(key=lambda alert: (alert.append_time_ms, alert.asset, alert.sequence))
    windows.sort(key=lambda window: (window.append_time_ms, window.asset, window.size_ms, window.window_start_ms))
    return alerts, windows


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


def _context(topic: str, offset: int, append_ms: int, record: Record) -> JournalContext:
    return JournalContext(
        topic=topic,
        partition=0,
        offset=offset,
        append_time_ms=append_ms,
        key=b"",
        value=msgspec.json.encode(record),
    )


def _end_of_run(log: Sequence[Delivered], at: int, until_ms: int) -> int:
    end = at
    while end < len(log) and log[end].append_time_ms < until_ms:
        end += 1
    return end


def _grid_after(time_ms: int) -> int:
    return (time_ms // GRID_MS + 1) * GRID_MS


def _apply(
    detector: Detector,
    partition: int,
    kind: JournalKind,
    *,
    append_time_ms: int | None = None,
    context: JournalContext | None = None,
) -> Step:
    entry = JournalEntry(
        partition=partition,
        epoch=EPOCH,
        sequence=detector.next_sequence,
        after_offset=detector.next_offset - 1,
        kind=kind,
        append_time_ms=append_time_ms,
        context=context,
    )
    return Step(entry, detector.apply(entry))
