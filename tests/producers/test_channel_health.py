"""What a channel says of itself while frames come over real connections: lags, renewals, silence."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from producers import channel as channel_module
from producers import feed as feed_module
from producers import metrics
from producers.exchange import LIQUIDATION
from producers.exchanges import ADAPTERS
from producers.settings import ProducersSection
from producers.source import Source
from schemas.records import Liquidation
from schemas.words import FeedState
from stack.simulator.bybit import Bybit
from stack.simulator.server import Simulator, SimulatorOptions
from tests.producers.test_start import Health, running
from tests.producers.toy import DEADLINE_S


class Outlet(Health):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[Liquidation] = []

    async def liquidations(self, events: Sequence[Liquidation]) -> None:
        self.events += events

    def states(self) -> list[FeedState]:
        return [record.state for record in self.records if record.channel == LIQUIDATION]


@pytest.fixture(autouse=True)
def short_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "OVERLAP_S", 0.3)


async def test_renewals_in_a_burst_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    simulator = Simulator(SimulatorOptions(scenario="flash", speed=5), [Bybit()])
    origins = await simulator.start()
    outlet, renewals = Outlet(), metrics.RENEWALS.labels("bybit")
    before = renewals._value.get()
    adapter = replace(ADAPTERS["bybit"], polls=(), roll_ms=500)
    try:
        source = Source(adapter, ProducersSection(origins=origins, cache_folder=tmp_path), outlet)
        async with running(source):
            async with asyncio.timeout(DEADLINE_S):
                await simulator.played()
            await simulator.pause()
        sent = simulator.status()["sent"]["bybit"]
    finally:
        await simulator.stop()
    assert len({event.event_id for event in outlet.events}) == len(outlet.events) == sent > 100
    told = outlet.states()
    assert FeedState.GAP not in told
    assert FeedState.RECONNECTING not in told
    assert renewals._value.get() > before


async def test_silent_connection_is_renewed_without_a_gap_and_not_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = Simulator(SimulatorOptions(scenario="calm", wait_for_subscribers=False), [Bybit()])
    origins = await simulator.start()
    outlet = Outlet()
    renewed: list[int] = []

    def renew(self: feed_module.Feed) -> None:
        renewed.append(id(self))

    monkeypatch.setattr(feed_module.Feed, "renew", renew)
    section = ProducersSection(origins=origins, cache_folder=tmp_path, silent_ms_unlearned=300, silent_ms_min=100)
    source = Source(replace(ADAPTERS["bybit"], polls=()), section, outlet)
    try:
        async with running(source):
            await outlet.until(lambda: FeedState.SILENT in outlet.states())
            await source.channel.review()
            await source.channel.review()
            assert sorted(renewed) == sorted(set(renewed)), "each once in ten minutes"
            assert renewed
            monkeypatch.setattr(channel_module, "RENEWAL_MS_MIN", 0)
            await source.channel.review()
            assert len(renewed) > len(set(renewed))
    finally:
        await simulator.stop()
    silent = next(record for record in outlet.records if record.state is FeedState.SILENT)
    assert "nothing ever came" in silent.detail


async def test_lags_are_those_of_live_rows(tmp_path: Path) -> None:
    # lag, ms      100 x 98     900   1,500     of history: 60,000
    section = ProducersSection(origins={"bybit": "http://127.0.0.1:9"}, cache_folder=tmp_path)
    outlet = Outlet()
    source = Source(replace(ADAPTERS["bybit"], polls=(), connections=(), instrument_sources=()), section, outlet)
    await source.catalogue.start()
    now_ms = time.time_ns() // 1_000_000
    health = source.channel._health
    health.open(0, "/v5/public/linear", None, now_ms=now_ms)
    for number, lag_ms in enumerate([100] * 98 + [900, 1_500, 60_000]):
        row = f'{{"T":{now_ms - lag_ms},"s":"BTCUSDT","S":"Buy","v":"0.{number + 1:03}","p":"60000"}}'
        frame = f'{{"topic":"allLiquidation.BTCUSDT","type":"snapshot","ts":{now_ms},"data":[{row}]}}'.encode()
        for _ in range(2):  # what comes again has no lag either
            await source.channel.take(frame, now_ms * 1_000, now_ms)
    await source.channel.state_again()
    await source.close()
    assert [event.backlog for event in outlet.events] == [False] * 100 + [True]
    told = outlet.records[-1]
    assert (told.lag_p50_ms, told.lag_p99_ms) == (100, 900)
