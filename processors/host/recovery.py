"""What a new owner of partitions must know before it folds: their state, their journal, what was published since.

Blocking: it runs in a thread. The order matters. First the state; then the journal, in which the owner puts an opening
entry with its own, higher epoch: whatever a former owner still writes behind it is void, for this owner and for every
replay. Only then what was published, so that nothing which that journal gave rise to is missed."""

import threading
import time
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import structlog
from confluent_kafka import KafkaError, Message, Producer

from processors.host import metrics
from processors.host.log import LogReader, LogRecord
from processors.host.places import EPOCH_HEADER, ID_FIELDS, PLACES_HEADER, PUBLISHED, WRITTEN, Places, letter_id
from processors.journal import Journal
from processors.snapshots import FORMAT, PARTITION_ROW, read_partition
from processors.windows.layout import Array
from processors.windows.seen import SPAN_MS, id_of
from processors.windows.store import why_refused
from runtime.kafka import producer_config, topic_names
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import BrokerUnavailable, SchemaError, SettingsError
from schemas.records import DetectorSnapshot, JournalEntry, Liquidation
from schemas.topics import DEAD_LETTERS, JOURNAL, LIQUIDATIONS, SNAPSHOTS, TOPICS
from schemas.words import JournalKind

OPENINGS_MAX: Final = 5  # a former owner would have to write between reading and opening as often
CLOCKS_MS_MAX: Final = 60_000  # by which the clocks of two brokers may differ
OPENING_S_MAX: Final = 4.0  # a broker that answers takes milliseconds; a worker that ends waits for it
log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class Recovered:
    """One partition as its new owner finds it.

    `heard`: ids and append times of the ten minutes before;
    `position`: next offset of the liquidations to fold; `end`: their end now, which no former owner was past;
    `entries`: of the journal, behind the state; `published`: ids that may come again; `places`: where these began;
    `ends`: where the topics end now."""

    partition: int
    rows: list[DetectorSnapshot] = field(default_factory=list)
    heard: Array = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    position: int = 0
    end: int = 0
    epoch: int = 1
    entries: list[JournalEntry] = field(default_factory=list)
    published: set[str] = field(default_factory=set)
    places: Places = field(default_factory=dict)
    ends: Places = field(default_factory=dict)


def recover(
    settings: KafkaSettings, codec: Codec, partitions: Iterable[int], *, ending: threading.Event
) -> dict[int, Recovered]:
    """Read what stands in the topics about these partitions and take them over; `ending` cuts it off.

    Raises BrokerUnavailable; SettingsError when the liquidations end before the state that was made of them."""
    started_s = time.monotonic()
    found = {partition: Recovered(partition=partition) for partition in partitions}
    names = topic_names(settings)
    _read_state(settings, codec, found, ending)
    with LogReader(settings, {}, ending=ending) as reader:
        for one in found.values():
            low, one.end = reader.bounds(names.of(LIQUIDATIONS), one.partition)
            if one.position > one.end:
                raise SettingsError(
                    f"recovering partition {one.partition}: {names.of(LIQUIDATIONS)} ends at {one.end}, but the state "
                    f"in {names.of(SNAPSHOTS)} has seen {one.position}: the topic was made anew; delete "
                    f"{names.of(SNAPSHOTS)} and {names.of(JOURNAL)} too, or use another kafka.topic_prefix"
                )
            one.position = max(one.position, low)
    _read_heard(settings, codec, found, ending)
    _read_journal(settings, codec, found, ending)
    _read_published(settings, codec, found, ending)
    metrics.RECOVERY_S.observe(time.monotonic() - started_s)
    return found


def _read_state(settings: KafkaSettings, codec: Codec, found: Mapping[int, Recovered], ending: threading.Event) -> None:
    name = topic_names(settings).of(SNAPSHOTS)
    rows: dict[int, dict[bytes, LogRecord]] = defaultdict(dict)
    epochs: dict[int, int] = defaultdict(int)
    with LogReader(settings, {(name, partition): 0 for partition in found}, ending=ending) as reader:
        for record in reader.to_end():
            epoch = int(dict(record.headers).get(EPOCH_HEADER, b"0"))
            if epoch >= epochs[record.partition] and record.value is not None:  # else of an owner that was replaced
                epochs[record.partition] = epoch
                rows[record.partition][record.key or b""] = record
    for partition, one in found.items():
        own = rows[partition].get(f"partition/{partition}".encode())
        if own is None:
            continue  # no state, or a first one that was cut off: from the beginning of the log
        one.epoch = epochs[partition] + 1
        one.places = msgspec.json.decode(dict(own.headers)[PLACES_HEADER], type=Places)
        one.position = one.places[LIQUIDATIONS.name]
        one.rows = [codec.decode(DetectorSnapshot, row.value or b"") for row in rows[partition].values()]


def _read_heard(settings: KafkaSettings, codec: Codec, found: Mapping[int, Recovered], ending: threading.Event) -> None:
    """Read the ids of the liquidations that a duplicate of what comes next could be of."""
    name = topic_names(settings).of(LIQUIDATIONS)
    starts = {}
    with LogReader(settings, {}, ending=ending) as reader:
        for partition, one in found.items():
            own = next((row for row in one.rows if row.asset == PARTITION_ROW), None)
            if own is not None and own.format == FORMAT:
                from_ms = read_partition(own).now_ms - SPAN_MS - CLOCKS_MS_MAX
                start = reader.offset_at(name, partition, from_ms)
                if start < one.position:
                    starts[name, partition] = start
    heard: dict[int, array[int]] = {partition: array("q") for _, partition in starts}
    waiting = set(heard)
    with LogReader(settings, starts, ending=ending) as reader:
        while waiting:
            for record in reader.read():
                if record.offset < found[record.partition].position:
                    heard[record.partition].extend(_heard(codec, record))
                if record.offset >= found[record.partition].position - 1:
                    waiting.discard(record.partition)
            if reader.ended:
                break
    for partition, pairs in heard.items():
        found[partition].heard = np.array(pairs, np.int64).reshape(-1, 2)


