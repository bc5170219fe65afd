"""Gate, Bitget and Hyperliquid as simulated, without a socket. Every expectation is worked out from the documents."""

import json
from typing import Any

import pytest

from schemas.words import Side
from stack.simulator.bitget import Bitget
from stack.simulator.exchange import Client, Row, SimulatedExchange
from stack.simulator.gate import ORDERS_MAX, Gate
from stack.simulator.hyperliquid import LIQUIDATORS, Hyperliquid
from stack.simulator.scenarios import SimulatedLiquidation

NOW_MS = 1_791_565_600_000


def happened(asset: str = "BTC", side: Side = Side.LONG, coins: float = 0.5, **more: Any) -> SimulatedLiquidation:
    fields: dict[str, Any] = {"at_ms": 0, "exchange": "", "asset": asset, "price": 80_000.0, "coin_margined": False}
    return SimulatedLiquidation(**(fields | {"side": side, "coins": coins} | more))


def frames(exchange: SimulatedExchange, client: Client, now_ms: int) -> list[dict[str, Any]]:
    return [json.loads(text) for push in exchange.due(now_ms) for text in exchange.texts(push, client)]


def answers(exchange: SimulatedExchange, message: Any, path: str = "") -> list[Any]:
    text = message if isinstance(message, str) else json.dumps(message)
    return [json.loads(answer) for answer in exchange.answer(text, Client(path)).texts]


# --- Gate ---


@pytest.mark.parametrize(("side", "size", "price"), [(Side.LONG, -5_000, "79840"), (Side.SHORT, 5_000, "80160")])
def test_gate_sends_the_closing_orders_sign_and_a_worse_price(side: Side, size: int, price: str) -> None:
    exchange = Gate()
    exchange.collect(happened(side=side), NOW_MS + 100)
    client = Client("/v4/ws/usdt", {"futures.public_liquidates:!all"})
    (frame,) = frames(exchange, client, NOW_MS + 1_000)
    assert frame == {
        "time": NOW_MS // 1_000 + 1, "time_ms": NOW_MS + 1_000, "channel": "futures.public_liquidates",
        "event": "update",
        "result": {"contract": "BTC_USDT", "price": price, "time": NOW_MS + 100, "size": size},
    }  # fmt: skip


def test_gate_drops_nothing_and_sends_twenty_at_once() -> None:
    # 0              20th    1000
    # |20 orders ... | push  |1 more: push at the end of the second
    exchange = Gate()
    exchange.due(NOW_MS)
    for number in range(ORDERS_MAX + 1):
        exchange.collect(happened(), NOW_MS + number)
    assert [len(push.rows) for push in exchange.due(NOW_MS + 50)] == [ORDERS_MAX]
    assert exchange.pending == 1
    assert [len(push.rows) for push in exchange.due(NOW_MS + 1_000)] == [1]


def test_gate_sizes_are_texts_for_those_who_ask() -> None:
    exchange = Gate()
    client = Client("/v4/ws/usdt", {"futures.public_liquidates:BTC_USDT"}, {"X-Gate-Size-Decimal": "1"})
    exchange.collect(happened(), NOW_MS)
    exchange.collect(happened(coins=0.2), NOW_MS)
    (frame,) = frames(exchange, client, NOW_MS + 1_000)
    assert [row["size"] for row in frame["result"]] == ["-5000", "-2000"]


def test_gate_settles_in_btc_on_an_address_of_its_own() -> None:
    exchange = Gate()
    exchange.collect(happened(coin_margined=True), NOW_MS)
    (push,) = exchange.due(NOW_MS + 1_000)
    channels = {"futures.public_liquidates:!all"}
    assert exchange.texts(push, Client("/v4/ws/usdt", channels)) == []
    assert len(exchange.texts(push, Client("/v4/ws/btc", channels))) == 1
    assert push.rows[0].instrument == "BTC_USD"
    assert push.rows[0].notional_micro_usd == 40_000_000_000  # 40,000 contracts of 1 USD


