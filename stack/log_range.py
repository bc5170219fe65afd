"""What topics hold, read from outside any group: counts, ranges of append times, and records as they come."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from processors.history import partition_of
from runtime.kafka import describe, topic_names
from runtime.log_reader import LogReader, LogRecord
from runtime.settings import KafkaSettings
from schemas.errors import SettingsError
from schemas.topics import Topic


@dataclass(frozen=True, slots=True)
class Span:
    """One partition: offsets [start, end) that it holds now."""

    topic: str
    partition: int
    start: int
    end: int


def spans(kafka: KafkaSettings, topics: Iterable[str]) -> list[Span]:
    """What the partitions of the topics hold now; a missing topic has none. Raises BrokerUnavailable."""
    present = describe(kafka)
    with LogReader(kafka, {}, ending=threading.Event()) as asking:
        return [
            Span(topic, partition, *asking.bounds(topic, partition))
            for topic in topics
            for partition in range(present.get(topic, 0))
        ]


def record_counts(kafka: KafkaSettings) -> dict[str, int]:
    """Records that each topic of the broker holds, by the difference of offsets. Raises BrokerUnavailable."""
    counts = dict.fromkeys(describe(kafka), 0)
    for span in spans(kafka, counts):
        counts[span.topic] += span.end - span.start
    return counts


def place_of(kafka: KafkaSettings, topic: Topic, asset: str) -> tuple[str, int]:
    """Full name of a topic by asset, and the partition of one. Raises SettingsError without it, BrokerUnavailable."""
    name = topic_names(kafka).of(topic)
    partitions = describe(kafka).get(name)
    if partitions is None:
        raise SettingsError(f"there is no topic {name} at {kafka.bootstrap_servers}; see `liqcascade topics`")
    return name, partition_of(asset, partitions)


def starts(kafka: KafkaSettings, names: Iterable[str], *, from_ms: int = 0) -> dict[tuple[str, int], int]:
    """The first offset from a time on, of every partition that holds one; a missing topic has none.

    Raises BrokerUnavailable."""
    found = {}
    with LogReader(kafka, {}, ending=threading.Event()) as asking:
        for span in spans(kafka, names):
            first = max(span.start, asking.offset_at(span.topic, span.partition, from_ms)) if from_ms else span.start
            if first < span.end:
                found[span.topic, span.partition] = first
    return found


def to_end(kafka: KafkaSettings, offsets: Mapping[tuple[str, int], int]) -> Iterator[LogRecord]:
    """Every record from these offsets to the ends of their partitions. Raises BrokerUnavailable."""
    if offsets:
        with LogReader(kafka, offsets, ending=threading.Event()) as reader:
            yield from reader.to_end()


def between(
    kafka: KafkaSettings, names: Iterable[str], *, from_ms: int = 0, to_ms: int | None = None
) -> Iterator[LogRecord]:
    """Records that were appended in [from_ms, to_ms), in order a partition. Raises BrokerUnavailable."""
    for record in to_end(kafka, starts(kafka, names, from_ms=from_ms)):
        if record.timestamp >= from_ms and (to_ms is None or record.timestamp < to_ms):
            yield record


def newest(kafka: KafkaSettings, topic: str, last: int | None) -> dict[tuple[str, int], int]:
    """The offsets of the newest n records of each partition; None: of the oldest one. Raises BrokerUnavailable."""
    return {
        (span.topic, span.partition): span.start if last is None else max(span.start, span.end - last)
        for span in spans(kafka, [topic])
    }


def follow(kafka: KafkaSettings, offsets: Mapping[tuple[str, int], int]) -> Iterator[LogRecord]:
    """Records from these offsets on, as they come, without an end. Raises BrokerUnavailable."""
    with LogReader(kafka, offsets, ending=threading.Event(), idle_s_max=None) as reader:
        while True:
            yield from reader.read()
