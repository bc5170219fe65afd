"""Reading partitions without a group, from an offset to their end. Blocking: call it in a thread."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from runtime.kafka import confluent_config
from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable

READ_IDLE_S_MAX: Final = 30.0  # twice what a broker takes to elect a leader
BOUNDS_S_MAX: Final = 4.0  # an answer of one broker; a worker that ends waits for it
BATCH_MAX: Final = 2_000  # records a call: 0.4 MB of liquidations, 3 MB as objects
QUEUED_KBYTES_MAX: Final = 2_048  # a partition, read ahead: two fetches; the client's own limit is 64 MB
QUEUE_BACKOFF_MS: Final = 10  # until a partition whose queue was full is asked for again; the client's own is 1,000
POLL_S: Final = 0.5
FETCH_WAIT_MS: Final = 10  # the end of a partition shows only after this
FETCH_WAIT_TAIL_MS: Final = 500  # data ends a wait at once
PASSING: Final = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._TIMED_OUT)
LEADERLESS: Final = (  # for a moment after a topic was made, and while leaders move
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)
RETRY_S: Final = 0.05
Header = tuple[str, bytes]
Answer = TypeVar("Answer")


class LogRecord(NamedTuple):
    """One record of a partition; `timestamp` in ms, the append time of the broker on live topics."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


class LogReader:
    """A consumer without a group, assigned to partitions from given offsets.

    An offset before the first one that is kept begins there. Every method raises BrokerUnavailable: `read` after
    `idle_s_max` (None: never) without anything new, and soon when `ending` is set."""

    def __init__(
        self,
        settings: KafkaSettings,
        starts: Mapping[tuple[str, int], int],
        *,
        ending: threading.Event,
        idle_s_max: float | None = READ_IDLE_S_MAX,
    ) -> None:
        self._servers, self._ending, self._idle_s_max = settings.bootstrap_servers, ending, idle_s_max
        self._consumer = Consumer(
            confluent_config(
                settings,
                group_id="liqcascade-reader",  # librdkafka asks for one; nothing is committed under it
                enable_auto_commit=False,
                enable_partition_eof=True,
                auto_offset_reset="earliest",
                queued_max_messages_kbytes=QUEUED_KBYTES_MAX,
                fetch_queue_backoff_ms=QUEUE_BACKOFF_MS,
                fetch_wait_max_ms=FETCH_WAIT_MS if idle_s_max is not None else FETCH_WAIT_TAIL_MS,
            )
        )
        self._ended: dict[tuple[str, int], int] = {}  # where the end was seen
        self._starts = dict(starts)
        self._waited_s = 0.0  # without anything new; what the caller takes between two reads does not count
        self._consumer.assign([TopicPartition(topic, number, offset) for (topic, number), offset in starts.items()])

    def read(self) -> list[LogRecord]:
        """The next records, in order a partition; none when the end of all was reached or nothing came in time."""
        return [record_of(message) for message in self.messages()]

    def messages(self) -> list[Message]:
        """The same as the client has them, which takes a third of the time."""
        if self._ending.is_set():
            raise BrokerUnavailable("reading was cut off: the worker ends")
        records = []
        begun_s = time.monotonic()
        first = self._consumer.poll(POLL_S)  # `consume` alone would wait for a full batch
        self._waited_s = 0.0 if first else self._waited_s + time.monotonic() - begun_s
        for message in [first, *self._consumer.consume(BATCH_MAX, 0)] if first else []:
            error = message.error()
            if error is None:
                records.append(message)
                if self._ended:
                    self._ended.pop(place_of(message), None)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ended[place_of(message)] = message.offset() or 0
            elif error.code() not in PASSING:
                topic, partition = place_of(message)
                raise BrokerUnavailable(f"reading {topic}/{partition} at {self._servers}: {error.str()}")
        if self._idle_s_max is not None and self._waited_s > self._idle_s_max:
            raise BrokerUnavailable(
                f"reading {len(self._starts)} partitions at {self._servers}: nothing for {self._idle_s_max:.0f} s; "
                "is the broker up, and do the topics have leaders?"
            )
        return records

    @property
    def ended(self) -> bool:
        """Whether every partition was read to its end."""
        return len(self._ended) == len(self._starts)

    def end_seen(self, topic: str, partition: int) -> int:
        """Offset at which the partition ended when it was read so far; 0 while it has not."""
        return self._ended.get((topic, partition), 0)

    def to_end(self) -> Iterator[LogRecord]:
        """Every record up to the ends as they are when they are reached."""
        while self._starts:
            yield from self.read()
            if self.ended:
                return

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset kept and next offset to be written."""

        def ask() -> tuple[int, int]:
            place = TopicPartition(topic, partition)
            low, high = self._consumer.get_watermark_offsets(place, timeout=BOUNDS_S_MAX)
            return low, high

        return self._answer(ask, f"asking for the ends of {topic}/{partition}")

    def offset_at(self, topic: str, partition: int, time_ms: int) -> int:
        """Offset of the first record from `time_ms` on; the end without one."""

        def ask() -> int:
            place = TopicPartition(topic, partition, max(0, time_ms))
            (found,) = self._consumer.offsets_for_times([place], timeout=BOUNDS_S_MAX)
            if found.error is not None:
                raise KafkaException(found.error)
            return found.offset

        offset = self._answer(ask, f"asking {topic}/{partition} for {time_ms} ms")
        return offset if offset >= 0 else self.bounds(topic, partition)[1]

    def close(self) -> None:
        """End the consumer."""
        self._consumer.close()

    def _answer(self, ask: Callable[[], Answer], doing: str) -> Answer:
        """What the broker answers, once the partition has a leader."""
        if not self._starts:
            self._consumer.poll(0)  # so that what the client logs is not kept
        deadline_s = time.monotonic() + BOUNDS_S_MAX
        while True:
            try:
                return ask()
            except KafkaException as exc:
                if exc.args[0].code() not in LEADERLESS or time.monotonic() > deadline_s:
                    raise BrokerUnavailable(f"{doing} at {self._servers}: {exc.args[0].str()}") from exc
            time.sleep(RETRY_S)

    def __enter__(self) -> "LogReader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def record_of(message: Message) -> LogRecord:
    """A message of the client that is no error."""
    headers = message.headers()
    return LogRecord(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        bytes_of(message.key()),
        bytes_of(message.value()),
        tuple([(header[0], bytes_of(header[1]) or b"") for header in headers]) if headers else (),
    )


def place_of(message: Message) -> tuple[str, int]:
    """Topic and partition."""
    return message.topic() or "", message.partition() or 0


def bytes_of(value: str | bytes | None) -> bytes | None:
    """A key, a value or a header's value of the client, which may give text."""
    return value.encode() if isinstance(value, str) else value