def test_gate_lists_orders_with_the_positions_sign() -> None:
    exchange = Gate()
    exchange.collect(happened(), NOW_MS)
    status, rows = exchange.rest("/api/v4/futures/usdt/liq_orders", {}, NOW_MS)
    assert status == 200
    assert rows == [{
        "contract": "BTC_USDT", "left": "0", "size": "5000", "order_size": "-5000", "fill_price": "80000",
        "order_price": "79840", "time": NOW_MS // 1_000,
    }]  # fmt: skip
    too_long = {"from": str(NOW_MS // 1_000 - 3_601), "to": str(NOW_MS // 1_000)}
    assert exchange.rest("/api/v4/futures/usdt/liq_orders", too_long, NOW_MS).status == 400


def test_gate_counts_both_sides_in_tickers_and_one_in_contracts() -> None:
    exchange = Gate()
    (ticker,) = exchange.rest("/api/v4/futures/usdt/tickers", {"contract": "BTC_USDT"}, NOW_MS).body
    (contract,) = exchange.rest("/api/v4/futures/usdt/contracts", {"contract": "BTC_USDT"}, NOW_MS).body
    assert int(ticker["total_size"]) == 2 * contract["position_size"]
    assert contract["quanto_multiplier"] == "0.0001"
    assert contract["funding_interval"] == 8 * 3_600
    (inverse,) = exchange.rest("/api/v4/futures/btc/contracts", {}, NOW_MS).body
    assert (inverse["name"], inverse["quanto_multiplier"], inverse["type"]) == ("BTC_USD", "0", "inverse")


def test_gate_answers_requests() -> None:
    exchange = Gate()
    request = {"time": 1, "channel": "futures.public_liquidates", "event": "subscribe", "payload": ["!all"]}
    (done,) = answers(exchange, request)
    assert (done["event"], done["result"]) == ("subscribe", {"status": "success"})
    assert answers(exchange, {"time": 1, "channel": "futures.ping"})[0]["channel"] == "futures.pong"
    assert answers(exchange, request | {"channel": "futures.liquidates"})[0]["error"]["code"] == 2


# --- Bitget ---


@pytest.mark.parametrize(("side", "word", "price"), [(Side.LONG, "buy", "79920"), (Side.SHORT, "sell", "80080")])
def test_bitget_names_the_position_and_its_notional(side: Side, word: str, price: str) -> None:
    exchange = Bitget()
    exchange.collect(happened(side=side), NOW_MS + 100)
    (push,) = exchange.due(NOW_MS + 1_000)
    assert json.loads(exchange.texts(push, Client("", {"usdt-futures:liquidation"}))[0]) == {
        "action": "update", "arg": {"instType": "usdt-futures", "topic": "liquidation"},
        "data": [{"symbol": "BTCUSDT", "side": word, "price": price, "amount": "40000",
                  "ts": str(NOW_MS + 100)}],
        "ts": NOW_MS + 1_000,
    }  # fmt: skip
    coins = 40_000 / float(price)
    assert push.rows[0] == Row("bitget", "BTCUSDT", "BTC", side, float(price), coins, 40_000_000_000, NOW_MS + 100)


def test_bitget_sends_the_largest_of_a_side_and_second() -> None:
    exchange = Bitget()
    exchange.due(NOW_MS)
    for coins, side in ((0.1, Side.LONG), (0.7, Side.LONG), (0.2, Side.LONG), (0.3, Side.SHORT)):
        exchange.collect(happened(side=side, coins=coins), NOW_MS + 10)
    assert exchange.due(NOW_MS + 999) == []
    (push,) = exchange.due(NOW_MS + 1_000)
    assert [(row.side, round(row.notional_micro_usd / 1e6)) for row in push.rows] == [
        (Side.LONG, 56_000), (Side.SHORT, 24_000),
    ]  # fmt: skip
    assert exchange.unshown_rows == 2


def test_bitget_has_a_frame_for_each_product_line() -> None:
    exchange = Bitget()
    exchange.collect(happened(), NOW_MS)
    exchange.collect(happened(coin_margined=True), NOW_MS)
    assert [(push.channel, push.rows[0].instrument) for push in exchange.due(NOW_MS + 1_000)] == [
        ("usdt-futures:liquidation", "BTCUSDT"), ("coin-futures:liquidation", "BTCUSD_CM"),
    ]  # fmt: skip


def test_bitget_states_open_interest_in_coins_or_dollars() -> None:
    exchange = Bitget()
    path = "/api/v3/market/tickers"
    (linear,) = exchange.rest(path, {"category": "USDT-FUTURES", "symbol": "BTCUSDT"}, NOW_MS).body["data"]
    (inverse,) = exchange.rest(path, {"category": "COIN-FUTURES", "symbol": "BTCUSD_CM"}, NOW_MS).body["data"]
    assert float(linear["openInterest"]) * float(linear["markPrice"]) == pytest.approx(1.5e9, rel=1e-3)
    assert float(inverse["openInterest"]) == pytest.approx(1.5e8, rel=1e-3)
    assert exchange.rest(path, {"category": "SPOON"}, NOW_MS).status == 400


def test_bitget_answers_requests() -> None:
    exchange = Bitget()
    argument = {"instType": "usdt-futures", "topic": "liquidation"}
    assert exchange.answer("ping", Client("")).texts == ("pong",)
    assert answers(exchange, {"op": "subscribe", "args": [argument]}) == [{"event": "subscribe", "arg": argument}]
    assert answers(exchange, {"op": "subscribe", "args": [argument | {"instType": "spot"}]})[0]["event"] == "error"
    assert answers(exchange, "nonsense")[0]["code"] == "30002"


# --- Hyperliquid ---


@pytest.mark.parametrize(("side", "place"), [(Side.LONG, 0), (Side.SHORT, 1)])
def test_hyperliquid_shows_the_liquidator_as_buyer_from_a_long(side: Side, place: int) -> None:
    exchange = Hyperliquid()
    exchange.collect(happened(side=side), NOW_MS)
    (push,) = exchange.due(NOW_MS + 200)
    ordinary, *fills = push.message["data"]
    assert not set(ordinary["users"]) & set(LIQUIDATORS)
    assert all(fill["users"][place] in LIQUIDATORS for fill in fills)
    assert sum(float(fill["sz"]) for fill in fills) == pytest.approx(0.5)
    assert len({fill["hash"] for fill in fills}) == 1
    (row,) = push.rows
    assert (row.side, row.quantity, row.instrument) == (side, 0.5, "BTC")


def test_hyperliquid_tells_a_liquidators_fills() -> None:
    exchange = Hyperliquid()
    exchange.collect(happened(), NOW_MS)
    (push,) = exchange.due(NOW_MS + 200)
    liquidator = push.message["data"][-1]["users"][0]
    (text,) = exchange.texts(push, Client("/ws", {f"userFills:{liquidator}"}))
    fill = json.loads(text)["data"]["fills"][-1]
    assert (fill["side"], fill["dir"]) == ("B", "Liquidated Cross Long")
    assert fill["liquidation"]["liquidatedUser"] == push.message["data"][-1]["users"][1]


def test_hyperliquid_greets_with_recent_trades() -> None:
    exchange = Hyperliquid()
    exchange.collect(happened(), NOW_MS)
    (push,) = exchange.due(NOW_MS + 200)
    (snapshot,) = exchange.greeting({"trades:BTC"}, NOW_MS + 500)
    assert snapshot.parts == (push,)
    assert snapshot.message["data"] == push.message["data"]
    assert all(not push.parts for push in exchange.greeting({"trades:SOL"}, NOW_MS + 500))


def test_hyperliquid_states_coins_and_the_rate_of_the_hour() -> None:
    exchange = Hyperliquid()
    meta, contexts = exchange.rest("/info", {"type": "metaAndAssetCtxs"}, NOW_MS).body
    names = [each["name"] for each in meta["universe"]]
    assert {"BTC", "kPEPE"} <= set(names)
    assert len(names) == len(contexts)
    bitcoin = contexts[names.index("BTC")]
    assert float(bitcoin["openInterest"]) * float(bitcoin["markPx"]) == pytest.approx(1.5e9, rel=1e-3)
    history = exchange.rest("/info", {"type": "fundingHistory", "coin": "BTC", "startTime": str(NOW_MS - 7_200_000)},
                            NOW_MS).body  # fmt: skip
    assert [each["time"] % 3_600_000 for each in history] == [0, 0]
    assert exchange.rest("/info", {"type": "spoon"}, NOW_MS).status == 422


def test_hyperliquid_answers_requests() -> None:
    exchange = Hyperliquid()
    subscription = {"type": "trades", "coin": "BTC"}
    (done,) = answers(exchange, {"method": "subscribe", "subscription": subscription})
    assert done == {
        "channel": "subscriptionResponse", "data": {"method": "subscribe", "subscription": subscription}
    }  # fmt: skip
    assert answers(exchange, {"method": "ping"}) == [{"channel": "pong"}]
    refused = {"method": "subscribe", "subscription": {"type": "liquidations"}}
    assert answers(exchange, refused)[0]["channel"] == "error"
