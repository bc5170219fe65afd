"""Open interest, funding, raw frames and large dead letters on the real broker."""

import pytest

from producers.publish import DEAD_LETTER_BYTES_MAX, TOPICS_OF_STAGE
from runtime.kafka import create_topics
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import FrameRefused
from schemas.records import Funding, OpenInterest
from schemas.topics import DEAD_LETTERS, FUNDING, OPEN_INTEREST, RAW_FRAMES
from schemas.words import Exchange, Market
from tests.producers.test_publish import publisher
from tests.producers.topics import records

NOW_MS = 1_791_400_000_000


@pytest.fixture
def settings(kafka: str, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=4)
    create_topics(settings, (*TOPICS_OF_STAGE, RAW_FRAMES))
    return settings


async def test_open_interest_and_funding_land_by_asset(settings: KafkaSettings) -> None:
    interest = OpenInterest(
        event_id=f"okx:BTC-USDT-SWAP:{NOW_MS}", exchange=Exchange.OKX, asset="BTC", instrument="BTC-USDT-SWAP",
        market=Market.USDT, open_interest=2.0, open_interest_usd=None, event_time_ms=NOW_MS,
        received_time_us=NOW_MS * 1_000,
    )  # fmt: skip
    funding = Funding(
        event_id=f"okx:BTC-USDT-SWAP:{NOW_MS}:predicted", exchange=Exchange.OKX, asset="BTC",
        instrument="BTC-USDT-SWAP", market=Market.USDT, rate=0.0001, interval_hours=4.0, rate_8h=0.0002, settled=False,
        event_time_ms=NOW_MS, received_time_us=NOW_MS * 1_000,
    )  # fmt: skip
    async with publisher(settings) as out:
        await out.market([interest, funding])
    assert out.published == {("market.open-interest", "okx"): 1, ("market.funding", "okx"): 1}
    (first,), (second,) = records(settings, OPEN_INTEREST), records(settings, FUNDING)
    assert (first.key(), second.key()) == (b"BTC", b"BTC")
    assert first.partition() == second.partition()
    assert Codec().decode(OpenInterest, first.value() or b"") == interest
    assert Codec().decode(Funding, second.value() or b"") == funding


async def test_raw_frames_land_as_received(settings: KafkaSettings) -> None:
    async with publisher(settings) as out:
        await out.raw_frame(b"\xff{}", exchange="okx", channel="liquidation", received_time_us=NOW_MS * 1_000)
    (record,) = records(settings, RAW_FRAMES)
    assert (record.key(), record.value()) == (b"okx", b"\xff{}")
    assert dict(record.headers() or []) == {
        "exchange": b"okx",
        "channel": b"liquidation",
        "received_time_us": str(NOW_MS * 1_000).encode(),
    }


async def test_dead_letter_that_no_message_can_hold_is_cut(settings: KafkaSettings) -> None:
    body = bytes(range(256)) * 8_000
    async with publisher(settings) as out:
        await out.dead_letter(
            body, FrameRefused("decoding okx: no list"), exchange="okx", channel="funding", received_time_us=1
        )
    (record,) = records(settings, DEAD_LETTERS)
    assert (record.key(), record.value()) == (b"market.funding", body[:DEAD_LETTER_BYTES_MAX])
    assert dict(record.headers() or [])["cut_from_bytes"] == b"2048000"
