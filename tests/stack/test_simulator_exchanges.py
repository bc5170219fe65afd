"""Each exchange's protocol and frames, without a socket. Every expectation is worked out by hand from the documents."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.words import Side
from stack.simulator.binance import Binance
from stack.simulator.bitget import Bitget
from stack.simulator.bybit import Bybit
from stack.simulator.exchange import Client, Row, SimulatedExchange
from stack.simulator.gate import Gate
from stack.simulator.hyperliquid import Hyperliquid
from stack.simulator.okx import Okx
from stack.simulator.scenarios import EXCHANGES, SimulatedLiquidation

NOW_MS = 1_791_565_600_000
MAKERS: dict[str, Callable[[], SimulatedExchange]] = {
    "binance": Binance, "bybit": Bybit, "okx": Okx, "gate": Gate, "bitget": Bitget, "hyperliquid": Hyperliquid,
}  # fmt: skip


def happened(
    exchange: str, asset: str = "BTC", side: Side = Side.LONG, coins: float = 0.5, price: float = 80_000.0, **more: Any
) -> SimulatedLiquidation:
    return SimulatedLiquidation(**{
        "at_ms": 0, "exchange": exchange, "asset": asset, "side": side, "coins": coins, "price": price,
        "coin_margined": False, **more,
    })  # fmt: skip


def only_text(exchange: SimulatedExchange, client: Client, now_ms: int) -> dict[str, Any]:
    (push,) = exchange.due(now_ms)
    (text,) = exchange.texts(push, client)
    frame = json.loads(text)
    assert isinstance(frame, dict)
    return frame


def answers(exchange: SimulatedExchange, message: Any, path: str = "") -> list[Any]:
    text = message if isinstance(message, str) else json.dumps(message)
    return [json.loads(answer) for answer in exchange.answer(text, Client(path)).texts]


# --- Binance ---


def test_binance_sends_the_largest_order_of_a_symbols_second() -> None:
    # 0        300      900    1000          1500    1700
    # |0.1     |0.7     |0.2   | push 0.7    |0.3    |
    # [--------- a second -----)             [-- opens the next -)
    exchange, client = Binance(), Client("/market/stream", {"!forceOrder@arr"})
    for after_ms, coins in ((0, 0.1), (300, 0.7), (900, 0.2)):
        exchange.collect(happened("binance", coins=coins), NOW_MS + after_ms)
    assert exchange.due(NOW_MS + 999) == []
    frame = only_text(exchange, client, NOW_MS + 1_000)
    assert frame["stream"] == "!forceOrder@arr"
    assert frame["data"]["E"] == NOW_MS + 1_000
    order = frame["data"]["o"]
    assert (order["s"], order["S"], order["z"], order["q"]) == ("BTCUSDT", "SELL", "0.700", "0.700")
    assert (order["T"], order["ap"], order["ps"], order["st"]) == (NOW_MS + 300, "79880", "BTCUSDT", 1)
    assert exchange.unshown_rows == 2
    exchange.collect(happened("binance", coins=0.3), NOW_MS + 1_500)
    assert exchange.due(NOW_MS + 1_700) == []
    assert exchange.pending == 1


def test_binance_opens_a_new_second_even_when_nobody_asked_what_is_due() -> None:
    exchange = Binance()
    exchange.collect(happened("binance", coins=0.7), NOW_MS)
    exchange.collect(happened("binance", coins=0.9), NOW_MS + 1_000)
    assert [push.rows[0].quantity for push in exchange.due(NOW_MS + 2_000)] == [0.7, 0.9]
    assert exchange.unshown_rows == 0


def test_binance_symbols_have_seconds_of_their_own() -> None:
    exchange = Binance()
    for asset in ("BTC", "ETH"):
        exchange.collect(happened("binance", asset), NOW_MS)
    assert [push.channel for push in exchange.due(NOW_MS + 1_000)] == ["BTCUSDT", "ETHUSDT"]


@pytest.mark.parametrize(("side", "word"), [(Side.LONG, "SELL"), (Side.SHORT, "BUY")])
def test_binance_prices_the_order_worse_than_the_fill(side: Side, word: str) -> None:
    exchange = Binance()
    exchange.collect(happened("binance", side=side), NOW_MS)
    order = only_text(exchange, Client("/market/ws", {"btcusdt@forceOrder"}), NOW_MS + 1_000)["o"]
    assert order["S"] == word
    assert (float(order["p"]) < float(order["ap"])) is (side is Side.LONG)


def test_binance_coin_margined_rows_are_contracts_of_100_usd() -> None:
    exchange = Binance()
    exchange.collect(happened("binance", coins=0.5, price=80_000.0, coin_margined=True), NOW_MS)
    (push,) = exchange.due(NOW_MS + 1_000)
    assert push.message["st"] == 2
    assert (push.message["o"]["s"], push.message["o"]["z"], push.message["o"]["ps"]) == ("BTCUSD_PERP", "400", "BTCUSD")
    coins = 40_000 / 79_880  # the fill is 0.15 % off the market
    assert push.rows[0] == Row("binance", "BTCUSD_PERP", "BTC", Side.LONG, 79_880.0, coins, 40_000_000_000, NOW_MS)


def test_binance_multiplied_symbols_count_a_thousand_coins() -> None:
    exchange = Binance()
    exchange.collect(happened("binance", "PEPE", coins=2_500_000.0, price=0.00001), NOW_MS)
    (push,) = exchange.due(NOW_MS + 1_000)
    order = push.message["o"]
    assert (order["s"], order["z"], order["ap"]) == ("1000PEPEUSDT", "2500", "0.0099850")
    row = Row("binance", "1000PEPEUSDT", "PEPE", Side.LONG, 0.000009985, 2_500_000.0, 24_962_500, NOW_MS)
    assert push.rows[0] == row


@pytest.mark.parametrize("path", ["/ws", "/stream"])
def test_binance_unrouted_paths_acknowledge_and_stay_silent(path: str) -> None:
    exchange, client = Binance(), Client(path)
    reply = exchange.answer('{"method":"SUBSCRIBE","params":["!forceOrder@arr"],"id":1}', client)
    assert json.loads(reply.texts[0]) == {"result": None, "id": 1}
    client.channels |= reply.subscribe
    exchange.collect(happened("binance"), NOW_MS)
    (push,) = exchange.due(NOW_MS + 1_000)
    assert exchange.texts(push, client) == []


def test_binance_sends_once_for_each_stream_that_fits() -> None:
    exchange = Binance()
    exchange.collect(happened("binance"), NOW_MS)
    (push,) = exchange.due(NOW_MS + 1_000)
    client = Client("/market/stream", {"!forceOrder@arr", "btcusdt@forceOrder", "ethusdt@forceOrder"})
    streams = [json.loads(text)["stream"] for text in exchange.texts(push, client)]
    assert streams == ["!forceOrder@arr", "btcusdt@forceOrder"]


def test_binance_takes_streams_from_the_address() -> None:
    exchange = Binance()
    assert exchange.channels_in_address("/market/ws/!forceOrder@arr", {}) == {"!forceOrder@arr"}
    assert exchange.channels_in_address("/market/ws", {}) == frozenset()
    assert exchange.channels_in_address("/market/stream", {"streams": "a/b"}) == {"a", "b"}


def test_binance_answers_requests() -> None:
    exchange = Binance()
    client = Client("/market/ws", {"b", "a"})
    listed = exchange.answer('{"method":"LIST_SUBSCRIPTIONS","id":2}', client).texts
    assert json.loads(listed[0]) == {"result": ["a", "b"], "id": 2}
    gone = exchange.answer('{"method":"UNSUBSCRIBE","params":["a"],"id":3}', client)
    assert gone.unsubscribe == {"a"}
    assert answers(exchange, {"method": "SHOUT", "id": 4})[0]["error"]["code"] == 2
    assert answers(exchange, {"method": "SUBSCRIBE", "params": "x", "id": 4})[0]["error"]["code"] == 2
    assert answers(exchange, "ping")[0]["error"]["code"] == 3
    crowd = {"method": "SUBSCRIBE", "params": [f"s{n}@forceOrder" for n in range(1_025)], "id": 5}
    assert answers(exchange, crowd)[0]["error"]["code"] == 4


def test_binance_lists_its_two_products_apart() -> None:
    exchange = Binance()
    paths = [path for path in exchange.rest_paths if path.endswith("exchangeInfo")]
    listings = {path: exchange.rest(path, {}, NOW_MS)[1]["symbols"] for path in paths}
    linear = {row["symbol"]: row for row in listings["/fapi/v1/exchangeInfo"]}
    inverse = {row["symbol"]: row for row in listings["/dapi/v1/exchangeInfo"]}
    assert (linear["BTCUSDT"]["baseAsset"], linear["BTCUSDT"]["marginAsset"]) == ("BTC", "USDT")
    assert linear["1000PEPEUSDT"]["baseAsset"] == "1000PEPE"
    assert {symbol: row["contractSize"] for symbol, row in inverse.items()} == {"BTCUSD_PERP": 100, "ETHUSD_PERP": 10}
    assert not set(linear) & set(inverse)


# --- Bybit ---


@pytest.mark.parametrize(("side", "word"), [(Side.LONG, "Buy"), (Side.SHORT, "Sell")])
def test_bybit_names_the_position_and_its_bankruptcy_price(side: Side, word: str) -> None:
    exchange = Bybit()
    exchange.collect(happened("bybit", side=side, coins=0.006), NOW_MS + 100)
    frame = only_text(exchange, Client("", {"allLiquidation.BTCUSDT"}), NOW_MS + 500)
    price = "79840" if side is Side.LONG else "80160"  # 0.2 % worse than 80,000
    assert frame == {
        "topic": "allLiquidation.BTCUSDT", "type": "snapshot", "ts": NOW_MS + 500,
        "data": [{"T": NOW_MS + 100, "s": "BTCUSDT", "S": word, "v": "0.006", "p": price}],
    }  # fmt: skip


def test_bybit_batches_500_ms_by_symbol() -> None:
    # 0              500            1000
    # |BTC BTC ETH   | push         |
    exchange = Bybit()
    exchange.due(NOW_MS)
    for asset, after_ms in (("BTC", 10), ("BTC", 20), ("ETH", 30)):
        exchange.collect(happened("bybit", asset), NOW_MS + after_ms)
    assert exchange.due(NOW_MS + 499) == []
    assert exchange.pending == 3
    pushes = exchange.due(NOW_MS + 500)
    assert [(push.channel, len(push.rows)) for push in pushes] == [
        ("allLiquidation.BTCUSDT", 2), ("allLiquidation.ETHUSDT", 1),
    ]  # fmt: skip
    assert exchange.pending == 0


def test_bybit_sends_only_symbols_that_were_subscribed() -> None:
    exchange = Bybit()
    exchange.collect(happened("bybit"), NOW_MS)
    (push,) = exchange.due(NOW_MS + 500)
    assert exchange.texts(push, Client("", {"allLiquidation.ETHUSDT"})) == []


def test_bybit_answers_requests() -> None:
    exchange = Bybit()
    done = answers(exchange, {"op": "subscribe", "args": ["allLiquidation.BTCUSDT"], "req_id": "a"})
    assert done == [{"success": True, "ret_msg": "", "conn_id": "simulated-0001", "req_id": "a", "op": "subscribe"}]
    assert answers(exchange, {"op": "ping"})[0]["ret_msg"] == "pong"
    assert exchange.answer('{"op":"unsubscribe","args":["allLiquidation.A"]}', Client("")).unsubscribe


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"op": "subscribe", "args": ["liquidation.BTCUSDT"]}, "error:handler not found,topic:liquidation.BTCUSDT"),
        ({"op": "subscribe", "args": ["allLiquidation." + "X" * 21_000]}, "error:args too long,max:21000"),
        ({"op": "subscribe"}, "error:args must be a list of topics"),
        ({"op": "dance"}, "error:unknown op,op:dance"),
        ("ping", "error:invalid json"),
        ("[]", "error:invalid json"),
    ],
)
def test_bybit_refuses_by_name(request_: Any, reason: str) -> None:
    (answer,) = answers(Bybit(), request_)
    assert (answer["success"], answer["ret_msg"]) == (False, reason)


def test_bybit_counts_the_characters_of_a_connection() -> None:
    exchange, client = Bybit(), Client("", {"allLiquidation." + "X" * 20_900})
    assert not exchange.answer('{"op":"subscribe","args":["allLiquidation.' + "Y" * 100 + '"]}', client).subscribe


def test_bybit_pages_its_instruments() -> None:
    exchange, cursor, listed, pages = Bybit(), "", [], 0
    while pages == 0 or cursor:
        query = {"category": "linear", "limit": "10", "cursor": cursor}
        _, body = exchange.rest("/v5/market/instruments-info", query, NOW_MS)
        listed += [row["symbol"] for row in body["result"]["list"]]
        cursor, pages = body["result"]["nextPageCursor"], pages + 1
    assert listed == [symbol for symbol, instrument in exchange.instruments.items() if not instrument.inverse]
    assert pages == 4
    refused = exchange.rest("/v5/market/instruments-info", {"category": "spoon"}, NOW_MS)[1]
    assert refused["retCode"] == 10001


def test_bybit_settles_perp_symbols_in_usdc() -> None:
    listed = Bybit().rest("/v5/market/instruments-info", {"category": "linear"}, NOW_MS)[1]["result"]["list"]
    by_symbol = {row["symbol"]: row for row in listed}
    assert by_symbol["BTCPERP"]["settleCoin"] == "USDC"
    assert by_symbol["SHIB1000USDT"]["baseCoin"] == "SHIB1000"


# --- OKX ---


@pytest.mark.parametrize(("side", "words"), [(Side.LONG, ("long", "sell")), (Side.SHORT, ("short", "buy"))])
def test_okx_counts_in_contracts(side: Side, words: tuple[str, str]) -> None:
    exchange = Okx()
    exchange.collect(happened("okx", side=side, coins=0.0855), NOW_MS + 100)
    frame = only_text(exchange, Client("", {"SWAP"}), NOW_MS + 200)
    price = "79920" if side is Side.LONG else "80080"  # 0.1 % worse than 80,000
    assert frame == {
        "arg": {"channel": "liquidation-orders", "instType": "SWAP"},
        "data": [{
            "details": [{
                "bkLoss": "0", "bkPx": price, "ccy": "", "posSide": words[0], "side": words[1], "sz": "8.6",
                "ts": str(NOW_MS + 100),
            }],
            "instFamily": "BTC-USDT", "instId": "BTC-USDT-SWAP", "instType": "SWAP", "uly": "BTC-USDT",
        }],
    }  # fmt: skip


def test_okx_groups_by_instrument_in_one_frame() -> None:
    exchange = Okx()
    for asset in ("BTC", "ETH", "BTC"):
        exchange.collect(happened("okx", asset), NOW_MS)
    frame = only_text(exchange, Client("", {"SWAP"}), NOW_MS + 200)
    assert [(row["instId"], len(row["details"])) for row in frame["data"]] == [
        ("BTC-USDT-SWAP", 2), ("ETH-USDT-SWAP", 1),
    ]  # fmt: skip


def test_okx_inverse_rows_are_contracts_of_100_usd() -> None:
    exchange = Okx()
    exchange.collect(happened("okx", coins=0.5, price=80_000.0, coin_margined=True), NOW_MS)
    (push,) = exchange.due(NOW_MS + 200)
    assert push.message["data"][0]["details"][0]["sz"] == "400"
    (row,) = push.rows
    assert (row.instrument, row.notional_micro_usd) == ("BTC-USD-SWAP", 40_000_000_000)
    assert row.quantity == pytest.approx(40_000 / 79_920)


def test_okx_answers_requests() -> None:
    exchange = Okx()
    argument = {"channel": "liquidation-orders", "instType": "SWAP"}
    assert answers(exchange, {"op": "subscribe", "args": [argument]}) == [
        {"event": "subscribe", "arg": argument, "connId": "5imu1ate"}
    ]
    assert exchange.answer("ping", Client("")).texts == ("pong",)
    wrong = {"op": "subscribe", "args": [argument, {"channel": "nothing"}]}
    assert answers(exchange, wrong)[0]["code"] == "60018"
    assert not exchange.answer(json.dumps(wrong), Client("")).subscribe
    assert answers(exchange, {"op": "subscribe", "args": [argument] * 2_000})[0]["code"] == "60012"
    assert answers(exchange, '{"op":"ping"}')[0]["code"] == "60012"
    assert answers(exchange, "nonsense")[0]["event"] == "error"


def test_okx_lists_contract_sizes() -> None:
    exchange, path = Okx(), "/api/v5/public/instruments"
    status, body = exchange.rest(path, {"instType": "SWAP"}, NOW_MS)
    listed = {row["instId"]: row for row in body["data"]}
    assert status == 200
    assert (listed["BTC-USDT-SWAP"]["ctVal"], listed["BTC-USDT-SWAP"]["ctValCcy"]) == ("0.01", "BTC")
    assert (listed["BTC-USD-SWAP"]["ctVal"], listed["BTC-USD-SWAP"]["ctValCcy"]) == ("100", "USD")
    assert listed["BTC-USD-SWAP"]["ctType"] == "inverse"
    assert {"IOST-USDT-SWAP", "CNPY-USDT-SWAP", "MUBARAK-USDT-SWAP", "APT-USDT-SWAP"} <= set(listed)
    assert exchange.rest(path, {}, NOW_MS)[0] == 400
    (dated,) = exchange.rest(path, {"instType": "FUTURES"}, NOW_MS)[1]["data"]
    assert (dated["instId"], dated["ctType"], dated["settleCcy"]) == ("BTC-USD-261225", "inverse", "BTC")


# --- all ---


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=50, deadline=None)
@given(
    side=st.sampled_from([Side.LONG, Side.SHORT]),
    asset=st.sampled_from(["BTC", "ETH", "XRP", "PEPE", "SHIB", "CELO"]),
    notional_usd=st.floats(1.0, 8e6),
    level=st.floats(0.8, 1.1),
)
def test_a_frame_means_what_happened(name: str, side: Side, asset: str, notional_usd: float, level: float) -> None:
    exchange = MAKERS[name]()
    prices = {"BTC": 85_000.0, "ETH": 2_750.0, "XRP": 1.5, "PEPE": 0.0000095, "SHIB": 0.0000121, "CELO": 0.096}
    price = prices[asset] * level
    exchange.collect(happened(name, asset, side, notional_usd / price, price), NOW_MS)
    (push,) = exchange.due(NOW_MS + 1_000)
    (row,) = push.rows
    assert (row.exchange, row.asset, row.side, row.event_time_ms) == (name, asset, side, NOW_MS)
    assert row.price == pytest.approx(price, rel=0.003)
    assert row.quantity * row.price * 1e6 == pytest.approx(row.notional_micro_usd, rel=1e-9, abs=1)
    # one step of the coarsest contract here: 1,000,000 SHIB or 10,000,000 PEPE, about $100; CELO 1 coin
    assert row.notional_micro_usd / 1e6 == pytest.approx(notional_usd, rel=0.01, abs=110)


@settings(max_examples=80, deadline=None)
@given(text=st.text(max_size=80) | st.recursive(st.none() | st.text(max_size=5), st.lists).map(json.dumps))
def test_no_text_of_a_client_breaks_an_exchange(text: str) -> None:
    for make in MAKERS.values():
        reply = make().answer(text, Client("/market/ws"))
        assert not reply.subscribe


def test_every_exchange_of_the_scenarios_is_there() -> None:
    assert set(MAKERS) == set(EXCHANGES)
