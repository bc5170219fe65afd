"""Produce → alert at 1,000 events/s, beside a bare produce → consume and a bare Faust agent that forwards each record,
on the same broker in the same run.

The first twenty seconds of each count for none: until its code is compiled the broker alone takes two seconds, and it
compiles for twenty. The broker has the options with which it never stands still, as one on a machine of its own.
Bursts go from asset to asset, each dense enough to climb to EXTREME. An alert names the partition and offset of the
event that caused it; its delay is the time from handing that event to the producer until the alert is in the consumer's
hands. Only RAISED counts: no event waits for an alert that a tick causes."""

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from runtime.kafka import confluent_config, create_topics, producer_config
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import StackError
from schemas.records import CascadeAlert, Liquidation
from schemas.topics import ALERTS, LIQUIDATIONS, MARKET
from schemas.words import AlertKind, Completeness, Exchange, Market, PriceKind, Side
from stack.demo.stage import Stage
from stack.embedded import EmbeddedStack
from stack.embedded.kafka import STEADY_JVM

RATE_PER_S: Final = 1_000
SECONDS: Final = 60
CODEC: Final = Codec()
READY: Final = b"forwarding"  # what the agent that forwards says then
BURST: Final = 300  # events in 2 s must pass 200 for EXTREME
WARM_UP_S: Final = 20.0
DRAIN_S: Final = 2.0
BARE_TOPIC: Final = "bench.bare"
FORWARD_FROM: Final = "bench.forward-from"
FORWARD_TO: Final = "bench.forward-to"
Id = tuple[int | None, int | None] | str  # of the event that is the cause: partition and offset, or event_id
Cause = Callable[[Message], Id | None]


def run() -> dict[str, object]:
    """{"p50_ms", "p99_ms", "alerts", "bare_p50_ms", …, "forward_p50_ms", …, "ratio_p50", …, "events_per_s"}; ratios to
    the agent that forwards."""
    with tempfile.TemporaryDirectory(prefix="liqcascade-bench-") as folder:
        data = Path(folder)
        data.chmod(0o755)
        stack = EmbeddedStack(data, jvm=STEADY_JVM)
        try:
            environment = {stack.kafka.variable: stack.kafka.start()}
            kafka = KafkaSettings(bootstrap_servers=stack.kafka.url)
            create_topics(kafka)
            admin = AdminClient(confluent_config(kafka))
            own = [NewTopic(name, kafka.partitions, 1) for name in (BARE_TOPIC, FORWARD_FROM, FORWARD_TO)]
            for made in admin.create_topics(own).values():
                made.result()
            bare = measure(kafka, BARE_TOPIC, BARE_TOPIC, _place)
            with _forwarding(kafka):
                forward = measure(kafka, FORWARD_FROM, FORWARD_TO, _event_id)
            with _detecting(environment, data):
                alerts = measure(kafka, LIQUIDATIONS.name, ALERTS.name, _cause)
        finally:
            stack.stop()
    delays = {"": alerts, "bare_": bare, "forward_": forward}
    result: dict[str, object] = {"alerts": len(alerts), "events_per_s": RATE_PER_S}
    for percentile in (50, 99):
        found = {name: float(np.percentile(values, percentile)) for name, values in delays.items()}
        result |= {f"{name}p{percentile}_ms": round(value, 2) for name, value in found.items()}
        result[f"ratio_p{percentile}"] = round(found[""] / found["forward_"], 2)
    return result


@contextlib.contextmanager
def _forwarding(kafka: KafkaSettings) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks._forward", kafka.bootstrap_servers, FORWARD_FROM, FORWARD_TO]
    agent = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert agent.stdout is not None
    try:
        if not any(READY in line for line in agent.stdout):
            raise StackError("starting the Faust agent that forwards: it ended")
        yield
    finally:
        agent.kill()
        agent.wait()


