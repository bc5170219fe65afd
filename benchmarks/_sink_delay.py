"""From handing an event to the Kafka client until it can be read in a store, in calm times."""

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

import psycopg2
import redis
from confluent_kafka import KafkaError, Message, Producer
from msgspec.structs import replace

from runtime.clock import wall_clock_ms
from runtime.kafka import create_topics, producer_config
from schemas.codec import Codec
from schemas.errors import StackError
from schemas.records import Liquidation
from schemas.topics import LIQUIDATIONS
from sinks.configs import read
from sinks.connector import Position
from sinks.redis_plan import offset_key
from sinks.settings import SinkSettings
from sinks.task import State, Task

EVENTS: Final = 1_100
WARM_UP: Final = 100  # the first batch makes tables and connections
EVERY_S: Final = 0.01  # 100 events a second
LOOK_S: Final = 0.005
LAND_S_MAX: Final = 60.0
FLUSH_MS: Final = 200

Look = Callable[[], Mapping[Position, int]]  # next offsets, which a store moves in the transaction that writes the rows


def figures(settings: SinkSettings, sample: Liquidation) -> dict[str, float]:
    """Delays in ms of the store with the longest ones, and of each."""
    found: dict[str, list[float]] = {}
    for name, looking in (("timescale", _timescale), ("redis", _redis)):
        kafka = settings.kafka.model_copy(update={"topic_prefix": f"delay-{name}."})
        found[name] = _delays_ms(settings.model_copy(update={"kafka": kafka}), name, sample, looking)
    each = {
        f"{name}_delay_{what}_ms": round(value, 1)
        for name, delays_ms in found.items()
        for what, value in (("p50", statistics.median(delays_ms)), ("p99", statistics.quantiles(delays_ms, n=100)[98]))
    }
    return each | {
        f"delay_{what}_ms": max(each[f"{name}_delay_{what}_ms"] for name in found) for what in ("p50", "p99")
    }


def _delays_ms(
    settings: SinkSettings,
    name: str,
    sample: Liquidation,
    looking: Callable[[SinkSettings, str], contextlib.AbstractContextManager[Look]],
) -> list[float]:
    create_topics(settings.kafka)
    sink = f"delay-{name}"
    task = Task(read({"name": sink, "connector.class": name, "flush.ms": str(FLUSH_MS)}, settings))
    thread = threading.Thread(target=task.run)
    thread.start()
    try:
        _wait_running(task)
        with looking(settings, sink) as look:
            return _send_and_see(settings, sample, look)
    finally:
        task.stop()
        thread.join()


def _wait_running(task: Task) -> None:
    deadline_s, looking = time.perf_counter() + LAND_S_MAX, threading.Event()
    while task.state is not State.RUNNING:
        if time.perf_counter() > deadline_s:
            raise StackError(f"starting {task.name}: {task.condition} after {LAND_S_MAX:.0f} s")
        looking.wait(LOOK_S)


def _send_and_see(settings: SinkSettings, sample: Liquidation, look: Look) -> list[float]:
    """Send in time, look all the time; a record can be read when the store's offset has passed it."""
    producer, codec = Producer(producer_config(settings.kafka)), Codec()
    topic = settings.kafka.topic_prefix + LIQUIDATIONS.name
    sent_s: dict[tuple[Position, int], float] = {}  # not yet seen
    delays_ms: list[float] = []
    count = 0

    def acknowledged(begun_s: float, error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if error is not None or partition is None or offset is None:
            raise StackError(f"sending to {topic}: {error}")
        sent_s[(topic, partition), offset] = begun_s

    start_s = time.perf_counter()
    while len(delays_ms) < EVENTS:
        now_s = time.perf_counter()
        while count < EVENTS and now_s >= start_s + count * EVERY_S:
            value = codec.encode(LIQUIDATIONS, _fresh(sample, count))
            producer.produce(topic, key=sample.asset, value=value, on_delivery=partial(acknowledged, now_s))
            count += 1
        producer.poll(LOOK_S)
        next_offsets, now_s = look(), time.perf_counter()
        for place in [place for place in sent_s if place[1] < next_offsets.get(place[0], 0)]:
            delays_ms.append((now_s - sent_s.pop(place)) * 1_000)
        if now_s > start_s + EVENTS * EVERY_S + LAND_S_MAX:
            raise StackError(f"landing {EVENTS} events in calm times: {len(delays_ms)} after {now_s - start_s:.0f} s")
    return delays_ms[WARM_UP:]


def _fresh(sample: Liquidation, number: int) -> Liquidation:
    now_ms = wall_clock_ms()
    return replace(sample, event_id=f"calm:{now_ms}:{number}", event_time_ms=now_ms, received_time_us=now_ms * 1_000)


@contextlib.contextmanager
def _timescale(settings: SinkSettings, sink: str) -> Iterator[Look]:
    with contextlib.closing(psycopg2.connect(settings.database.url.get_secret_value())) as connection:
        connection.autocommit = True
        cursor = connection.cursor()

        def look() -> dict[Position, int]:
            cursor.execute("SELECT topic, partition, next_offset FROM sink_offsets WHERE sink = %s", (sink,))
            return {(topic, partition): offset for topic, partition, offset in cursor.fetchall()}

        yield look


@contextlib.contextmanager
def _redis(settings: SinkSettings, sink: str) -> Iterator[Look]:
    with contextlib.closing(redis.Redis.from_url(settings.redis.url.get_secret_value())) as client:
        topic = settings.kafka.topic_prefix + LIQUIDATIONS.name
        positions = [(topic, number) for number in range(settings.kafka.partitions)]
        keys = [offset_key(sink, position) for position in positions]

        def look() -> dict[Position, int]:
            return {position: int(at) for position, at in zip(positions, client.mget(keys), strict=True) if at}

        yield look