def _heard(codec: Codec, record: LogRecord) -> tuple[int, ...]:
    try:
        liquidation = codec.decode(Liquidation, record.value or b"")
    except SchemaError:
        return ()  # in the dead letters
    return () if why_refused(liquidation) else (id_of(liquidation.event_id), record.timestamp)


def _read_journal(
    settings: KafkaSettings, codec: Codec, found: Mapping[int, Recovered], ending: threading.Event
) -> None:
    name = topic_names(settings).of(JOURNAL)
    producer = Producer(producer_config(settings, linger_ms=0))
    journals = {}
    for partition, one in found.items():
        own = next((row for row in one.rows if not row.asset), None)
        if own is not None and own.format == FORMAT:
            epoch = read_partition(own).epoch  # of the state: who wrote it may have been replaying older entries
            journals[partition] = Journal(epoch=epoch, next_sequence=own.next_sequence, next_offset=own.next_offset)
        else:
            journals[partition] = Journal()
    starts = {(name, partition): one.places.get(JOURNAL.name, 0) for partition, one in found.items()}
    with LogReader(settings, starts, ending=ending) as reader:
        for record in reader.to_end():
            _read_entry(codec, journals[record.partition], record)
        for _ in range(OPENINGS_MAX):
            opening = {
                p: _opening(p, journal, found[p].epoch)
                for p, journal in journals.items()
                if not _opened(journal, found[p])
            }
            if not opening:
                break
            ends = _append(settings, producer, codec, opening)
            for partition, entry in opening.items():
                found[partition].epoch = entry.epoch
                found[partition].ends[JOURNAL.name] = ends[partition] + 1
            waiting = dict(ends)
            while waiting:
                for record in reader.read():
                    if record.offset <= ends.get(record.partition, -1):
                        _read_entry(codec, journals[record.partition], record)
                    if record.offset >= waiting.get(record.partition, record.offset + 1):
                        del waiting[record.partition]
        else:
            raise BrokerUnavailable(f"taking over {len(found)} partitions: another worker keeps writing to {name}")
    for partition, journal in journals.items():
        found[partition].entries = journal.entries


def _opened(journal: Journal, one: Recovered) -> bool:
    return JOURNAL.name in one.ends and bool(journal.entries) and journal.entries[-1].epoch == one.epoch


def _opening(partition: int, journal: Journal, epoch_min: int) -> JournalEntry:
    """An entry that names the new epoch and nothing else: a tick that lets no time in."""
    return JournalEntry(
        partition=partition,
        epoch=max(journal.epoch + 1, epoch_min),
        sequence=journal.next_sequence,
        after_offset=journal.after_offset,
        kind=JournalKind.TICK,
    )


def _read_entry(codec: Codec, journal: Journal, record: LogRecord) -> None:
    try:
        journal.read(codec.decode(JournalEntry, record.value or b""))
    except SchemaError as exc:
        place = f"{record.topic}/{record.partition} at offset {record.offset}"
        raise SettingsError(f"recovering from {place}: {exc}; the journal cannot be replayed") from exc


def _append(
    settings: KafkaSettings, producer: Producer, codec: Codec, entries: Mapping[int, JournalEntry]
) -> dict[int, int]:
    name = topic_names(settings).of(JOURNAL)
    offsets: dict[int, int] = {}
    errors: list[str] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            errors.append(error.str())
        else:
            offsets[message.partition() or 0] = message.offset() or 0

    for partition, entry in entries.items():
        value, key = codec.encode(JOURNAL, entry), str(partition).encode()
        producer.produce(name, value, key, partition, on_delivery=delivered)
    producer.flush(OPENING_S_MAX)
    if errors or len(offsets) < len(entries):
        raise BrokerUnavailable(
            f"opening {len(entries)} journals in {name} at {settings.bootstrap_servers}: "
            f"{errors[0] if errors else f'{OPENING_S_MAX:.0f} s passed'}"
        )
    return offsets


def _read_published(
    settings: KafkaSettings, codec: Codec, found: Mapping[int, Recovered], ending: threading.Event
) -> None:
    names = topic_names(settings)
    starts = {}
    for partition, one in found.items():
        for topic in PUBLISHED:
            starts[names.of(topic), partition] = one.ends[topic.name] = one.places.setdefault(topic.name, 0)
        one.places.setdefault(JOURNAL.name, 0)
    with LogReader(settings, starts, ending=ending) as reader:
        for record in reader.to_end():
            one, name = found[record.partition], record.topic.removeprefix(settings.topic_prefix)
            one.ends[name] = record.offset + 1
            published = _published_id(codec, names.of(LIQUIDATIONS), name, record)
            if published is not None:
                one.published.add(published)
    assert all(set(one.ends) == {topic.name for topic in WRITTEN} for one in found.values())


def _published_id(codec: Codec, source: str, name: str, record: LogRecord) -> str | None:
    if name == DEAD_LETTERS.name:
        headers = dict(record.headers)
        if record.key != source.encode() or "offset" not in headers:
            return None  # another stage's
        return letter_id(int(headers["partition"]), int(headers["offset"]))
    kind = TOPICS[name].record
    assert kind is not None
    try:
        return str(codec.decode_plain(kind, record.value or b"")[ID_FIELDS[name]])
    except SchemaError as exc:
        log.warning("foreign record passed over", topic=record.topic, offset=record.offset, reason=str(exc))
        return None
