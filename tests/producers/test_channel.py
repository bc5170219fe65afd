"""From the frame to the topic: repeated rows, backlog, unknown instruments and refused frames, on the real broker."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from producers import channel as channel_module
from producers.channel import BACKLOG_ARRIVAL_MS, BACKLOG_MS, Channel
from producers.exchanges import ADAPTERS
from producers.publish import TOPICS_OF_STAGE, Publisher
from producers.settings import ProducersSection
from producers.source import Source
from runtime.kafka import create_topics
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.records import Liquidation
from schemas.topics import DEAD_LETTERS, LIQUIDATIONS
from tests.producers.test_catalogue import OKX_PATH, Rest, okx_list, rest_server
from tests.producers.topics import records

NOW_MS = 1_791_400_000_000


@pytest.fixture
def settings(kafka: str, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=1)
    create_topics(settings, TOPICS_OF_STAGE)
    return settings


@asynccontextmanager
async def okx_channel(settings: KafkaSettings, folder: Path, rest: Rest) -> AsyncIterator[Channel]:
    """A channel whose instruments come from `rest`; its websocket finds nobody, frames are handed to `take`."""
    section = ProducersSection(origins={"okx": rest.origin}, cache_folder=folder, backoff_ms_base=60_000)
    publisher = Publisher(settings, queue_messages_max=1_000)
    source = Source(ADAPTERS["okx"], section, publisher)
    async with asyncio.TaskGroup() as tasks:
        await source.catalogue.start()
        await source.channel.run(tasks)
        yield source.channel
        await source.stop()
        await source.close()
    await publisher.close(20.0)


def frame(*rows: tuple[str, int]) -> bytes:
    """Rows of (coin, event time in ms)."""
    data = [
        {
            "instId": f"{coin}-USDT-SWAP",
            "details": [{"bkPx": "2", "posSide": "long", "side": "sell", "sz": "3", "ts": str(time_ms)}],
        }
        for coin, time_ms in rows
    ]
    return json.dumps({"arg": {"channel": "liquidation-orders", "instType": "SWAP"}, "data": data}).encode()


def landed(settings: KafkaSettings) -> list[Liquidation]:
    values = [record.value() for record in records(settings, LIQUIDATIONS)]
    return [Codec().decode(Liquidation, value) for value in values if value is not None]


def refused(settings: KafkaSettings) -> list[tuple[bytes | None, str]]:
    letters = records(settings, DEAD_LETTERS)
    return [(letter.value(), str(dict(letter.headers() or [])["error"], "utf-8")) for letter in letters]  # type: ignore[arg-type]


async def test_row_that_is_sent_again_is_published_once(settings: KafkaSettings, tmp_path: Path) -> None:
    async with rest_server() as rest:
        rest.bodies[OKX_PATH] = [okx_list(BTC="0.01")]
        async with okx_channel(settings, tmp_path, rest) as channel:
            for rows in ([("BTC", 1), ("BTC", 2)], [("BTC", 2)], [("BTC", 2), ("BTC", 3)]):
                await channel.take(frame(*((coin, NOW_MS + ms) for coin, ms in rows)), NOW_MS * 1_000, NOW_MS)
    assert [event.event_time_ms - NOW_MS for event in landed(settings)] == [1, 2, 3]


async def test_history_sent_after_a_subscription_is_backlog(settings: KafkaSettings, tmp_path: Path) -> None:
    # event, ms before the subscription     5,001    5,000    1        0
    # received just after it                backlog  backlog  backlog  live
    # received 10 s after it                backlog  live     live     live
    async with rest_server() as rest:
        rest.bodies[OKX_PATH] = [okx_list(BTC="0.01", ETH="0.1")]
        async with okx_channel(settings, tmp_path, rest) as channel:
            for after_ms, coin in ((0, "BTC"), (BACKLOG_ARRIVAL_MS, "ETH")):
                for before_ms in (BACKLOG_MS + 1, BACKLOG_MS, 1, 0):
                    row = frame((coin, NOW_MS - before_ms))
                    await channel.take(row, (NOW_MS + after_ms) * 1_000, NOW_MS)
    assert [event.backlog for event in landed(settings)] == [True, True, True, False, True, False, False, False]


async def test_unknown_instrument_is_published_once_it_is_listed(
    settings: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.catalogue.UNKNOWN_REFRESH_S", 0.0)
    async with rest_server() as rest:
        rest.bodies[OKX_PATH] = [okx_list(BTC="0.01"), okx_list(BTC="0.01", NEW="7")]
        async with okx_channel(settings, tmp_path, rest) as channel:
            await channel.take(frame(("BTC", NOW_MS), ("NEW", NOW_MS)), NOW_MS * 1_000, NOW_MS)
            while channel.waiting:
                await asyncio.wait(channel.waiting)
            assert channel.dead_letters == 0
    assert sorted((event.asset, event.quantity) for event in landed(settings)) == [("BTC", 0.03), ("NEW", 21.0)]
    assert refused(settings) == []


async def test_instrument_that_stays_unknown_is_a_dead_letter(
    settings: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rest_server() as rest:
        rest.bodies[OKX_PATH] = [okx_list(BTC="0.01")]
        async with okx_channel(settings, tmp_path, rest) as channel:
            first, second = frame(("NEW", NOW_MS), ("BTC", NOW_MS)), frame(("NEW", NOW_MS + 1))
            await channel.take(first, NOW_MS * 1_000, NOW_MS)
            while channel.waiting:
                await asyncio.wait(channel.waiting)
            monkeypatch.setattr(channel_module, "FRAMES_WAITING_MAX", 0)
            await channel.take(second, NOW_MS * 1_000, NOW_MS)
            assert channel.dead_letters == 2
    assert [event.asset for event in landed(settings)] == ["BTC"]
    assert refused(settings) == [(first, "UnknownInstrument"), (second, "UnknownInstrument")]


async def test_frame_that_waits_at_the_stop_is_a_dead_letter(
    settings: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rest_server() as rest:
        rest.bodies[OKX_PATH] = [okx_list(BTC="0.01")]
        async with okx_channel(settings, tmp_path, rest) as channel:
            monkeypatch.setattr(channel.catalogue, "refresh_for_unknown", asyncio.Event().wait)
            await channel.take(frame(("NEW", NOW_MS)), NOW_MS * 1_000, NOW_MS)
    assert refused(settings) == [(frame(("NEW", NOW_MS)), "UnknownInstrument")]


async def test_garbage_and_faults_of_a_decoder_stop_nothing(
    settings: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(frame: bytes, *, received_time_us: int, instruments: object) -> list[Liquidation]:
        raise ZeroDivisionError("a fault of ours")

    async with rest_server() as rest:
        rest.bodies[OKX_PATH] = [okx_list(BTC="0.01")]
        async with okx_channel(settings, tmp_path, rest) as channel:
            await channel.take(b"\xff", NOW_MS * 1_000, NOW_MS)
            with monkeypatch.context() as patched:
                patched.setattr(channel, "_decode", broken)
                await channel.take(b"{}", NOW_MS * 1_000, NOW_MS)
            await channel.take(frame(("BTC", NOW_MS)), NOW_MS * 1_000, NOW_MS)
    assert refused(settings) == [(b"\xff", "FrameRefused"), (b"{}", "FrameRefused")]
    assert len(landed(settings)) == 1
