"""Publishing to the real broker: nothing dropped, nothing doubled, one partition an asset for every client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import KafkaError, Message, Producer

from producers.publish import Publisher
from runtime.kafka import aiokafka_config, create_topics, producer_config
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import BrokerUnavailable, FrameRefused
from schemas.records import FeedHealth, Liquidation
from schemas.topics import DEAD_LETTERS, FEED_HEALTH, LIQUIDATIONS
from schemas.words import Completeness, Exchange, FeedState, Market, PriceKind, Side
from tests.producers.topics import records

ASSETS = ("BTC", "ETH", "SOL", "牛来", "龙虾", "1INCH", "4", "PEPE", "BABYDOGE", "é")


@pytest.fixture
def settings(kafka: str, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=4)
    create_topics(settings, (LIQUIDATIONS, FEED_HEALTH, DEAD_LETTERS))
    return settings


@asynccontextmanager
async def publisher(settings: KafkaSettings, queue_messages_max: int = 10_000) -> AsyncIterator[Publisher]:
    publisher = Publisher(settings, queue_messages_max=queue_messages_max)
    serving = asyncio.create_task(publisher.serve())
    try:
        yield publisher
    finally:
        serving.cancel()
        await publisher.close(20.0)


def event(number: int, asset: str = "BTC") -> Liquidation:
    return Liquidation(
        event_id=f"bybit:{asset}USDT:{number}",
        exchange=Exchange.BYBIT,
        asset=asset,
        instrument=f"{asset}USDT",
        market=Market.USDT,
        side=Side.LONG,
        price=2.0,
        quantity=1.5,
        notional_usd=3.0,
        price_kind=PriceKind.BANKRUPTCY,
        completeness=Completeness.ALL,
        event_time_ms=1_791_400_000_000 + number,
        received_time_us=1_791_400_000_000_000,
    )


async def test_events_land_once_in_order_by_asset(settings: KafkaSettings) -> None:
    events = [event(number, ASSETS[number % len(ASSETS)]) for number in range(500)]
    async with publisher(settings) as out:
        await out.liquidations(events)
    assert out.published == {("market.liquidations", "bybit"): 500}
    assert len(out) == 0
    landed: dict[str, list[Liquidation]] = {}
    for record in records(settings, LIQUIDATIONS):
        value, key = record.value(), record.key()
        assert value is not None
        decoded = Codec().decode(Liquidation, value)
        assert str(key, "utf-8") == decoded.asset  # type: ignore[arg-type]
        landed.setdefault(decoded.asset, []).append(decoded)
    assert landed == {asset: [each for each in events if each.asset == asset] for asset in ASSETS}


async def test_full_queue_makes_the_feed_wait_and_drops_nothing(settings: KafkaSettings) -> None:
    events = [event(number) for number in range(5_000)]
    async with publisher(settings, queue_messages_max=100) as out:
        await out.liquidations(events)
        assert len(out) <= 100
    assert out.published == {("market.liquidations", "bybit"): 5_000}
    assert len(records(settings, LIQUIDATIONS)) == 5_000


async def test_dead_letter_keeps_the_frame_and_says_why(settings: KafkaSettings) -> None:
    frame, error = b'{"half": \xff', FrameRefused("decoding bybit: 牛 is no side")
    async with publisher(settings) as out:
        await out.dead_letter(frame, error, exchange="bybit", channel="liquidation", received_time_us=17)
    (record,) = records(settings, DEAD_LETTERS)
    assert record.value() == frame
    assert record.key() == b"market.liquidations"
    assert dict(record.headers() or []) == {
        "reason": "decoding bybit: 牛 is no side".encode(),
        "error": b"FrameRefused",
        "exchange": b"bybit",
        "channel": b"liquidation",
        "received_time_us": b"17",
    }


async def test_health_is_keyed_by_exchange_and_channel(settings: KafkaSettings) -> None:
    health = FeedHealth(exchange=Exchange.OKX, channel="liquidation", state=FeedState.LIVE, since_ms=1, event_time_ms=2)
    async with publisher(settings) as out:
        await out.health(health)
    (record,) = records(settings, FEED_HEALTH)
    value = record.value()
    assert value is not None
    assert (record.key(), Codec().decode(FeedHealth, value)) == (b"okx/liquidation", health)


async def test_record_that_is_refused_ends_the_publisher(settings: KafkaSettings) -> None:
    out = Publisher(settings, queue_messages_max=100)
    with pytest.raises(BrokerUnavailable, match="publishing to"):
        await out.raw_frame(b"x" * 2_000_000, exchange="okx", channel="liquidation", received_time_us=1)
    await out.close(5.0)


async def test_broker_that_is_away_is_a_sentence_with_what_was_lost(unused_tcp_port: int) -> None:
    out = Publisher(KafkaSettings(bootstrap_servers=f"127.0.0.1:{unused_tcp_port}"), queue_messages_max=100)
    await out.liquidations([event(1), event(2)])
    with pytest.raises(BrokerUnavailable, match="2 records are lost"):
        await out.close(0.1)


async def test_both_clients_put_a_key_into_the_same_partition(settings: KafkaSettings) -> None:
    topic = settings.topic_prefix + LIQUIDATIONS.name
    by_confluent: dict[str, int | None] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        by_confluent[str(message.key(), "utf-8")] = message.partition()  # type: ignore[arg-type]

    producer = Producer(producer_config(settings))
    for asset in ASSETS:
        producer.produce(topic, b"x", asset.encode(), on_delivery=delivered)
    assert producer.flush(20.0) == 0
    async with AIOKafkaProducer(**aiokafka_config(settings)) as other:
        by_aiokafka = {
            asset: (await other.send_and_wait(topic, b"x", key=asset.encode())).partition for asset in ASSETS
        }
    assert by_confluent == by_aiokafka
    assert len(set(by_aiokafka.values())) > 1
