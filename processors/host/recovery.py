"""What a new owner of partitions must know before it folds: their state, their journal, what was published since.

Blocking: it runs in a thread. The order matters. First the state; then the journal, in which the owner puts an opening
entry with its own, higher epoch: whatever a former owner still writes behind it is void, for this owner and for every
replay. Only then what was published, so that nothing which that journal gave rise to is missed."""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog
from confluent_kafka import Message, Producer

from processors.host import metrics
from processors.host.cold_start import begin
from processors.host.fold import Fold
from processors.host.places import ID_FIELDS, PUBLISHED, WRITTEN, Places, letter_id
from processors.host.state import EPOCH_BEFORE_ALL, NewDetector, State, read_states, remember_heard, restored
from processors.journal import Journal
from processors.past import Past
from runtime.kafka import producer_config, topic_names
from runtime.log_reader import LogReader, LogRecord
from runtime.receipts import Receipts
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import BrokerUnavailable, SchemaError, SettingsError
from schemas.records import JournalEntry
from schemas.topics import DEAD_LETTERS, JOURNAL, LIQUIDATIONS, SNAPSHOTS, TOPICS
from schemas.words import JournalKind

OPENINGS_MAX: Final = 5  # a former owner would have to write between reading and opening as often
OPENING_S_MAX: Final = 4.0  # a broker that answers takes milliseconds; a worker that ends waits for it
log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class Recovered:
    """One partition as its new owner finds it.

    `detector`: as it was, or as the logs make it; `position`: next offset of the liquidations to fold; `end`: their end
    now, which no former owner was past; `base`: since which epoch the state has gone on without a break; `entries`: of
    the journal, behind the state; `published`: ids that may come again; `places`: where these began; `ends`: where the
    topics end now."""

    partition: int
    detector: Fold
    position: int = 0
    end: int = 0
    epoch: int = 1
    base: int = EPOCH_BEFORE_ALL
    entries: list[JournalEntry] = field(default_factory=list)
    published: set[str] = field(default_factory=set)
    places: Places = field(default_factory=dict)
    ends: Places = field(default_factory=dict)


def recover(
    settings: KafkaSettings,
    codec: Codec,
    partitions: Iterable[int],
    *,
    new_detector: NewDetector,
    ending: threading.Event,
) -> dict[int, Recovered]:
    """Read what stands in the topics about these partitions and take them over; `ending` cuts it off.

    Raises BrokerUnavailable; SettingsError when the liquidations end before the state that was made of them."""
    with LogReader(settings, {}, ending=ending) as asking:
        return _recover(settings, codec, partitions, new_detector=new_detector, ending=ending, asking=asking)


def _recover(
    settings: KafkaSettings,
    codec: Codec,
    partitions: Iterable[int],
    *,
    new_detector: NewDetector,
    ending: threading.Event,
    asking: LogReader,
) -> dict[int, Recovered]:
    started_s = time.monotonic()
    found: dict[int, Recovered] = {}
    name = topic_names(settings).of(LIQUIDATIONS)
    journals: dict[int, Journal] = {}
    warm: dict[int, tuple[Fold, int]] = {}
    for partition, state in read_states(settings, partitions, ending=ending).items():
        one = found[partition] = Recovered(partition=partition, detector=new_detector(partition), epoch=state.epoch + 1)
        epoch = _restore(settings, codec, one, state, asking)
        if epoch is None:
            past = Past(settings, codec, partition, ending=ending, asking=asking)
            one.base = one.epoch
            if state.rows:  # a detector that has taken some of them
                one.detector = new_detector(partition)
            one.position, epoch, one.places = begin(past, codec, one.detector, low=asking.bounds(name, partition)[0])
        else:
            warm[partition] = one.detector, one.position
        known = one.detector
        journals[partition] = Journal(epoch=epoch, next_sequence=known.next_sequence, next_offset=known.next_offset)
        known.next_offset = max(known.next_offset, one.position)
    remember_heard(settings, warm, ending=ending, asking=asking)
    _read_journal(settings, codec, found, journals, ending)
    for one in found.values():
        one.end = asking.bounds(name, one.partition)[1]
    _read_published(settings, codec, found, ending)
    metrics.RECOVERY_S.observe(time.monotonic() - started_s)
    return found


def _restore(settings: KafkaSettings, codec: Codec, one: Recovered, state: State, asking: LogReader) -> int | None:
    """Take the state that was written; the epoch of its last entry, or None without one that can be used."""
    if not state.rows:
        return None
    try:
        own = restored(state, codec, one.detector)
    except SchemaError as exc:
        log.warning("the state cannot be used, beginning from the log", partition=one.partition, reason=str(exc))
        return None
    one.base, one.places = state.base, state.places
    names = topic_names(settings)
    low, end = asking.bounds(names.of(LIQUIDATIONS), one.partition)
    if one.places[LIQUIDATIONS.name] > end:
        raise SettingsError(
            f"recovering partition {one.partition}: {names.of(LIQUIDATIONS)} ends at {end}, but the state in"
            f" {names.of(SNAPSHOTS)} has seen {one.places[LIQUIDATIONS.name]}: the topic was made anew; delete"
            f" {names.of(SNAPSHOTS)} and {names.of(JOURNAL)} too, or use another kafka.topic_prefix"
        )
    one.position = max(one.places[LIQUIDATIONS.name], low)
    return own.epoch  # who wrote it may have been replaying entries of lower epochs than its own


def _read_journal(
    settings: KafkaSettings,
    codec: Codec,
    found: Mapping[int, Recovered],
    journals: Mapping[int, Journal],
    ending: threading.Event,
) -> None:
    name = topic_names(settings).of(JOURNAL)
    producer = Producer(producer_config(settings, linger_ms=0))
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

    def written(message: Message) -> None:
        offsets[message.partition() or 0] = message.offset() or 0

    receipts = Receipts(written)
    for partition, entry in entries.items():
        value, key = codec.encode(JOURNAL, entry), str(partition).encode()
        producer.produce(name, value, key, partition, on_delivery=receipts.answer)
        receipts.sent()
    doing = f"opening {len(entries)} journals in {name} at {settings.bootstrap_servers}"
    receipts.wait(producer, OPENING_S_MAX, doing=doing)
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
