"""The simulator on its real sockets: what is sent, to whom, and what the account says about it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from schemas.errors import SettingsError, StackError
from stack.simulator.binance import Binance
from stack.simulator.bybit import Bybit
from stack.simulator.exchange import Push, SimulatedExchange
from stack.simulator.okx import Okx
from stack.simulator.server import Simulator, SimulatorOptions

REAL_FRAMES: Final = Path(os.environ.get("LIQCASCADE_REAL_DATA", "../shared/data")) / "frames"
DEADLINE_S: Final = 20.0
Subscription = tuple[str, dict[str, Any]]
BINANCE: Final[Subscription] = ("/market/stream", {"method": "SUBSCRIBE", "params": ["!forceOrder@arr"], "id": 1})
OKX: Final[Subscription] = (
    "/ws/v5/public",
    {"op": "subscribe", "args": [{"channel": "liquidation-orders", "instType": "SWAP"}]},
)
GATE: Final[Subscription] = (
    "/v4/ws/usdt",
    {"time": 1, "channel": "futures.public_liquidates", "event": "subscribe", "payload": ["!all"]},
)
BITGET: Final[Subscription] = (
    "/v3/ws/public", {"op": "subscribe", "args": [{"instType": "usdt-futures", "topic": "liquidation"}]}
)  # fmt: skip
HYPERLIQUID: Final[Subscription] = (
    "/ws", {"method": "subscribe", "subscription": {"type": "trades", "coin": "BTC"}}
)  # fmt: skip
NAMES: Final = ("binance", "bybit", "okx", "gate", "bitget", "hyperliquid")


class Running:
    """A started simulator with its origins."""

    def __init__(self, simulator: Simulator, origins: dict[str, str]) -> None:
        self.simulator, self.origins = simulator, origins

    def address(self, exchange: str, path: str) -> str:
        return self.origins[exchange].replace("http://", "ws://") + path

    @asynccontextmanager
    async def subscribed(self, exchange: str) -> AsyncIterator[ClientConnection]:
        path, request = self.subscription(exchange)
        async with connect(self.address(exchange, path), max_queue=None) as socket:  # some tests read nothing
            await socket.send(json.dumps(request))
            await socket.recv()
            yield socket

    def subscription(self, exchange: str) -> Subscription:
        listed = self.simulator.exchanges["bybit"].instruments.values() if exchange == "bybit" else ()
        topics = [f"allLiquidation.{each.symbol}" for each in listed if not each.inverse]
        bybit: Subscription = ("/v5/public/linear", {"op": "subscribe", "args": topics})
        return {
            "binance": BINANCE, "bybit": bybit, "okx": OKX, "gate": GATE, "bitget": BITGET, "hyperliquid": HYPERLIQUID,
        }[exchange]  # fmt: skip

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                status = self.simulator.status()
                if holds(status):
                    return status
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(*exchanges: SimulatedExchange, **options: Any) -> AsyncIterator[Running]:
    simulator = Simulator(SimulatorOptions(**options), exchanges)
    origins = await simulator.start()
    try:
        yield Running(simulator, origins)
    finally:
        await simulator.stop()


def rows_of(exchange: SimulatedExchange, text: str) -> list[Any]:
    push = exchange.captured(json.loads(text))
    return list(push.rows) if push else []


def three() -> tuple[SimulatedExchange, ...]:
    return Binance(), Bybit(), Okx()


def hand_written(folder: Path) -> Path:
    """Frames after the documents: 1 row at Binance, 2 at Bybit in one frame, 1 at OKX and one fragment."""
    frames: dict[str, list[Any]] = {
        "binance": [{"e": "forceOrder", "E": 1791435151350, "o": {
            "s": "牛来USDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "1861", "p": "0.0348", "ap": "0.0387",
            "X": "FILLED", "l": "38", "z": "1861", "T": 1791435150342, "ps": "牛来USDT", "st": 1}}],
        "bybit": [{"topic": "allLiquidation.NEWUSDT", "type": "snapshot", "ts": 1791565601482, "data": [
            {"T": 1791565600992, "s": "NEWUSDT", "S": "Sell", "v": "6", "p": "82.5"},
            {"T": 1791565601058, "s": "NEWUSDT", "S": "Buy", "v": "38", "p": "82.4"}]}],
        "okx": [{"arg": {"channel": "liquidation-orders", "instType": "SWAP"}, "data": [{"details": [
            {"bkLoss": "0", "bkPx": "82655.7", "ccy": "", "posSide": "net", "side": "sell", "sz": "8.55",
             "ts": "1791565600771"}], "instFamily": "BTC-USDT", "instId": "BTC-USDT-SWAP", "instType": "SWAP",
            "uly": "BTC-USDT"}]},
            {"details": [], "instId": "APT-USDT-SWAP"}],
    }  # fmt: skip
    for exchange, payloads in frames.items():
        lines = "".join(json.dumps({"payload": payload}) + "\n" for payload in payloads)
        (folder / f"{exchange}_liquidation.jsonl").write_text(lines)
    return folder


async def drain(socket: ClientConnection, texts: list[str]) -> None:
    """Read until the socket ends."""
    try:
        while True:
            text = await socket.recv()
            assert isinstance(text, str)
            texts.append(text)
    except ConnectionClosed:
        pass


async def test_what_clients_get_is_what_the_account_says() -> None:
    texts: dict[str, list[str]] = {name: [] for name in NAMES}
    async with running(scenario="flash") as run, AsyncExitStack() as sockets, asyncio.TaskGroup() as readers:
        for name, read in texts.items():
            readers.create_task(drain(await sockets.enter_async_context(run.subscribed(name)), read))
        await run.until(lambda status: status["rows"] > 400)
        await run.simulator.stop()
        simulator = run.simulator
    received = {name: [row for text in read for row in rows_of(simulator.exchanges[name], text)]
                for name, read in texts.items()}  # fmt: skip
    status = simulator.status()
    assert status["sent"] == {name: len(rows) for name, rows in received.items()}
    assert status["frames"] + status["market_frames"] == sum(map(len, texts.values()))
    assert sorted(simulator.account.rows) == sorted(row for rows in received.values() for row in rows)
    assert status["notional_micro_usd"] == {
        name: sum(row.notional_micro_usd for row in rows) for name, rows in received.items()
    }


async def test_nothing_begins_before_every_exchange_has_a_subscriber() -> None:
    exchanges = (Binance(), Bybit(), Okx())
    async with running(*exchanges, scenario="flash") as run, run.subscribed("binance"), run.subscribed("bybit"):
        await run.until(lambda status: status["subscribers"] == {"binance": 1, "bybit": 1, "okx": 0})
        assert not run.simulator.status()["playing"]
        async with run.subscribed("okx"):
            await run.until(lambda status: status["playing"])


async def test_play_begins_at_once_and_rows_without_subscribers_are_withheld() -> None:
    async with running(scenario="flash", wait_for_subscribers=False) as run, aiohttp.ClientSession() as http:
        async with http.post(f"{run.simulator.control}/play") as answer:
            assert answer.status == 200
        status = await run.until(lambda status: sum(status["withheld"].values()) > 3)
        assert status["rows"] == 0
        assert status["sent"] == dict.fromkeys(NAMES, 0)


async def test_a_drop_closes_cleanly_and_withholds_until_they_return() -> None:
    async with running(Okx(), scenario="flash") as run, AsyncExitStack() as sockets, aiohttp.ClientSession() as http:
        socket = await sockets.enter_async_context(run.subscribed("okx"))
        await run.until(lambda status: status["playing"])
        async with http.post(f"{run.simulator.control}/drop?exchange=okx") as answer:
            assert await answer.json() == {"exchange": "okx", "dropped": 1}
        await asyncio.wait_for(drain(socket, []), DEADLINE_S)
        assert socket.close_code == 1001
        before = await run.until(lambda status: status["withheld"]["okx"] > 20)
        async with run.subscribed("okx"):
            await run.until(lambda status: status["sent"]["okx"] > before["sent"]["okx"])
        async with http.post(f"{run.simulator.control}/drop?exchange=moon") as answer:
            assert answer.status == 404


async def test_captured_frames_are_played_verbatim_and_once(tmp_path: Path) -> None:
    texts: dict[str, list[str]] = {name: [] for name in ("binance", "bybit", "okx")}
    async with (
        running(*three(), frames=hand_written(tmp_path)) as run,
        asyncio.TaskGroup() as readers,
        AsyncExitStack() as open_,
    ):
        for name, read in texts.items():
            readers.create_task(drain(await open_.enter_async_context(run.subscribed(name)), read))
        await run.until(lambda status: status["done"])
        status, simulator = run.simulator.status(), run.simulator
    assert status["scenario"] == "frames"
    assert status["sent"] == {"binance": 1, "bybit": 2, "okx": 1}
    for name, read in texts.items():
        lines = (tmp_path / f"{name}_liquidation.jsonl").read_text().splitlines()
        frame = json.loads(lines[0])["payload"]
        assert read == [json.dumps(frame, ensure_ascii=False, separators=(",", ":"))]
    rows = sorted((r.exchange, r.instrument, r.side, r.quantity, r.notional_micro_usd) for r in simulator.account.rows)
    assert rows == [
        ("binance", "牛来USDT", "LONG", 1861.0, 72_020_700),
        ("bybit", "NEWUSDT", "LONG", 38.0, 3_131_200_000),
        ("bybit", "NEWUSDT", "SHORT", 6.0, 495_000_000),
        ("okx", "BTC-USDT-SWAP", "LONG", 0.0855, 7_067_062_350),
    ]


async def test_symbols_of_captured_frames_are_listed(tmp_path: Path) -> None:
    async with running(*three(), frames=hand_written(tmp_path)) as run, aiohttp.ClientSession() as http:
        url = run.origins["bybit"] + "/v5/market/instruments-info?category=linear"
        async with http.get(url) as answer:
            assert "NEWUSDT" in {row["symbol"] for row in (await answer.json())["result"]["list"]}


async def test_every_whole_frame_of_the_real_folder_is_sent() -> None:
    if not REAL_FRAMES.is_dir():
        pytest.skip(f"no captured frames at {REAL_FRAMES}; set LIQCASCADE_REAL_DATA to the folder that holds them")
    async with running(frames=REAL_FRAMES) as run, AsyncExitStack() as sockets:
        for name in NAMES:
            await sockets.enter_async_context(run.subscribed(name))
        status = await run.until(lambda status: status["done"])
        rows = {(row.instrument, row.event_time_ms): row for row in run.simulator.account.rows}
    assert status["sent"] == {"binance": 11, "bybit": 6, "okx": 5, "gate": 4, "bitget": 1, "hyperliquid": 0}
    assert status["frames"] == 25
    dated = rows["BTCUSD_200925", 1594622954021]  # 3 contracts of 100 USD, sold by a long
    assert (dated.side, dated.notional_micro_usd) == ("LONG", 300_000_000)
    assert dated.quantity == pytest.approx(300 / 9352.7)
    assert rows["BTCUSDT", 1791565600992].notional_micro_usd == 494_381_400  # 0.006 x 82396.90
    assert rows["BTCUSDT", 1791565600992].side == "LONG"
    assert rows["BTC-USDT-SWAP", 1723038122631].quantity == 100.0  # 10,000 contracts of 0.01


@pytest.mark.parametrize(
    ("line", "reason"), [("{}", "bybit_liquidation.jsonl:1 is no bybit frame"), ("x", "bybit_liquidation.jsonl:1")]
)
def test_a_folder_that_does_not_fit_is_refused(tmp_path: Path, line: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=r"has none of binance_liquidation\.jsonl"):
        Simulator(SimulatorOptions(frames=tmp_path))
    (tmp_path / "bybit_liquidation.jsonl").write_text(line)
    with pytest.raises(SettingsError, match=reason):
        Simulator(SimulatorOptions(frames=tmp_path))


@pytest.mark.parametrize("backlog", [True, False])
async def test_okx_repeats_its_last_frame_to_a_new_subscriber(tmp_path: Path, backlog: bool) -> None:
    options = SimulatorOptions(frames=hand_written(tmp_path), okx_backlog=backlog)
    simulator = Simulator(options)
    run = Running(simulator, await simulator.start())
    try:
        async with AsyncExitStack() as sockets:
            for name in NAMES:
                await sockets.enter_async_context(run.subscribed(name))
            await run.until(lambda status: status["done"])
        async with run.subscribed("okx") as socket:
            await socket.send("ping")
            answers = [await asyncio.wait_for(socket.recv(), DEADLINE_S) for _ in range(1 + backlog)]
        assert ("liquidation-orders" in str(answers[0])) is backlog
        assert answers[-1] == "pong"
        assert simulator.status()["sent"]["okx"] == 1, "a row that is repeated is no new row"
        assert simulator.status()["frames"] == 3 + backlog
    finally:
        await simulator.stop()


async def test_a_row_that_first_comes_as_backlog_is_no_longer_withheld() -> None:
    exchange = Okx(backlog=True)
    push = exchange.captured({
        "arg": {"channel": "liquidation-orders", "instType": "SWAP"},
        "data": [{"instId": "BTC-USDT-SWAP", "details": [
            {"bkPx": "1", "posSide": "long", "side": "sell", "sz": "1", "ts": "1"}]}],
    })  # fmt: skip
    assert isinstance(push, Push)
    account = Simulator(SimulatorOptions(), [exchange]).account
    account.delivered("okx", push, frames=0)
    assert account.figures()["withheld"] == {"okx": 1}
    account.delivered("okx", push, frames=1, again=True)
    account.delivered("okx", push, frames=1, again=True)
    figures = account.figures()
    assert (figures["withheld"], figures["sent"], figures["frames"]) == ({"okx": 0}, {"okx": 1}, 2)


async def test_okx_cuts_a_client_that_shows_no_life() -> None:
    exchange = Okx()
    exchange.idle_s_max = 0.2
    async with (
        running(exchange, wait_for_subscribers=False) as run,
        connect(run.address("okx", "/ws/v5/public"), ping_interval=0.05) as socket,  # ping frames do not count
    ):
        await asyncio.wait_for(drain(socket, []), DEADLINE_S)
        assert socket.close_code == 1008


async def test_ping_frames_are_sent_and_answered() -> None:
    exchange = Bybit()
    exchange.ping_interval_s, exchange.idle_s_max = 0.05, 0.5
    exchange.kept_alive_by = frozenset({"pong"})
    async with (
        running(exchange, wait_for_subscribers=False) as run,
        connect(run.address("bybit", "/v5/public/linear")) as socket,
    ):
        with pytest.raises(TimeoutError):  # the library answers the server's pings, so it is not cut
            await asyncio.wait_for(socket.recv(), 1.5)
        await asyncio.wait_for(await socket.ping(), DEADLINE_S)


async def test_binance_cuts_a_client_that_talks_too_much() -> None:
    async with running(wait_for_subscribers=False) as run, connect(run.address("binance", "/market/ws")) as socket:
        for identifier in range(12):
            await socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": identifier}))
        await asyncio.wait_for(drain(socket, []), DEADLINE_S)
        assert socket.close_code == 1008


async def test_a_client_that_vanishes_harms_nobody() -> None:
    async with running(scenario="flash") as run, AsyncExitStack() as sockets:
        for name in NAMES:
            await sockets.enter_async_context(run.subscribed(name))
        async with run.subscribed("okx") as second:
            second.transport.abort()
        await run.until(lambda status: status["subscribers"]["okx"] == 1 and status["rows"] > 50)


async def test_the_sent_rows_are_what_events_should_be(tmp_path: Path) -> None:
    async with running(*three(), frames=hand_written(tmp_path)) as run, AsyncExitStack() as sockets:
        for name in ("binance", "bybit", "okx"):
            await sockets.enter_async_context(run.subscribed(name))
        await run.until(lambda status: status["done"])
        async with aiohttp.ClientSession() as http, http.get(f"{run.simulator.control}/sent") as answer:
            events = [json.loads(line) for line in (await answer.text()).splitlines()]
    assert {
        "exchange": "okx", "instrument": "BTC-USDT-SWAP", "asset": "BTC", "side": "LONG", "price": 82655.7,
        "quantity": 0.0855, "notional_usd": 7067.06235, "event_time_ms": 1791565600771,
    } in events  # fmt: skip
    assert len(events) == 4


async def test_a_taken_port_is_named() -> None:
    async with running(wait_for_subscribers=False) as run:
        port = int(run.origins["okx"].split(":")[2].split("/")[0])
        with pytest.raises(StackError, match=f"cannot listen on 127.0.0.1:{port}"):
            await Simulator(SimulatorOptions()).start(port)


async def test_the_process_says_where_it_is_and_ends_on_sigterm() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stack.simulator", "--scenario", "calm", "--no-wait-for-subscribers",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        ready = json.loads(await process.stdout.readline())
        async with aiohttp.ClientSession() as http, http.get(ready["control"] + "/status") as answer:
            assert (await answer.json())["playing"] is False
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert set(ready["origins"]) == set(NAMES)


async def test_the_process_refuses_in_one_sentence() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stack.simulator", "--frames", "/nowhere", stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode == 2
    assert errors.decode().startswith("frames: /nowhere has none of")
    assert errors.decode().count("\n") == 1
