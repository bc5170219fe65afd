"""A file of history -> topics under a prefix of their own, with the journal that the rule gives.

The order makes it safe for a worker that starts meanwhile: first the whole journal, then what it stands between. A
worker lets nothing of its own in while entries of the journal are still to come; the last entry of each partition
stands behind its last liquidation. A worker that took over before the journal was whole is found out, because the
offsets then do not fit: the import fails and says so."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from confluent_kafka import KafkaException, Message, Producer

from processors.detect import EPOCH, fold_history, new_detector
from processors.history import ORDER, Appended, Part, key_of, parts_of, place_of, read_lines
from processors.settings import DetectorSettings
from runtime.kafka import create_topics, producer_config, topic_names
from runtime.log_reader import LogReader
from runtime.receipts import Receipts
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import BrokerUnavailable, SchemaError, SettingsError
from schemas.records import JournalEntry
from schemas.topics import JOURNAL, TOPICS, Topic
from schemas.words import JournalKind

FLUSH_S_MAX: Final = 60.0
POLL_S: Final = 0.05


class Dated(NamedTuple):
    """One record to publish, at a time of its own."""

    topic: Topic
    partition: int
    key: str
    value: bytes
    time_ms: int


def import_history(lines: Iterable[bytes], kafka: KafkaSettings, settings: DetectorSettings) -> dict[str, int]:
    """Publish a file under `kafka.topic_prefix`, whose topics must be empty; returns records by topic.

    Raises SchemaError, naming the line, and has published nothing, when the file does not fit; SettingsError when the
    prefix is in use; BrokerUnavailable."""
    if not kafka.topic_prefix:
        raise SettingsError("--prefix: say one, so that imported events never mix with live ones")
    codec = Codec(kafka.schema_registry_url)
    read = read_lines(lines, codec)
    for topic, records in read.items():
        if records and not records[0].append_time_ms:
            raise SchemaError(f"importing {topic}: append_time_ms is 0, which Kafka takes for no time; shift the file")
    parts = parts_of(read, partitions=kafka.partitions)
    create_topics(kafka)
    _check_empty(kafka)
    writer = _Writer(kafka)
    for partition, part in sorted(parts.items()):
        writer.write(_journal(codec, settings, part, partition))
    writer.finish()
    for topic in ORDER:
        writer.write(_dated(TOPICS[topic], read[topic], kafka.partitions))
    writer.finish()
    return {topic.name: writer.counts[topic.name] for topic in TOPICS.values() if topic.name in writer.counts}


def _journal(codec: Codec, settings: DetectorSettings, part: Part, partition: int) -> Iterator[Dated]:
    detector, key, time_ms = new_detector(settings, codec), str(partition), 1
    for entry, _ in fold_history(detector, part, partition=partition):
        if entry is not None:
            own_ms = entry.append_time_ms if entry.context is None else entry.context.append_time_ms
            time_ms = max(time_ms, own_ms or 0)
            yield Dated(JOURNAL, partition, key, codec.encode(JOURNAL, entry), time_ms)
    closing = JournalEntry(
        partition=partition,
        epoch=EPOCH,
        sequence=detector.next_sequence,
        after_offset=detector.next_offset - 1,
        kind=JournalKind.TICK,
    )
    yield Dated(JOURNAL, partition, key, codec.encode(JOURNAL, closing), time_ms)


def _dated(topic: Topic, records: Sequence[Appended], partitions: int) -> Iterator[Dated]:
    for one in records:
        yield Dated(topic, place_of(one.record, partitions), key_of(one.record), one.value, one.append_time_ms)


def _check_empty(kafka: KafkaSettings) -> None:
    for (topic, partition), end in _ends(kafka, TOPICS.values()).items():
        if end:
            raise SettingsError(
                f"importing to {kafka.bootstrap_servers}: {topic}/{partition} holds {end} records already, of another"
                " import or of a worker; delete the topics of the prefix or use another --prefix"
            )


def _ends(kafka: KafkaSettings, topics: Iterable[Topic]) -> Mapping[tuple[str, int], int]:
    names = topic_names(kafka)
    with LogReader(kafka, {}, ending=threading.Event()) as reader:
        return {
            (names.of(topic), partition): reader.bounds(names.of(topic), partition)[1]
            for topic in topics
            for partition in range(topic.partitions(kafka.partitions))
        }


class _Writer:
    """Publishes records with times, and holds that each stands at the offset that its place in the file gives."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._names = topic_names(kafka)
        self._producer = Producer(producer_config(kafka))
        self._doing = f"importing to {kafka.bootstrap_servers}"
        self._receipts = Receipts(self._see_offset)
        self._intruder = ""
        self._next: Counter[tuple[str, int]] = Counter()  # offsets
        self.counts: Counter[str] = Counter()  # by topic, without the prefix

    def write(self, records: Iterable[Dated]) -> None:
        """Queue records; waits while the queue is full."""
        for one in records:
            while not self._put(one):
                self._producer.poll(POLL_S)
            self.counts[one.topic.name] += 1
            self._receipts.sent()
            self._producer.poll(0)
            self._raise_failure()

    def finish(self) -> None:
        """Wait until the broker has all."""
        self._receipts.wait(self._producer, FLUSH_S_MAX, doing=self._doing)
        self._raise_failure()

    def _put(self, one: Dated) -> bool:
        try:
            self._producer.produce(
                self._names.of(one.topic),
                one.value,
                one.key,
                one.partition,
                timestamp=one.time_ms,
                on_delivery=self._receipts.answer,
            )
        except BufferError:
            return False
        except KafkaException as exc:
            raise BrokerUnavailable(f"{self._doing}: {exc.args[0].str()}") from exc
        return True

    def _see_offset(self, message: Message) -> None:
        place = (message.topic() or "", message.partition() or 0)
        if message.offset() != self._next[place]:
            self._intruder = self._intruder or (
                f"something else writes to {place[0]}/{place[1]}, which is of no use now; stop the workers on this"
                " prefix, delete its topics and import again"
            )
        self._next[place] = (message.offset() or 0) + 1

    def _raise_failure(self) -> None:
        why = self._intruder or self._receipts.failure
        if why:
            raise BrokerUnavailable(f"{self._doing}: {why}")
