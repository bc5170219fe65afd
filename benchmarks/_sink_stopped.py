"""What a sink whose store is away costs those who share only the broker with it: who publishes, and who reads."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Final

from confluent_kafka import Consumer, Producer
from pydantic import SecretStr

from runtime.kafka import confluent_config, create_topics, producer_config
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import StackError
from schemas.records import Liquidation
from schemas.topics import LIQUIDATIONS
from sinks.configs import read
from sinks.settings import DatabaseSettings, SinkSettings
from sinks.task import State, Task

RECORDS: Final = 20_000
ROUNDS: Final = 3
NOBODY: Final = "postgresql://nobody@127.0.0.1:1/nothing"
WAIT_S_MAX: Final = 60.0


def figures(settings: SinkSettings, events: Sequence[Liquidation]) -> dict[str, float]:
    """Time to publish and to read some records beside a stopped sink, over the time without one: 1 is no difference."""
    kafka = settings.kafka.model_copy(update={"topic_prefix": "stopped."})
    away = settings.model_copy(update={"kafka": kafka, "database": DatabaseSettings(url=SecretStr(NOBODY))})
    create_topics(kafka)
    values = [Codec().encode(LIQUIDATIONS, event) for event in events[:RECORDS]]
    publish_ratios, read_ratios = [], []
    for _ in range(ROUNDS):
        alone = _publish_s(kafka, values), _read_s(kafka)
        with _stopped(away):
            beside = _publish_s(kafka, values), _read_s(kafka)
        publish_ratios.append(beside[0] / alone[0])
        read_ratios.append(beside[1] / alone[1])
    return {
        "stopped_publish_ratio": round(median(publish_ratios), 2),
        "stopped_read_ratio": round(median(read_ratios), 2),
    }


@contextmanager
def _stopped(settings: SinkSettings) -> Iterator[None]:
    task = Task(read({"name": "stopped", "connector.class": "timescale"}, settings))
    thread = threading.Thread(target=task.run)
    thread.start()
    try:
        _wait(lambda: task.state is State.PAUSED_BY_OUTAGE, "pausing a sink")
        yield
        assert task.state is State.PAUSED_BY_OUTAGE, "it was away all the time"
    finally:
        task.stop()
        thread.join()


def _publish_s(kafka: KafkaSettings, values: Sequence[bytes]) -> float:
    producer = Producer(producer_config(kafka))
    producer.list_topics(timeout=WAIT_S_MAX)  # connected
    begun_s = time.perf_counter()
    for value in values:
        producer.produce(kafka.topic_prefix + LIQUIDATIONS.name, value=value)
    if producer.flush(WAIT_S_MAX):
        raise StackError(f"publishing {len(values)} records: not all were acknowledged in {WAIT_S_MAX:.0f} s")
    return time.perf_counter() - begun_s


def _read_s(kafka: KafkaSettings) -> float:
    """From the first record on: joining a group takes seconds, whoever else is there."""
    consumer = Consumer(confluent_config(kafka, group_id=f"reader-{time.monotonic_ns()}", auto_offset_reset="earliest"))
    try:
        consumer.subscribe([kafka.topic_prefix + LIQUIDATIONS.name])
        _wait(lambda: consumer.poll(0.1) is not None, "reading what was published")
        begun_s, count = time.perf_counter(), 1
        while count < RECORDS:
            count += len(consumer.consume(1_000, 0.1))
            if time.perf_counter() > begun_s + WAIT_S_MAX:
                raise StackError(f"reading {RECORDS} records: {count} after {WAIT_S_MAX:.0f} s")
        return time.perf_counter() - begun_s
    finally:
        consumer.close()


def _wait(condition: Callable[[], bool], doing: str) -> None:
    deadline_s = time.perf_counter() + WAIT_S_MAX
    looking = threading.Event()
    while not condition():
        if time.perf_counter() > deadline_s:
            raise StackError(f"{doing}: not within {WAIT_S_MAX:.0f} s")
        looking.wait(0.01)
