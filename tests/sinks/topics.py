"""Produce to and read from the topics of one test; run workers in threads."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from runtime.kafka import confluent_config, create_topics, producer_config, topic_names
from runtime.settings import KafkaSettings
from schemas.records import Record
from schemas.topics import DEAD_LETTERS, Topic
from sinks.app import TOPICS
from sinks.configs import read
from sinks.connector import Connector
from sinks.settings import SinkSettings
from sinks.task import Task
from tests.sinks.records import CODEC, TOPIC_OF

WAIT_S_MAX = 60.0
LOOK_S = 0.02


class Log:
    """The topics under the prefix of the settings."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Makes the topics of every sink, with the broker's append time as in live topics."""
        self.settings = settings
        self.names = topic_names(settings)
        create_topics(settings, TOPICS)
        self._producer = Producer(producer_config(settings))

    def append(
        self,
        records: Iterable[Record | bytes | None],
        topic: Topic | None = None,
        headers: list[tuple[str, str | bytes | None]] | None = None,
    ) -> None:
        """Append and wait for all; bytes go as they are, to `topic`."""
        for number, record in enumerate(records):
            at = topic or TOPIC_OF[type(record)]  # type: ignore[index]
            value = CODEC.encode(at, record) if isinstance(record, Record) else record
            key = getattr(record, "asset", f"key{number}")
            self._producer.produce(self.names.of(at), key=key, value=value, headers=headers or [])
            if number % 1_000 == 999:
                self._producer.flush()
        assert self._producer.flush(WAIT_S_MAX) == 0

    def count(self, topic: Topic) -> int:
        """How many records the topic holds."""
        return sum(self.ends(topic))

    def ends(self, topic: Topic) -> list[int]:
        """The next offset of every partition."""
        consumer = Consumer(confluent_config(self.settings, group_id="unused"))
        positions = [
            TopicPartition(self.names.of(topic), partition)
            for partition in range(topic.partitions(self.settings.partitions))
        ]
        ends = [consumer.get_watermark_offsets(position, timeout=WAIT_S_MAX)[1] for position in positions]
        consumer.close()
        return ends

    def dead_letters(self, count: int) -> list[Message]:
        """The first so many dead letters."""
        consumer = Consumer(
            confluent_config(self.settings, group_id=self.settings.topic_prefix, auto_offset_reset="earliest")
        )
        consumer.subscribe([self.names.of(DEAD_LETTERS)])
        messages: list[Message] = []
        deadline_s = time.monotonic() + WAIT_S_MAX
        while len(messages) < count and time.monotonic() < deadline_s:
            messages += [one for one in consumer.consume(count, LOOK_S) if one.error() is None]
        consumer.close()
        return messages


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Look until it is so. Fails after a minute."""
    deadline_s = time.monotonic() + WAIT_S_MAX
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {WAIT_S_MAX:.0f} s for {what}"
        time.sleep(LOOK_S)


@contextmanager
def running(
    settings: SinkSettings, kind: type[Connector], *, first: Callable[[], None] = lambda: None, **properties: str
) -> Iterator[Task]:
    """A task in a thread; at the end it is stopped and has ended in order. `properties` with _ for dots.

    `first`: what happens when the task is made and does not run yet."""
    given = {name.replace("_", "."): value for name, value in properties.items()}
    worker = Task(read({"name": kind.kind, "connector.class": kind.kind} | given, settings))
    first()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            worker.run()
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(WAIT_S_MAX)
        assert not thread.is_alive()
        if errors:
            raise errors[0]
