"""Events/s from records to acknowledged ones, beside a bare loop that sends the same bytes to the same broker.

Frames of ten events each, as a cascade brings them; both send to an embedded broker with the same settings, in turn."""

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

import uvloop
from confluent_kafka import Producer

from producers.publish import LINGER_MS, QUEUE_KIBIBYTES_MAX, Publisher
from runtime.kafka import create_topics, producer_config
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import BrokerUnavailable
from schemas.records import Liquidation
from schemas.topics import LIQUIDATIONS
from schemas.words import Completeness, Exchange, Market, PriceKind, Side
from stack.embedded import EmbeddedStack

EVENTS: Final = 200_000
FRAME_EVENTS: Final = 10
ROUNDS: Final = 3
QUEUE_MESSAGES_MAX: Final = 100_000
FLUSH_S: Final = 60.0
WAIT_S: Final = 0.005
ASSETS: Final = ("BTC", "ETH", "SOL", "XRP", "DOGE", "PEPE", "BNB", "HYPE")


def run() -> dict[str, object]:
    """{"events_per_s", "bare_events_per_s", "ratio", "events"}: medians of three rounds after one to warm up."""
    events = [_event(number) for number in range(EVENTS)]
    codec = Codec()
    messages = [(event.asset.encode(), codec.encode(LIQUIDATIONS, event)) for event in events]
    with tempfile.TemporaryDirectory(prefix="liqcascade-bench-") as folder:
        data = Path(folder)
        data.chmod(0o755)
        stack = EmbeddedStack(data)
        try:
            kafka = KafkaSettings(bootstrap_servers=stack.kafka.start())
            create_topics(kafka, (LIQUIDATIONS,))
            rates = [(publish(kafka, events), publish_bare(kafka, messages)) for _ in range(ROUNDS + 1)][1:]
        finally:
            stack.stop()
    ours, bare = median(rate for rate, _ in rates), median(rate for _, rate in rates)
    return {
        "events_per_s": round(ours),
        "bare_events_per_s": round(bare),
        "ratio": round(median(rate / beside for rate, beside in rates), 2),
        "events": EVENTS,
    }


def publish(kafka: KafkaSettings, events: list[Liquidation]) -> float:
    """Events/s through the producers' publisher, until all are acknowledged."""

    async def main() -> float:
        publisher = Publisher(kafka, queue_messages_max=QUEUE_MESSAGES_MAX)
        serving = asyncio.create_task(publisher.serve())
        start_s = time.perf_counter()
        for first in range(0, EVENTS, FRAME_EVENTS):
            await publisher.liquidations(events[first : first + FRAME_EVENTS])
        await publisher.close(FLUSH_S)
        took_s = time.perf_counter() - start_s
        serving.cancel()
        assert publisher.published.total() == EVENTS, publisher.published
        return EVENTS / took_s

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def publish_bare(kafka: KafkaSettings, messages: list[tuple[bytes, bytes]]) -> float:
    """Events/s of a loop that does nothing but hand finished bytes to the same client, until all are acknowledged."""
    producer = Producer(
        producer_config(
            kafka,
            linger_ms=LINGER_MS,
            queue_buffering_max_messages=QUEUE_MESSAGES_MAX,
            queue_buffering_max_kbytes=QUEUE_KIBIBYTES_MAX,
        )
    )
    start_s = time.perf_counter()
    for key, value in messages:
        while True:
            try:
                producer.produce(LIQUIDATIONS.name, value, key)
                break
            except BufferError:
                producer.poll(WAIT_S)
    if left := producer.flush(FLUSH_S):
        raise BrokerUnavailable(f"publishing to {kafka.bootstrap_servers}: {left} records not acknowledged")
    return EVENTS / (time.perf_counter() - start_s)


def _event(number: int) -> Liquidation:
    asset, time_ms, price = ASSETS[number % len(ASSETS)], 1_791_400_000_000 + number // 20, 65_000.0 + number % 997 / 10
    return Liquidation(
        event_id=f"bybit:{asset}USDT:{time_ms}:Buy:{number}:{price}:0",
        exchange=Exchange.BYBIT,
        asset=asset,
        instrument=f"{asset}USDT",
        market=Market.USDT,
        side=Side.LONG if number % 3 else Side.SHORT,
        price=price,
        quantity=0.5,
        notional_usd=price / 2,
        price_kind=PriceKind.BANKRUPTCY,
        completeness=Completeness.ALL,
        event_time_ms=time_ms,
        received_time_us=time_ms * 1_000 + 137_000,
    )
