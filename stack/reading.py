"""Reading topics from outside any group: counts, and records from a position to the end or on and on."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from runtime.kafka import confluent_config, describe
from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable

TIMEOUT_S: Final = 15.0
BATCH_MAX: Final = 1_000
RETRY_S: Final = 0.1
LEADERLESS: Final = (
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)


@dataclass(frozen=True, slots=True)
class Span:
    """One partition: offsets [start, end) that it holds now."""

    topic: str
    partition: int
    start: int
    end: int


def reader(kafka: KafkaSettings) -> Consumer:
    """A consumer that commits nothing and joins no group."""
    return Consumer(
        confluent_config(kafka, group_id="liqcascade-reader", enable_auto_commit=False, auto_offset_reset="earliest")
    )


def spans(kafka: KafkaSettings, topics: Iterable[str], consumer: Consumer | None = None) -> list[Span]:
    """What the partitions of the topics hold now; a missing topic has none. Raises BrokerUnavailable."""
    present = describe(kafka)
    asking = consumer or reader(kafka)
    found = []
    try:
        for topic in topics:
            for partition in range(present.get(topic, 0)):
                found.append(Span(topic, partition, *_watermarks(asking, TopicPartition(topic, partition))))
    except KafkaException as exc:
        raise BrokerUnavailable(f"asking {kafka.bootstrap_servers} for offsets: {exc.args[0].str()}") from exc
    finally:
        if consumer is None:
            asking.close()
    return found


def record_counts(kafka: KafkaSettings) -> dict[str, int]:
    """Records that each topic of the broker holds, by the difference of offsets. Raises BrokerUnavailable."""
    counts = dict.fromkeys(describe(kafka), 0)
    for span in spans(kafka, counts):
        counts[span.topic] += span.end - span.start
    return counts


def read(kafka: KafkaSettings, topics: Iterable[str], *, last: int | None = None) -> Iterator[Message]:
    """Every record that the topics hold now, partition by partition in offset order; `last`: the newest n of each.

    Raises BrokerUnavailable."""
    consumer = reader(kafka)
    try:
        for span in spans(kafka, topics, consumer):
            start = max(span.start, span.end - last) if last is not None else span.start
            if start < span.end:
                consumer.assign([TopicPartition(span.topic, span.partition, start)])
                yield from _until(consumer, span.end)
    finally:
        consumer.close()


def follow(kafka: KafkaSettings, topic: str, *, from_start: bool = False, last: int = 0) -> Iterator[Message | None]:
    """Records of a topic as they come; None when a second passes without one. Raises BrokerUnavailable."""
    consumer = reader(kafka)
    try:
        consumer.assign(
            [
                TopicPartition(
                    span.topic, span.partition, span.start if from_start else max(span.start, span.end - last)
                )
                for span in spans(kafka, [topic], consumer)
            ]
        )
        while True:
            message = consumer.poll(1.0)
            error = message.error() if message is not None else None
            if error is not None:
                raise BrokerUnavailable(f"reading {topic} at {kafka.bootstrap_servers}: {error.str()}")
            yield message
    finally:
        consumer.close()


def _watermarks(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """First and next offset; a partition that was just created is asked again until it has a leader."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            low, high = consumer.get_watermark_offsets(partition, timeout=TIMEOUT_S)
            return low, high
        except KafkaException as exc:
            if exc.args[0].code() not in LEADERLESS or time.monotonic() > deadline:
                raise
            time.sleep(RETRY_S)


def _until(consumer: Consumer, end: int) -> Iterator[Message]:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        for message in consumer.consume(BATCH_MAX, timeout=RETRY_S):  # it waits for a whole batch that long
            error, offset = message.error(), message.offset()
            if error is not None:
                raise BrokerUnavailable(f"reading {message.topic()}: {error.str()}")
            assert offset is not None
            if offset < end:
                yield message
            if offset >= end - 1:
                return
            deadline = time.monotonic() + TIMEOUT_S
    raise BrokerUnavailable(f"reading a topic: nothing came within {TIMEOUT_S:.0f} s before offset {end}")
