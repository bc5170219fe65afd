"""Each fault on a real socket: what a client gets, and what the account says of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from schemas.errors import SettingsError
from schemas.words import Side
from stack.simulator.bybit import Bybit
from stack.simulator.scenarios import SimulatedLiquidation
from stack.simulator.server import Simulator, SimulatorOptions

DEADLINE_S: Final = 15.0
TOPICS: Final = ["allLiquidation.BTCUSDT", "tickers.BTCUSDT"]


class Bench:
    """A simulator of one exchange whose liquidations the test makes."""

    def __init__(self, simulator: Simulator, origin: str) -> None:
        self.simulator, self.origin = simulator, origin
        self.exchange = simulator.exchanges["bybit"]

    @asynccontextmanager
    async def client(self, topics: list[str] = TOPICS) -> AsyncIterator[ClientConnection]:
        address = self.origin.replace("http://", "ws://") + "/v5/public/linear"
        async with connect(address) as socket:
            await socket.send(json.dumps({"op": "subscribe", "args": topics}))
            await next_of(socket, "op")
            yield socket

    def liquidate(self, coins: float = 0.5) -> None:
        happened = SimulatedLiquidation(0, "bybit", "BTC", Side.LONG, coins, 80_000.0, False)
        self.exchange.take_in(happened, self.simulator.now_ms)

    async def until(self, figure: str, rows: int) -> None:
        await self.until_that(lambda: self.simulator.status()[figure]["bybit"] == rows)

    async def until_that(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                if holds():
                    return
                await asyncio.sleep(0.01)


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    simulator = Simulator(SimulatorOptions(scenario="calm", wait_for_subscribers=False, speed=0.001), [Bybit()])
    origins = await simulator.start()
    simulator.play()  # so slowly that nothing happens by itself
    try:
        yield Bench(simulator, origins["bybit"])
    finally:
        await simulator.stop()


async def next_text(socket: ClientConnection, start: str) -> str:
    """The next text that begins so; market data are passed over."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            text = await socket.recv()
            assert isinstance(text, str)
            if text.startswith(start):
                return text


async def next_of(socket: ClientConnection, key: str) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            message = json.loads(await socket.recv())
            if key in message:
                return dict(message)


async def next_row(socket: ClientConnection) -> dict[str, Any]:
    rows = json.loads(await next_text(socket, '{"topic":"allLiquidation'))["data"]
    return dict(rows[0])


@pytest.mark.parametrize(("kind", "code"), [("close", 1001), ("cut-24h", 1001), ("drop", 1006)])
async def test_connections_end_and_what_was_sent_before_is_read(kind: str, code: int) -> None:
    async with bench() as here, here.client() as socket:
        here.liquidate()
        await here.until("sent", 1)
        await here.simulator.inflict("bybit", kind, seconds=1)
        row = await next_row(socket)
        assert row["S"] == "Buy"
        with pytest.raises(ConnectionClosed):
            await next_text(socket, "nothing begins so")
        assert socket.close_code == code
        here.liquidate()
        await here.until("withheld", 1)


async def test_a_stalled_connection_answers_pings_and_nothing_else() -> None:
    async with bench() as here, here.client() as socket:
        await next_text(socket, '{"topic":"tickers')
        await here.simulator.inflict("bybit", "stall", seconds=60)
        here.liquidate()
        await here.until("withheld", 1)
        await socket.send('{"op":"ping"}')
        await next_of(socket, "op")
        await asyncio.wait_for(await socket.ping(), DEADLINE_S)
        assert here.simulator.status()["sent"]["bybit"] == 0


async def test_a_ban_closes_and_refuses() -> None:
    async with bench() as here, here.client() as socket, aiohttp.ClientSession() as http:
        await here.simulator.inflict("bybit", "ban", seconds=60)
        with pytest.raises(ConnectionClosed):
            await next_text(socket, "nothing begins so")
        with pytest.raises(InvalidStatus, match="429"):
            async with here.client():
                pass
        async with http.get(here.origin + "/v5/market/tickers?category=linear") as answer:
            assert answer.status == 403
            assert "Retry-After" not in answer.headers


async def test_a_duplicate_counts_once() -> None:
    async with bench() as here, here.client() as socket:
        await here.simulator.inflict("bybit", "duplicate", seconds=60)
        here.liquidate()
        assert await next_row(socket) == await next_row(socket)
        await here.until("sent", 1)


async def test_reordered_frames_come_newest_first() -> None:
    async with bench() as here, here.client() as socket:
        await here.simulator.inflict("bybit", "reorder", seconds=60)
        for coins in (0.1, 0.2):
            here.liquidate(coins)
            await here.until_that(lambda: here.exchange.pending == 0)
        assert [(await next_row(socket))["v"] for _ in range(2)] == ["0.200", "0.100"]


