"""The consumer of one sink: a member of a group for its partitions, told by the store where to begin.

librdkafka would begin at the offsets that Kafka keeps. So a new assignment first fetches nothing, and `start` begins it
at the offsets of the store. `stop` goes back to fetching nothing, without leaving the group."""

import contextlib
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from runtime.kafka import confluent_config, topic_names
from runtime.log_reader import QUEUE_BACKOFF_MS
from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable
from schemas.topics import Topic
from sinks.connector import Position
from sinks.metrics import MISSING

# What is fetched ahead: 16 MiB hold 150,000 liquidations of 100 bytes, or 20,000 states.
PREFETCH_KIBIBYTES_MAX: Final = 16 * 1024
SESSION_MS: Final = 10_000  # a killed member's partitions go to another one after that
WATERMARK_S_MAX: Final = 10.0
PROBE_S_MAX: Final = 1.0

log = structlog.get_logger()


class Reader:
    """`positions` is what the group gives this member; `started` whether records of it are fetched."""

    def __init__(self, settings: KafkaSettings, sink: str, topics: Iterable[Topic]) -> None:
        """Join the group of the connector with that name."""
        names = topic_names(settings)
        self._sink = sink
        self.group = group_of(settings, sink)
        self.positions: frozenset[Position] = frozenset()
        self.assigned = self.started = False
        self.problem = ""
        self._begun: dict[Position, int] = {}
        self._first: dict[Position, int] = {}  # where to begin instead of an offset that the log does not hold
        self._consumer = Consumer(
            confluent_config(
                settings,
                group_id=self.group,
                enable_auto_commit=False,
                auto_offset_reset="error",
                session_timeout_ms=SESSION_MS,
                queued_max_messages_kbytes=PREFETCH_KIBIBYTES_MAX,
                fetch_queue_backoff_ms=QUEUE_BACKOFF_MS,
            )
            | {"error_cb": self._failed}
        )
        self._consumer.subscribe([names.of(topic) for topic in topics], on_assign=self._assign, on_revoke=self._revoke)

    def start(self, offsets: Mapping[Position, int]) -> None:
        """Fetch from these offsets, and from the beginning where there is none."""
        self._begun = {position: offsets.get(position, OFFSET_BEGINNING) for position in self.positions} | self._first
        self._first = {}
        self._consumer.assign([TopicPartition(*position, offset) for position, offset in self._begun.items()])
        self.started = True

    def stop(self) -> None:
        """Fetch nothing and stay a member."""
        if self.started:
            self._consumer.assign([])
        self.started = False

    def read(self, records_max: int, timeout_s: float) -> list[Message]:
        """At most so many messages, waiting at most so long; none when the assignment changed meanwhile.

        Serves the group: it has to be called every few seconds. Raises BrokerUnavailable."""
        try:
            if records_max == 1:
                message = self._consumer.poll(timeout_s)
                messages = [] if message is None else [message]
            else:
                messages = self._consumer.consume(records_max, timeout_s)
        except KafkaException as exc:
            raise BrokerUnavailable(f"reading for the sink {self._sink}: {exc}") from exc
        good = [message for message in messages if message.error() is None]
        if len(good) != len(messages):
            self._check([message for message in messages if message.error() is not None])
        if self.problem:
            self._probe()
        return good if self.started else []

    def commit(self, next_offsets: Mapping[Position, int]) -> None:
        """Tell Kafka, for people who look at lag; a failure changes nothing."""
        offsets = [TopicPartition(*position, offset) for position, offset in next_offsets.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as exc:
            log.debug("commit failed", sink=self._sink, error=str(exc))

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _probe(self) -> None:
        """Many problems end by themselves, such as one lost connection of several: ask whether this one has."""
        with contextlib.suppress(KafkaException):
            self._consumer.list_topics(timeout=PROBE_S_MAX)
            self.problem = ""

    def _check(self, failed: Collection[Message]) -> None:
        for message in failed:
            error = message.error()
            assert error is not None
            if error.code() == KafkaError._AUTO_OFFSET_RESET:
                self._skip_missing(message)
            else:
                self.problem = error.str()

    def _skip_missing(self, message: Message) -> None:
        """The log does not hold the store's offset: retention overtook us, or the topic is new. Say so, and go on."""
        topic, partition = position_of(message)
        (held,) = self._consumer.position([TopicPartition(topic, partition)])
        wanted = held.offset if held.offset >= 0 else self._begun[topic, partition]
        try:
            first, end = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=WATERMARK_S_MAX)
        except KafkaException as exc:
            raise BrokerUnavailable(f"finding the first offset of {topic}/{partition}: {exc}") from exc
        log.error(
            "RECORDS ARE MISSING: the log does not hold the next offset of the store; going on at the first it holds",
            sink=self._sink, topic=topic, partition=partition, wanted=wanted, first=first, end=end,
        )  # fmt: skip
        MISSING.labels(self._sink).inc(max(0, first - max(0, wanted)))
        self._first[topic, partition] = first
        self.stop()  # a seek is refused in this state

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.positions = frozenset((partition.topic, partition.partition) for partition in partitions)
        self.assigned, self.started, self._first = True, False, {}
        self._consumer.assign([])

    def _revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.positions, self.assigned, self.started = frozenset(), False, False
        self._consumer.unassign()  # an empty assignment would not count as giving the partitions back

    def _failed(self, error: KafkaError) -> None:
        self.problem = error.str()


def group_of(settings: KafkaSettings, sink: str) -> str:
    """The consumer group of a connector, named as Kafka Connect does."""
    return f"{settings.topic_prefix}connect-{sink}"


def position_of(message: Message) -> Position:
    """Topic and partition of a message that came from one."""
    topic, partition = message.topic(), message.partition()
    assert topic is not None, "it comes from a topic"
    assert partition is not None, "it comes from a partition"
    return topic, partition
