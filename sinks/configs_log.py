"""connect.configs and connect.status, read whole at every start and followed: what all workers know together."""

import threading
import time
from collections.abc import Iterable
from typing import Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from runtime.kafka import confluent_config, producer_config, topic_names
from runtime.log_reader import LogReader
from runtime.receipts import Receipts
from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable
from schemas.topics import CONFIGS, STATUSES, Topic
from sinks.configs_state import ConnectState, LogLevel, Restart

ANSWER_S_MAX: Final = 15.0
POLL_S: Final = 0.1
RECORDS_MAX: Final = 500

log = structlog.get_logger()


class ConfigsLog:
    """`read` from one thread; `write` from any: it returns when `read` has seen what was written."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Connects by itself; the topics must be there."""
        names = topic_names(settings)
        self.state = ConnectState()
        self._names = {topic: names.of(topic) for topic in (CONFIGS, STATUSES)}
        self._settings, self._bootstrap = settings, settings.bootstrap_servers
        self._next: dict[str, int] = {}
        self._seen = threading.Condition()
        self._closing = False
        self._producer = Producer(producer_config(settings, linger_ms=0))
        self._unwaited = Receipts()
        self._consumer = Consumer(
            confluent_config(
                settings,
                group_id=f"{settings.topic_prefix}unused",
                enable_auto_commit=False,
                enable_partition_eof=True,  # the end may be behind holes that compaction left
            )
        )
        self._consumer.assign([TopicPartition(name, 0, OFFSET_BEGINNING) for name in self._names.values()])

    def catch_up(self, stopping: threading.Event) -> None:
        """Read all that there is now. Restarts and levels in it have been done. Raises BrokerUnavailable."""
        with LogReader(self._settings, {}, ending=stopping) as asking:
            ends = {name: asking.bounds(name, 0)[1] for name in self._names.values()}
        while not stopping.is_set() and any(self._next.get(name, 0) < end for name, end in ends.items()):
            self.read()

    def read(self) -> list[Restart | LogLevel]:
        """What has come within a moment; returns the restarts and levels that somebody wants."""
        events = []
        messages = self._consumer.consume(RECORDS_MAX, POLL_S)
        with self._seen:
            for message in messages:
                event = self._take(message)
                if event is not None:
                    events.append(event)
            if messages:
                self._seen.notify_all()
        return events

    def write(self, topic: Topic, records: Iterable[tuple[str, bytes | None]], *, wait: bool = True) -> None:
        """Append; with `wait`, until `state` has it. A value of None ends a key. Raises BrokerUnavailable."""
        ends = [0]
        receipts = Receipts(lambda message: ends.append((message.offset() or 0) + 1)) if wait else self._unwaited
        name = self._names[topic]
        doing = f"writing to {name} at {self._bootstrap}"
        try:
            for key, value in records:
                self._producer.produce(name, key=key, value=value, partition=0, on_delivery=receipts.answer)
                receipts.sent()
        except (BufferError, KafkaException) as exc:
            raise BrokerUnavailable(f"{doing}: {exc}") from exc
        self._producer.poll(0)
        if wait:
            receipts.wait(self._producer, ANSWER_S_MAX, doing=doing)
            self._await(name, max(ends))

    def deliver(self) -> None:
        """Wait until the broker has all that was written without waiting. Raises BrokerUnavailable."""
        doing = f"writing the connectors' settings at {self._bootstrap}"
        receipts, self._unwaited = self._unwaited, Receipts()
        receipts.wait(self._producer, ANSWER_S_MAX, doing=doing)

    def close(self) -> None:
        """Let go; who waits in `write` is let go too."""
        self._closing = True
        with self._seen:
            self._seen.notify_all()
        self._producer.flush(1.0)
        self._consumer.close()

    def _await(self, name: str, end: int) -> None:
        deadline_s = time.monotonic() + ANSWER_S_MAX
        with self._seen:
            while self._next.get(name, 0) < end and not self._closing:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise BrokerUnavailable(f"writing to {name} at {self._bootstrap}: written, but not read back")
                self._seen.wait(left_s)

    def _take(self, message: Message) -> Restart | LogLevel | None:
        topic, offset, key, error = message.topic(), message.offset(), message.key(), message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF and topic is not None:
                self._next[topic] = max(offset or 0, self._next.get(topic, 0))
            return None
        assert topic is not None, "it comes from a topic"
        assert offset is not None, "it comes from a partition"
        self._next[topic] = offset + 1
        try:
            return self.state.apply((key or b"").decode(), message.value())
        except (ValueError, LookupError, TypeError) as exc:
            log.error("a record cannot be understood; it is left out", topic=topic, offset=offset, error=str(exc))
            return None
