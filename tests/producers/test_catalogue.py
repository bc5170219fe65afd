"""Instruments from REST, disk and the shipped table, with a real HTTP server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from producers import catalogue as catalogue_module
from producers.catalogue import Catalogue
from producers.exchange import ExchangeAdapter
from producers.exchanges import ADAPTERS
from producers.instruments import shipped
from producers.rest import Rest as Client
from producers.settings import ProducersSection


class Rest:
    """Serves bodies by path, counts requests; a missing body is an error of the server."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[object]] = {}
        self.requests: list[str] = []
        self.origin = ""

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests.append(request.path_qs)
        bodies = self.bodies.get(request.path)
        if not bodies:
            return web.Response(status=503)
        body = bodies.pop(0) if len(bodies) > 1 else bodies[0]
        return web.Response(text=body) if isinstance(body, str) else web.json_response(body)


@asynccontextmanager
async def rest_server() -> AsyncIterator[Rest]:
    rest, app = Rest(), web.Application()
    app.router.add_get("/{path:.*}", rest._answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        rest.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield rest
    finally:
        await runner.cleanup()


CLIENTS: list[Client] = []


@pytest.fixture(autouse=True)
async def closed_clients() -> AsyncIterator[None]:
    yield
    while CLIENTS:
        await CLIENTS.pop().close()


def catalogue(name: str, origin: str, folder: Path) -> tuple[Catalogue, ExchangeAdapter]:
    settings = ProducersSection(origins={name: origin}, cache_folder=folder)
    adapter = ADAPTERS[name]
    client = Client(adapter.exchange, adapter.budget, own_origin=True)
    CLIENTS.append(client)
    return Catalogue(adapter, settings, client), adapter


def copies(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def bybit_page(*symbols: str, cursor: str = "") -> dict[str, object]:
    rows = [
        {"symbol": each, "status": "Trading", "baseCoin": each[:-4], "quoteCoin": "USDT", "settleCoin": "USDT"}
        for each in symbols
    ]
    rows.append(rows[0] | {"symbol": "GONEUSDT", "status": "Closed"})
    return {"retCode": 0, "retMsg": "OK", "result": {"category": "linear", "list": rows, "nextPageCursor": cursor}}


def okx_list(**sizes: str) -> dict[str, object]:
    rows = [
        {
            "instId": f"{base}-USDT-SWAP",
            "ctType": "linear",
            "ctVal": size,
            "ctMult": "1",
            "ctValCcy": base,
            "settleCcy": "USDT",
        }
        for base, size in sizes.items()
    ]
    inverse = {"instId": "BTC-USD-SWAP", "ctType": "inverse", "ctVal": "100", "ctValCcy": "USD", "settleCcy": "BTC"}
    odd = {"instId": "ODD-USDT-SWAP", "ctType": "linear", "ctVal": "", "ctMult": "1", "ctValCcy": "", "settleCcy": ""}
    return {"code": "0", "msg": "", "data": [*rows, inverse | {"ctMult": "1"}, odd]}


BYBIT_PATH, OKX_PATH = "/v5/market/instruments-info", "/api/v5/public/instruments"


async def test_pages_are_followed_by_the_cursor(tmp_path: Path) -> None:
    async with rest_server() as rest:
        rest.bodies[BYBIT_PATH] = [bybit_page("AUSDT", "BUSDT", cursor="next%3D"), bybit_page("1000CUSDT")]
        known, adapter = catalogue("bybit", rest.origin, tmp_path)
        await known.start()
        assert [row.instrument for row in known.listed] == ["AUSDT", "BUSDT", "1000CUSDT"]
        assert adapter.connections[0].topics(known.listed) == [
            f"allLiquidation.{s}" for s in ("AUSDT", "BUSDT", "1000CUSDT")
        ]
        assert (known.instruments["1000CUSDT"].asset, int(known.instruments["1000CUSDT"].contract_size)) == ("C", 1000)
        assert "cursor=next" in rest.requests[1]


async def test_contract_sizes_of_okx(tmp_path: Path) -> None:
    async with rest_server() as rest:
        rest.bodies[OKX_PATH] = [okx_list(BTC="0.01", NEW="7")]
        known, _ = catalogue("okx", rest.origin, tmp_path)
        await known.start()
        sizes = {row.instrument: (str(row.contract_size), row.inverse, row.market.value) for row in known.listed}
        assert sizes == {
            "BTC-USDT-SWAP": ("0.01", False, "USDT"),
            "NEW-USDT-SWAP": ("7", False, "USDT"),
            "BTC-USD-SWAP": ("100", True, "USD"),
        }


async def test_both_lists_of_binance_and_what_is_not_in_dollars(tmp_path: Path) -> None:
    linear = [
        {"symbol": "1000PEPEUSDT", "baseAsset": "1000PEPE", "quoteAsset": "USDT", "marginAsset": "USDT"},
        {"symbol": "ETHBTC", "baseAsset": "ETH", "quoteAsset": "BTC", "marginAsset": "BTC"},
    ]
    coin = {"symbol": "BTCUSD_PERP", "baseAsset": "BTC", "quoteAsset": "USD", "marginAsset": "BTC", "contractSize": 100}
    async with rest_server() as rest:
        rest.bodies["/fapi/v1/exchangeInfo"] = [{"symbols": linear}]
        known, _ = catalogue("binance", rest.origin, tmp_path)
        await known.start()
        # the second list did not answer: what is known of its instruments stays
        assert known.instruments["BTCUSD_PERP"].inverse
        assert known.seconds_to_refresh() == catalogue_module.RETRY_S
        rest.bodies["/dapi/v1/exchangeInfo"] = [{"symbols": [coin]}]
        await known.refresh()
        assert known.seconds_to_refresh() == catalogue_module.REFRESH_S
        assert [row.instrument for row in known.listed] == ["1000PEPEUSDT", "BTCUSD_PERP"]
        assert int(known.instruments["BTCUSD_PERP"].contract_size) == 100


@pytest.mark.parametrize(
    "body",
    ["<html>", {"code": "50011", "msg": "Too Many Requests"}, {"code": "0", "data": []}, {"code": "0", "data": 3}],
)
async def test_answer_that_is_no_list_leaves_what_is_known(tmp_path: Path, body: object) -> None:
    async with rest_server() as rest:
        rest.bodies[OKX_PATH] = [body]
        known, adapter = catalogue("okx", rest.origin, tmp_path)
        await known.start()
        assert known.listed == shipped(adapter.exchange)
        assert copies(tmp_path) == []


async def test_start_without_rest_takes_the_copy_on_disk(tmp_path: Path) -> None:
    async with rest_server() as rest:
        rest.bodies[OKX_PATH] = [okx_list(NEW="7")]
        first, _ = catalogue("okx", rest.origin, tmp_path)
        await first.start()
        rest.bodies.clear()
        second, _ = catalogue("okx", rest.origin, tmp_path)
        await second.start()
        assert second.listed == first.listed
        # another origin is another exchange: its copy must not be mixed with this one
        third, adapter = catalogue("okx", rest.origin + "/other", tmp_path)
        await third.start()
        assert third.listed == shipped(adapter.exchange)


async def test_damaged_copy_is_passed_over(tmp_path: Path) -> None:
    async with rest_server() as rest:
        rest.bodies[OKX_PATH] = [okx_list(NEW="7")]
        await catalogue("okx", rest.origin, tmp_path)[0].start()
        rest.bodies.clear()
        copies(tmp_path)[0].write_text('{"half a li')
        known, adapter = catalogue("okx", rest.origin, tmp_path)
        await known.start()
        assert known.listed == shipped(adapter.exchange)


async def test_unknown_instruments_ask_once_a_minute_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rest_server() as rest:
        rest.bodies[OKX_PATH] = [okx_list(BTC="0.01")]
        known, adapter = catalogue("okx", rest.origin, tmp_path)
        await known.start()
        lists = len(adapter.instrument_sources)
        await known.refresh_for_unknown()
        assert len(rest.requests) == lists
        monkeypatch.setattr(known, "_asked_at", float("-inf"))
        rest.bodies[OKX_PATH] = [okx_list(BTC="0.01", NEW="7")]
        await asyncio.gather(*(known.refresh_for_unknown() for _ in range(10)))
        assert len(rest.requests) == 2 * lists
        assert "NEW-USDT-SWAP" in known.instruments
