"""What topics hold within a range of append times, read from outside any group."""

import threading
from collections.abc import Iterable, Iterator, Mapping

from processors.host.log import LogReader, LogRecord
from runtime.kafka import describe
from runtime.settings import KafkaSettings


def starts(kafka: KafkaSettings, names: Iterable[str], *, from_ms: int = 0) -> dict[tuple[str, int], int]:
    """The first offset from a time on, of every partition that holds one; a missing topic has none.

    Raises BrokerUnavailable."""
    present, found = describe(kafka), {}
    with LogReader(kafka, {}, ending=threading.Event()) as asking:
        for name in names:
            for partition in range(present.get(name, 0)):
                low, high = asking.bounds(name, partition)
                first = max(low, asking.offset_at(name, partition, from_ms)) if from_ms else low
                if first < high:
                    found[name, partition] = first
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