async def test_half_a_frame_and_new_words_are_damaged_rows() -> None:
    async with bench() as here, here.client() as socket:
        await here.simulator.inflict("bybit", "half-frame", seconds=0.7)
        here.liquidate()
        with pytest.raises(json.JSONDecodeError):
            json.loads(await next_text(socket, '{"topic":"allLiquidation'))
        await here.until("damaged", 1)
        await here.simulator.inflict("bybit", "changed-side", seconds=60)
        here.liquidate()
        async with asyncio.timeout(DEADLINE_S):
            while '"S":"LongPosition"' not in await next_text(socket, '{"topic":"allLiquidation'):
                pass
        await here.until("damaged", 2)
        assert here.simulator.status()["sent"]["bybit"] == 0


async def test_swapped_words_are_rows_of_the_other_side_and_do_not_come_again_as_they_were() -> None:
    async with bench() as here:
        async with here.client() as socket:
            await here.simulator.inflict("bybit", "swapped-sides", seconds=1)
            here.liquidate()
            assert (await next_row(socket))["S"] == "Sell"
            await here.until("sent", 1)
            assert [row.side for row in here.simulator.account.rows] == [Side.SHORT]
            await here.until_that(lambda: not here.simulator.faults.active("bybit", here.simulator.now_ms))
            await here.simulator.inflict("bybit", "backlog", seconds=1)
        here.liquidate(0.7)
        await here.until("withheld", 1)
        async with here.client() as socket:
            row = await next_row(socket)
            assert (row["S"], row["v"]) == ("Buy", "0.700")


async def test_fragments_and_new_fields_are_rows_as_any() -> None:
    async with bench() as here, here.client() as socket:
        await here.simulator.inflict("bybit", "fragment", seconds=60)
        await here.simulator.inflict("bybit", "unknown-field", seconds=60)
        here.liquidate()
        text = await next_text(socket, '{"novelty":1,"topic":"allLiquidation')
        assert json.loads(text)["data"][0]["novelty"] == 1
        await here.until("sent", 1)


async def test_a_wrong_clock_stamps_frames_and_rest() -> None:
    async with bench() as here, here.client() as socket, aiohttp.ClientSession() as http:
        await here.simulator.inflict("bybit", "clock-skew", seconds=60, offset_s=-30)
        await next_text(socket, '{"topic":"tickers')
        here.liquidate()
        assert -31_000 < (await next_row(socket))["T"] - here.simulator.now_ms < -28_000
        async with http.get(here.origin + "/v5/market/tickers?category=linear") as answer:
            assert -31_000 < (await answer.json())["time"] - here.simulator.now_ms < -28_000


async def test_a_backlog_brings_what_was_missed_and_rows_minutes_old() -> None:
    async with bench() as here:
        async with here.client() as socket:
            here.liquidate()
            seen = await next_row(socket)
            await here.simulator.inflict("bybit", "backlog", seconds=1)
        here.liquidate(0.7)
        await here.until("withheld", 1)
        topics = [f"allLiquidation.{name}" for name, each in here.exchange.instruments.items() if not each.inverse]
        async with here.client(topics) as socket:
            assert await next_row(socket) == seen
            assert (await next_row(socket))["v"] == "0.700"
            old = await next_row(socket)
            assert here.simulator.now_ms - old["T"] > 100_000
        status = here.simulator.status()
        assert status["withheld"]["bybit"] == 0
        assert status["sent"]["bybit"] > 2


async def test_faults_on_command_are_logged_and_nonsense_is_refused() -> None:
    async with bench() as here, aiohttp.ClientSession() as http:
        control = here.simulator.control
        async with http.post(f"{control}/fault?exchange=*&kind=stall&seconds=2") as answer:
            (begun,) = await answer.json()
        assert (begun["exchange"], begun["kind"], begun["to_ms"] - begun["from_ms"]) == ("bybit", "stall", 2_000)
        assert here.simulator.status()["faults"] == [begun]
        for query in ("exchange=moon&kind=stall", "exchange=bybit&kind=tantrum", "exchange=*&kind=stall&seconds=x"):
            async with http.post(f"{control}/fault?{query}") as answer:
                assert answer.status == 404
        with pytest.raises(SettingsError, match="choose one of bybit"):
            await here.simulator.inflict("moon", "stall")


async def test_a_client_that_asks_too_much_is_refused() -> None:
    async with bench() as here, aiohttp.ClientSession() as http:
        url = here.origin + "/v5/market/instruments-info?category=linear&limit=1"

        async def status() -> int:
            async with http.get(url) as answer:
                return answer.status

        statuses = await asyncio.gather(*(status() for _ in range(640)))
        assert statuses.count(200) == 600
        assert set(statuses) == {200, 403}
        assert here.simulator.status()["limits_exceeded"]["bybit"] == 40
