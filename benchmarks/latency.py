"""Produce → alert at 1,000 events/s, beside a bare produce → consume on the same broker in the same run.

Bursts go from asset to asset, each dense enough to climb to EXTREME. An alert names the partition and offset of the
event that caused it; its delay is the time from handing that event to the producer until the alert is in the consumer's
hands. Only RAISED counts: no event waits for an alert that a tick causes."""

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from runtime.kafka import confluent_config, create_topics, describe, producer_config
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.records import CascadeAlert, Liquidation
from schemas.topics import ALERTS, LIQUIDATIONS
from schemas.words import AlertKind, Completeness, Exchange, Market, PriceKind, Side
from stack.demo.stage import Stage
from stack.embedded import EmbeddedStack

RATE_PER_S: Final = 1_000
SECONDS: Final = 30
BURST: Final = 300  # events in 2 s must pass 200 for EXTREME
WARM_UP_S: Final = 3.0
DRAIN_S: Final = 2.0
BARE_TOPIC: Final = "bench.bare"


def run() -> dict[str, object]:
    """{"p50_ms", "p99_ms", "alerts", "bare_p50_ms", "bare_p99_ms", "ratio_p50", "ratio_p99", "events_per_s"}."""
    with tempfile.TemporaryDirectory(prefix="liqcascade-bench-") as folder:
        data = Path(folder)
        data.chmod(0o755)
        stack = EmbeddedStack(data)
        stage: Stage | None = None
        try:
            environment = {stack.kafka.variable: stack.kafka.start()}
            kafka = KafkaSettings(bootstrap_servers=stack.kafka.url)
            create_topics(kafka)
            admin = AdminClient(confluent_config(kafka))
            admin.create_topics([NewTopic(BARE_TOPIC, kafka.partitions, 1)])[BARE_TOPIC].result()
            stage = Stage("process", ["stack.cli", "process"], environment | {"LIQCASCADE_LOG__FORMAT": "json"}, data)
            stage.start()
            stage.await_ready()
            bare = measure(kafka, BARE_TOPIC, BARE_TOPIC, lambda message: (message.partition(), message.offset()))
            alerts = measure(kafka, LIQUIDATIONS.name, ALERTS.name, _cause)
        finally:
            if stage is not None:
                stage.ask_to_stop()
                stage.await_end()
            stack.stop()
    (bare_p50, bare_p99), (p50, p99) = np.percentile(bare, (50, 99)), np.percentile(alerts, (50, 99))
    return {
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "alerts": len(alerts),
        "bare_p50_ms": round(float(bare_p50), 2),
        "bare_p99_ms": round(float(bare_p99), 2),
        "ratio_p50": round(float(p50 / bare_p50), 2),
        "ratio_p99": round(float(p99 / bare_p99), 2),
        "events_per_s": RATE_PER_S,
    }


def measure(
    kafka: KafkaSettings, to: str, back: str, cause: Callable[[Message], tuple[int | None, int | None] | None]
) -> list[float]:
    """Delays in ms from producing to `to` until what an event caused is read from `back`."""
    sent_s: dict[tuple[int | None, int | None], float] = {}
    seen: list[tuple[tuple[int | None, int | None], float]] = []
    stop = threading.Event()
    consumer = _consumer(kafka, back)
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


def _produce(kafka: KafkaSettings, topic: str, sent_s: dict[tuple[int | None, int | None], float]) -> None:
    producer, codec = Producer(producer_config(kafka, linger_ms=0)), Codec()
    start_s = time.perf_counter()
    for number in range(RATE_PER_S * SECONDS):
        due_s = start_s + number / RATE_PER_S
        while (early_s := due_s - time.perf_counter()) > 0:
            producer.poll(min(early_s, 0.0005))
        event = _event(number)
        value = codec.encode(LIQUIDATIONS, event)
        handed_s = time.perf_counter()

        def delivered(error: Any, message: Message, handed_s: float = handed_s) -> None:
            assert error is None, error
            sent_s[message.partition(), message.offset()] = handed_s

        producer.produce(topic, key=event.asset.encode(), value=value, on_delivery=delivered)
    producer.flush()


def _read(
    consumer: Consumer,
    cause: Callable[[Message], tuple[int | None, int | None] | None],
    seen: list[tuple[tuple[int | None, int | None], float]],
    stop: threading.Event,
) -> None:
    while not stop.is_set():
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            at_s = time.perf_counter()
            key = cause(message)
            if key is not None:
                seen.append((key, at_s))


def _consumer(kafka: KafkaSettings, topic: str) -> Consumer:
    consumer = Consumer(
        confluent_config(
            kafka, group_id="bench", enable_auto_commit=False, fetch_wait_max_ms=5, auto_offset_reset="earliest"
        )
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(describe(kafka)[topic])])
    return consumer


def _cause(message: Message) -> tuple[int | None, int | None] | None:
    alert = Codec().decode(CascadeAlert, message.value() or b"")
    return (alert.source_partition, alert.source_offset) if alert.kind is AlertKind.RAISED else None


def _event(number: int) -> Liquidation:
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
