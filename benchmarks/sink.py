"""Kafka → store, beside a bare COPY-and-insert of the same preformatted rows into such a table in the same run."""

import contextlib
import io
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

import psycopg2
from confluent_kafka import Producer
from prometheus_client import REGISTRY
from pydantic import SecretStr

from benchmarks import _redis_view, _sink_delay, _sink_stopped
from runtime.clock import wall_clock_ms
from runtime.kafka import create_topics, producer_config
from runtime.receipts import Receipts
from runtime.settings import KafkaSettings, RedisSettings
from schemas.codec import Codec
from schemas.errors import StackError
from schemas.records import Liquidation
from schemas.topics import LIQUIDATIONS
from schemas.words import Completeness, Exchange, Market, PriceKind, Side
from sinks.app import share_fairly
from sinks.configs import read
from sinks.connector import SinkRecord
from sinks.settings import DatabaseSettings, SinkSettings, SinksSection
from sinks.tables import LIQUIDATIONS as TABLE
from sinks.task import Task
from sinks.timescale import ASYNCHRONOUS
from stack.embedded import EmbeddedStack

RECORDS: Final = 200_000
BATCH: Final = 1_000
SINKS: Final = ("timescale", "redis")
ASSETS: Final = ("BTC", "ETH", "SOL", "XRP", "DOGE", "PEPE", "BNB", "HYPE")
FLUSH_MS: Final = 200
LAND_S_MAX: Final = 300.0


def run() -> dict[str, object]:
    """Records/s of each sink from one task, of the bare insert, and the ratio of the two; what calm times look like."""
    share_fairly()
    events = [_event(number, wall_clock_ms() + number // 100) for number in range(RECORDS)]
    with tempfile.TemporaryDirectory(prefix="liqcascade-bench-") as folder:
        data = Path(folder)
        data.chmod(0o755)
        with EmbeddedStack(data) as stack:
            settings = SinkSettings(
                kafka=KafkaSettings(bootstrap_servers=stack.kafka.url),
                database=DatabaseSettings(url=SecretStr(stack.postgres.url)),
                redis=RedisSettings(url=SecretStr(stack.redis.url)),
            )
            _publish(settings.kafka, events)
            landed = {name: _land(settings, name) for name in SINKS}
            bare = _insert_bare(stack.postgres.url, events)
            view = _redis_view.figures(settings, events[0])
            calm = _sink_delay.figures(settings, events[0]) | _sink_stopped.figures(settings, events)
            timescale = stack.postgres.installation is not None and stack.postgres.installation.timescale
    return {f"{name}_records_per_s": round(rate) for name, rate in landed.items()} | {
        "bare_rows_per_s": round(bare),
        "ratio": round(landed["timescale"] / bare, 2),
        "records": RECORDS,
        "hypertable": timescale,
        **view,
        **calm,
    }


def _event(number: int, event_time_ms: int) -> Liquidation:
    price = 65_000.0 + number % 997 / 10
    return Liquidation(
        event_id=f"bybit:{ASSETS[number % len(ASSETS)]}USDT:{event_time_ms}:Buy:{number}:{price}",
        exchange=Exchange.BYBIT,
        asset=ASSETS[number % len(ASSETS)],
        instrument=f"{ASSETS[number % len(ASSETS)]}USDT",
        market=Market.USDT,
        side=Side.LONG if number % 3 else Side.SHORT,
        price=price,
        quantity=0.5,
        notional_usd=price / 2,
        price_kind=PriceKind.BANKRUPTCY,
        completeness=Completeness.ALL,
        event_time_ms=event_time_ms,
        received_time_us=event_time_ms * 1_000,
    )


def _publish(kafka: KafkaSettings, events: list[Liquidation]) -> None:
    create_topics(kafka)
    producer, codec, receipts = Producer(producer_config(kafka)), Codec(), Receipts()
    for number, event in enumerate(events):
        value = codec.encode(LIQUIDATIONS, event)
        producer.produce(LIQUIDATIONS.name, value, event.asset, on_delivery=receipts.answer)
        receipts.sent()
        if number % 10_000 == 0:
            receipts.wait(producer, LAND_S_MAX, doing="publishing")
    receipts.wait(producer, LAND_S_MAX, doing="publishing")


def _land(settings: SinkSettings, name: str) -> float:
    """Records per second from the first one that is fetched to the last one that has landed."""
    batches = settings.model_copy(update={"sinks": SinksSection(batch_records_max=BATCH)})
    # Records count when they are flushed: with the second that a database has, the end would lie up to one behind.
    task = Task(read({"name": name, "connector.class": name, "flush.ms": str(FLUSH_MS)}, batches))
    thread = threading.Thread(target=task.run)
    thread.start()
    looking = threading.Event()
    deadline_s = time.perf_counter() + LAND_S_MAX
    start_s = 0.0
    while (landed := REGISTRY.get_sample_value("liqcascade_sink_records_total", {"sink": name}) or 0) < RECORDS:
        if not start_s and task.in_hand:
            start_s = time.perf_counter()
        if time.perf_counter() > deadline_s:
            raise StackError(f"landing in {name}: {landed:.0f} of {RECORDS} after {LAND_S_MAX:.0f} s")
        looking.wait(0.02)  # a look takes a millisecond from the sink
    end_s = time.perf_counter()
    task.stop()
    thread.join()
    return RECORDS / (end_s - start_s)


def _insert_bare(url: str, events: list[Liquidation]) -> float:
    """Rows per second of COPY into a temporary table and INSERT from it, one transaction a batch, into empty tables."""
    lines = [
        TABLE.line(SinkRecord(LIQUIDATIONS, (LIQUIDATIONS.name, 0), 0, event.event_time_ms, None, b"", event))
        for event in events
    ]
    batches = ["".join(lines[first : first + BATCH]).encode() for first in range(0, RECORDS, BATCH)]
    with contextlib.closing(psycopg2.connect(url)) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute("TRUNCATE liquidations")
            cursor.execute(ASYNCHRONOUS)
            cursor.execute(TABLE.create_staging())
        start_s = time.perf_counter()
        for batch in batches:
            with connection, connection.cursor() as cursor:
                cursor.copy_expert(TABLE.copy(), io.BytesIO(batch))
                cursor.execute(TABLE.insert())
        return RECORDS / (time.perf_counter() - start_s)