@contextlib.contextmanager
def _detecting(environment: dict[str, str], data: Path) -> Iterator[None]:
    stage = Stage("process", ["stack.cli", "process"], environment | {"LIQCASCADE_LOG__FORMAT": "json"}, data)
    stage.start()
    try:
        stage.await_ready()
        yield
    finally:
        stage.ask_to_stop()
        stage.await_end()


def measure(kafka: KafkaSettings, to: str, back: str, cause: Cause) -> list[float]:
    """Delays in ms from producing to `to` until what an event caused is read from `back`."""
    sent_s: dict[Id, float] = {}
    seen: list[tuple[Id, float]] = []
    stop = threading.Event()
    consumer = reader_of(kafka, back)
    reading = threading.Thread(target=_read, args=(consumer, cause, seen, stop))
    reading.start()
    start_s = time.perf_counter()
    _produce(kafka, to, sent_s)
    time.sleep(DRAIN_S)
    stop.set()
    reading.join()
    consumer.close()
    warm_s = start_s + WARM_UP_S
    return [(at_s - sent_s[key]) * 1_000 for key, at_s in seen if key in sent_s and sent_s[key] >= warm_s]


def _produce(kafka: KafkaSettings, topic: str, sent_s: dict[Id, float]) -> None:
    producer = Producer(producer_config(kafka, linger_ms=0))
    start_s = time.perf_counter()
    for number in range(RATE_PER_S * SECONDS):
        due_s = start_s + number / RATE_PER_S
        producer.poll(0)
        while (early_s := due_s - time.perf_counter()) > 0:
            time.sleep(early_s)  # `poll` rounds what is below a millisecond to 0 and would keep a core busy
        event = cascade_event(number)
        value = CODEC.encode(LIQUIDATIONS, event)
        handed_s = time.perf_counter()

        def delivered(error: Any, message: Message, event_id: str = event.event_id, at_s: float = handed_s) -> None:
            assert error is None, error
            sent_s[event_id] = sent_s[message.partition(), message.offset()] = at_s

        producer.produce(topic, key=event.asset.encode(), value=value, on_delivery=delivered)
    producer.flush()


def _read(consumer: Consumer, cause: Cause, seen: list[tuple[Id, float]], stop: threading.Event) -> None:
    while not stop.is_set():
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            at_s = time.perf_counter()
            key = cause(message)
            if key is not None:
                seen.append((key, at_s))


def reader_of(kafka: KafkaSettings, topic: str) -> Consumer:
    """A consumer at the start of every partition of a topic."""
    consumer = Consumer(
        confluent_config(
            kafka, group_id="bench", enable_auto_commit=False, fetch_wait_max_ms=100, auto_offset_reset="earliest"
        )
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(kafka.partitions)])
    return consumer


def _place(message: Message) -> Id:
    return message.partition(), message.offset()


def _event_id(message: Message) -> Id:
    return CODEC.decode(Liquidation, message.value() or b"").event_id


def _cause(message: Message) -> Id | None:
    alert = CODEC.decode(CascadeAlert, message.value() or b"")
    is_raised = alert.kind is AlertKind.RAISED and alert.asset != MARKET
    return (alert.source_partition, alert.source_offset) if is_raised else None


def cascade_event(number: int) -> Liquidation:
    """Event `number` of cascades that go from asset to asset, happening now."""
    burst, at_ms = number // BURST, time.time_ns() // 1_000_000
    return Liquidation(
        event_id=f"bench:{number}",
        exchange=(Exchange.BYBIT, Exchange.OKX, Exchange.BINANCE)[number % 3],
        asset=f"A{burst}",
        instrument=f"A{burst}USDT",
        market=Market.USDT,
        side=Side.LONG,
        price=100.0,
        quantity=10.0,
        notional_usd=1_000.0,
        price_kind=PriceKind.AVERAGE,
        completeness=Completeness.ALL,
        event_time_ms=at_ms,
        received_time_us=at_ms * 1_000,
    )
