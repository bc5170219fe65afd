"""Topics against stores: every record of a range is landed once, in the dead letters, or waits; else it is named."""

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from runtime.kafka import describe, topic_names
from runtime.log_reader import LogRecord
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import SchemaError
from schemas.records import CascadeAlert
from schemas.topics import CONFIGS, DEAD_LETTERS, STATE, STATUSES, Topic
from sinks.audit import AUDITS, Entry, Id, identity_of
from sinks.configs import ConnectorConfig, read
from sinks.configs_log import ConfigsLog
from sinks.connector import Position
from sinks.rows import event_time_ms
from sinks.settings import SinkSettings
from sinks.worker import first_connectors
from stack.dead_letters import read_letters
from stack.log_range import between

SLICE_MAX: Final = 250_000  # records settled at once, 400 B each: 100 MB

Places = set[tuple[int, int]]  # partition, offset


class Line(msgspec.Struct, kw_only=True):
    """One topic of one connector. `ids`: different ones among the `records`; `waiting`: the connector is not that far;
    `kept_no_longer`: Redis has let them go, as it should, or a webhook was not to tell of them. `missing` and `doubled`
    name ids, or places without one."""

    connector: str
    topic: str
    records: int = 0
    ids: int = 0
    landed: int = 0
    dead_letters: int = 0
    waiting: int = 0
    kept_no_longer: int = 0
    missing: list[str] = []
    doubled: list[str] = []


class Account(msgspec.Struct, kw_only=True):
    """The whole audit. `not_audited`: connectors whose store cannot be asked."""

    lines: list[Line] = []
    not_audited: list[str] = []

    @property
    def missing(self) -> int:
        """Ids and places that are nowhere."""
        return sum(len(line.missing) for line in self.lines)

    @property
    def doubled(self) -> int:
        """Ids that are in a store more than once."""
        return sum(len(line.doubled) for line in self.lines)


def connectors(settings: SinkSettings) -> list[ConnectorConfig]:
    """Those that the workers share; those of the settings where no worker has run yet. Raises BrokerUnavailable."""
    names = topic_names(settings.kafka)
    found: Mapping[str, Mapping[str, str]] = {}
    if {names.of(CONFIGS), names.of(STATUSES)} <= describe(settings.kafka).keys():
        log = ConfigsLog(settings.kafka)
        try:
            log.catch_up(threading.Event())
            found = dict(log.state.configs)
        finally:
            log.close()
    return [read(properties, settings) for properties in (found or first_connectors(settings)).values()]


def audit(settings: SinkSettings, *, from_ms: int, to_ms: int) -> Account:
    """Account for every record that was appended in [from_ms, to_ms).

    Raises BrokerUnavailable, StoreUnavailable, SettingsError for a connector that cannot be."""
    account, by_topic = Account(), defaultdict[str, list[_Book]](list)
    names, partitions = topic_names(settings.kafka), describe(settings.kafka)
    for config in connectors(settings):
        if config.kind.kind not in AUDITS:
            account.not_audited.append(config.name)
            continue
        for topic in config.topics:
            name = names.of(topic)
            book = _Book(config, topic, name, partitions.get(name, 0))
            by_topic[name].append(book)
            account.lines.append(book.line)
    letters = _letters(settings.kafka, from_ms)  # behind the offsets: what those have passed has its letter by then
    codec = Codec(settings.kafka.schema_registry_url)
    for name, books in by_topic.items():
        for portion in _slices(settings.kafka, codec, books[0].topic, name, from_ms, to_ms):
            for book in books:
                book.settle(portion, letters[book.line.connector, name])
    return account


class _Slice:
    """A part of one topic's records."""

    def __init__(self) -> None:
        self.records = 0
        self.entries: dict[Id, Entry] = {}
        self.refused: list[tuple[int, int]] = []

    def add(self, record: LogRecord, topic: Topic, codec: Codec) -> None:
        """Take in one record; one that does not decode is noted as refused."""
        assert topic.record is not None, "sinks land records"
        self.records += 1
        try:
            decoded = codec.decode(topic.record, record.value or b"")
        except SchemaError:
            self.refused.append((record.partition, record.offset))
            return
        identity = identity_of(decoded)
        if identity is None or (
            identity in self.entries and topic is not STATE
        ):  # of states the latest, else the first
            return
        asset = str(getattr(decoded, "asset", ""))
        place = (record.partition, record.offset, record.timestamp)
        alert = decoded if isinstance(decoded, CascadeAlert) else None
        self.entries[identity] = Entry(*place, event_time_ms(decoded), asset, alert)


class _Book:
    """The line of one connector and topic, while it is added up."""

    def __init__(self, config: ConnectorConfig, topic: Topic, name: str, partitions: int) -> None:
        """Asks the store how far it is. Raises StoreUnavailable."""
        self.line = Line(connector=config.name, topic=name)
        self.topic = topic
        self._config = config
        self._has_letters = config.dead_letters == topic_names(config.settings.kafka).of(DEAD_LETTERS)
        offsets, self._held = AUDITS[config.kind.kind]
        positions: list[Position] = [(name, partition) for partition in range(partitions)]
        self._next = {partition: offset for (at, partition), offset in offsets(config, positions).items() if at == name}

    def settle(self, portion: _Slice, letters: Places) -> None:
        """Book the records of a slice: what the store does not hold waits, or has a letter, or is missing."""
        line, entries = self.line, portion.entries
        held = self._held(self._config, self.topic, line.topic, entries)
        line.records += portion.records
        line.ids += len(entries)
        for partition, offset in portion.refused:
            if offset >= self._next.get(partition, 0):
                line.waiting += 1
            elif (partition, offset) in letters or not self._has_letters:
                line.dead_letters += 1
            else:
                line.missing.append(
                    f"{line.topic}/{partition}/{offset}, which cannot be decoded and has no dead letter"
                )
        for identity, entry in entries.items():
            count = held.counts[identity]
            if count > 1:
                line.doubled.append(_text(identity))
            elif count == 1:
                line.landed += 1
            elif entry[:2] in letters:
                line.dead_letters += 1
            elif entry.offset >= self._next.get(entry.partition, 0):
                line.waiting += 1
            elif identity in held.kept_no_longer:
                line.kept_no_longer += 1
            else:
                line.missing.append(_text(identity))
        line.doubled += [problem for problem in held.wrong if problem not in line.doubled]


def _slices(kafka: KafkaSettings, codec: Codec, topic: Topic, name: str, from_ms: int, to_ms: int) -> Iterator[_Slice]:
    portion = _Slice()
    for record in between(kafka, [name], from_ms=from_ms, to_ms=to_ms):
        portion.add(record, topic, codec)
        if portion.records >= SLICE_MAX:
            yield portion
            portion = _Slice()
    yield portion


def _letters(kafka: KafkaSettings, from_ms: int) -> dict[tuple[str, str], Places]:
    """Places that have a dead letter, by connector and topic; letters come after their records."""
    found: dict[tuple[str, str], Places] = defaultdict(set)
    for letter in read_letters(kafka, from_ms=from_ms):
        if letter.place is not None:
            found[letter.by, letter.source].add((letter.place.partition, letter.place.offset))
    return found


def _text(identity: Id) -> str:
    return "/".join(map(str, identity))
