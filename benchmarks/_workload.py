"""The workload of the comparisons: one topic of liquidations on an embedded broker, 1,000 a second of log time.

Six exchanges, assets in equal parts, every third event a second late, as Binance's are by construction."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from runtime.kafka import confluent_config, create_topics, producer_config
from runtime.receipts import Receipts
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import BrokerUnavailable
from schemas.records import Liquidation
from schemas.topics import LIQUIDATIONS
from schemas.words import Completeness, Exchange, Market, PriceKind, Side
from stack.embedded import EmbeddedStack

SEED: Final = 20_251_010
RATE_PER_S: Final = 1_000
EXCHANGES: Final = tuple(Exchange)[1:7]
LATE_MS: Final = 1_000
QUEUE_MAX: Final = 200_000  # 30 MB in the client
FLUSH_S: Final = 120.0
WAIT_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Broker:
    """An embedded broker and the environment that sends a stage to it."""

    kafka: KafkaSettings
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Settings of the project's stages."""
        return {"LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers}


@contextlib.contextmanager
def broker() -> Iterator[Broker]:
    """A broker with the project's topics; that of liquidations keeps the times of its records, so that a second of the
    log is a second of the workload however quickly it is written. Raises StackError, BrokerUnavailable."""
    with tempfile.TemporaryDirectory(prefix="liqcascade-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        stack = EmbeddedStack(folder)
        try:
            stack.kafka.start()
            kafka = KafkaSettings(bootstrap_servers=stack.kafka.url)
            own_times = LIQUIDATIONS.config() | {"message.timestamp.type": "CreateTime"}
            topic = NewTopic(LIQUIDATIONS.name, kafka.partitions, 1, config=own_times)
            admin = AdminClient(confluent_config(kafka))
            admin.create_topics([topic])[LIQUIDATIONS.name].result()
            create_topics(kafka)
            yield Broker(kafka, folder)
        finally:
            stack.kafka.stop()


def assets(count: int) -> list[str]:
    """Names of `count` assets."""
    return [f"A{number:03d}" for number in range(count)]


def liquidations(
    events: int, names: list[str], *, end_ms: int, rate_per_s: int = RATE_PER_S, seed: int = SEED
) -> Iterator[tuple[int, Liquidation]]:
    """Append time and event, the last one at `end_ms`; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    which_asset = rng.integers(0, len(names), events).tolist()
    which_exchange = rng.integers(0, len(EXCHANGES), events).tolist()
    lags_ms = np.where(rng.random(events) < 1 / 3, LATE_MS, rng.integers(50, 150, events)).tolist()
    sides = rng.integers(0, 2, events).tolist()
    quantities = np.round(rng.lognormal(3, 1.5, events), 3).tolist()
    for number in range(events):
        append_time_ms = end_ms - (events - 1 - number) * 1_000 // rate_per_s
        event_time_ms, asset = append_time_ms - lags_ms[number], names[which_asset[number]]
        exchange, quantity = EXCHANGES[which_exchange[number]], quantities[number]
        yield (
            append_time_ms,
            Liquidation(
                event_id=f"{exchange.value}:{asset}USDT:{event_time_ms}:Buy:{quantity}:{number}",
                exchange=exchange,
                asset=asset,
                instrument=f"{asset}USDT",
                market=Market.USDT,
                side=Side.LONG if sides[number] else Side.SHORT,
                price=100.0,
                quantity=quantity,
                notional_usd=round(100.0 * quantity, 6),
                price_kind=PriceKind.BANKRUPTCY,
                completeness=Completeness.ALL,
                event_time_ms=event_time_ms,
                received_time_us=(append_time_ms - 5) * 1_000,
            ),
        )


def preload(kafka: KafkaSettings, events: int, names: list[str], *, end_ms: int) -> None:
    """Write the workload into the topic of liquidations. Raises BrokerUnavailable."""
    producer = Producer(producer_config(kafka, linger_ms=50, queue_buffering_max_messages=QUEUE_MAX))
    codec, receipts = Codec(), Receipts()
    for append_time_ms, event in liquidations(events, names, end_ms=end_ms):
        value = codec.encode(LIQUIDATIONS, event)
        while True:
            try:
                producer.produce(
                    LIQUIDATIONS.name,
                    value,
                    event.asset.encode(),
                    on_delivery=receipts.answer,
                    timestamp=append_time_ms,
                )
                receipts.sent()
                break
            except BufferError:
                producer.poll(WAIT_S)
            except KafkaException as exc:
                raise BrokerUnavailable(f"writing to {kafka.bootstrap_servers}: {exc.args[0].str()}") from exc
    receipts.wait(producer, FLUSH_S, doing=f"writing to {kafka.bootstrap_servers}")
