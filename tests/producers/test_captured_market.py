"""Open interest, funding and formats of old that exchanges really sent, against figures worked out here from the raw
texts, without the decoders."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from producers.exchange import FUNDING, LIQUIDATION, OPEN_INTEREST
from producers.exchanges import ADAPTERS
from producers.instruments import Instruments, shipped
from producers.marks import Marks
from schemas.records import Funding, Liquidation, OpenInterest
from schemas.words import Side
from tests.producers.test_captured_frames import FRAMES, payloads, usd

pytestmark = pytest.mark.skipif(
    not FRAMES.is_dir(), reason=f"captured frames are not at {FRAMES}; set LIQCASCADE_REAL_DATA to their folder"
)
RECEIVED_MS = 1_791_400_000_000
HOUR_MS = 3_600_000


def decode(exchange: str, payload: Any, *, legacy: str | None = None) -> list[Any]:
    adapter = ADAPTERS[exchange]
    table = Instruments(adapter.exchange, shipped(adapter.exchange), adapter.instrument_rule)
    body = json.dumps(payload, ensure_ascii=False).encode()
    decoder: Any = adapter.market_decoder
    if legacy is not None:
        (decoder,) = (each.decode for each in adapter.legacy if each.kind == legacy)
    learned = {} if legacy == LIQUIDATION else {"marks": Marks()}
    events: list[Any] = decoder(body, received_time_us=RECEIVED_MS * 1_000, instruments=table, **learned)
    return events


def interests(events: list[Any]) -> list[tuple[str, float | None, float | None, int]]:
    return [
        (event.instrument, event.open_interest, event.open_interest_usd, event.event_time_ms)
        for event in events
        if isinstance(event, OpenInterest)
    ]


def rates(events: list[Any]) -> list[tuple[str, float, float, int | None, bool, int]]:
    """Rates with what they are in 8 h, which must fit the interval."""
    found = [event for event in events if isinstance(event, Funding)]
    for event in found:
        assert event.rate_8h == pytest.approx(event.rate * 8 / event.interval_hours)
    return [
        (each.instrument, each.rate, each.interval_hours, each.next_funding_time_ms, each.settled, each.event_time_ms)
        for each in found
    ]


def test_binance_open_interest() -> None:
    for payload in payloads("binance_openinterest.jsonl"):
        row = payload.get("data", payload)
        total = float(row["openInterest"])
        at_ms = row.get("time", RECEIVED_MS)
        expected = (
            (row["symbol"], None, 100 * total, at_ms)  # the coin-margined ones are of BTC: 100 USD each
            if "pair" in row
            else (row["symbol"], total, None, at_ms)
        )
        assert interests(decode("binance", payload)) == [expected]


def test_binance_funding() -> None:
    seen = 0
    for payload in payloads("binance_markprice_funding.jsonl"):
        data = payload.get("data", payload)
        expected = [
            (
                row.get("s") or row["symbol"],
                float(row.get("r") or row["lastFundingRate"]),
                8.0,
                row.get("T") or row["nextFundingTime"],
                False,
                row.get("E") or row.get("time", RECEIVED_MS),
            )
            for row in (data if isinstance(data, list) else [data])
            if row.get("r") or row.get("lastFundingRate")
        ]
        assert rates(decode("binance", payload)) == expected
        seen += len(expected)
    assert seen == 11


def test_bybit_tickers() -> None:
    for payload in payloads("bybit_tickers.jsonl") + payloads("bybit_tickers_rest.jsonl"):
        row, at_ms = payload.get("data", payload), payload.get("ts", RECEIVED_MS)
        events = decode("bybit", payload)
        if "openInterest" in row:
            units = Decimal(row["openInterest"]) / 2
            value = Decimal(row["openInterestValue"]) / 2
            coins, dollars = (
                (value, units) if "USDT" not in row["symbol"] and "PERP" not in row["symbol"] else (units, value)
            )
            coins *= 1000 if row["symbol"].startswith("1000") else 1
            ((symbol, got_coins, got_usd, got_ms),) = interests(events)
            assert (symbol, got_ms) == (row["symbol"], at_ms)
            assert got_coins == pytest.approx(float(coins))
            assert got_usd == pytest.approx(float(dollars))
        else:
            assert events == []
        if row.get("fundingRate"):
            expected = (row["symbol"], float(row["fundingRate"]), 8.0, int(row["nextFundingTime"]), False, at_ms)
            assert rates(events) == [expected]
        else:
            assert rates(events) == []


def test_bybit_open_interest_history() -> None:
    (payload,) = payloads("bybit_openinterest.jsonl")
    times = [1_789_458_600_000, 1_789_458_300_000, 1_789_458_000_000]  # every five minutes, the last one in seconds
    expected = [
        ("BTCUSDT", float(row["singleOpenInterest"]), None, at_ms)
        for row, at_ms in zip(payload["result"]["list"], times, strict=True)
    ]
    assert interests(decode("bybit", payload)) == expected


def test_bybit_settled_funding() -> None:
    (payload,) = payloads("bybit_funding.jsonl")
    expected = [
        ("BTCUSDT", float(row["fundingRate"]), 8.0, None, True, int(row["fundingRateTimestamp"]))
        for row in payload["result"]["list"]
    ]
    assert rates(decode("bybit", payload)) == expected


def test_bybit_liquidations_of_old() -> None:
    for payload in payloads("bybit_liquidation_legacy.jsonl"):
        for order, event in zip(
            payload["data"] if isinstance(payload["data"], list) else [payload["data"]],
            decode("bybit", payload, legacy=LIQUIDATION),
            strict=True,
        ):
            assert isinstance(event, Liquidation)
            size, price = Decimal(str(order.get("qty") or order["size"])), Decimal(str(order["price"]))
            linear = order["symbol"].endswith("USDT")
            assert event.side is (Side.LONG if order["side"] == "Buy" else Side.SHORT)
            assert (event.instrument, event.price) == (order["symbol"], float(price))
            assert event.notional_usd == usd(size * price if linear else size)
            assert event.quantity == pytest.approx(float(size if linear else size / price))
            assert event.event_time_ms == (order.get("time") or order["updatedTime"])


def test_bybit_market_data_of_old() -> None:
    snapshots = 0
    for payload in payloads("bybit_tickers_legacy.jsonl"):
        events = decode("bybit", payload, legacy=OPEN_INTEREST)
        row = payload["data"]
        if "symbol" not in row:
            assert events == []  # the captured deltas have neither interest nor rate
            continue
        snapshots += 1
        at_ms = int(payload["timestamp_e6"]) // 1_000
        mark = int(row["mark_price_e4"]) / 10_000
        if "open_interest" in row:
            figures = (row["open_interest"] / 2 / mark, row["open_interest"] / 2)
        else:
            figures = (int(row["open_interest_e8"]) / 2e8, int(row["open_interest_e8"]) / 2e8 * mark)
        ((symbol, coins, dollars, got_ms),) = interests(events)
        assert (symbol, got_ms) == (row["symbol"], at_ms)
        assert (coins, dollars) == pytest.approx(figures)
        ((_, rate, hours, _, settled, _),) = rates(events)
        assert rate == pytest.approx(int(row["funding_rate_e6"]) / 1e6)
        assert (hours, settled) == (8.0, False)
    assert snapshots == 2
    (payload,) = payloads("bybit_openinterest_legacy.jsonl")
    expected = [(row["symbol"], None, row["open_interest"] / 2, row["timestamp"] * 1_000) for row in payload["result"]]
    assert interests(decode("bybit", payload, legacy=OPEN_INTEREST)) == expected


def test_okx_open_interest() -> None:
    sizes = {"BTC-USD": 100, "ETH-USD": 10}  # USD a contract
    for payload in payloads("okx_openinterest.jsonl"):
        expected = []
        for row in payload.get("data", [payload]):
            inverse = sizes.get("-".join(row["instId"].split("-")[:2]))
            dollars = row.get("oiUsd") or (inverse and float(row["oi"]) * inverse)
            figures = float(row["oiCcy"]), None if dollars is None else float(dollars)
            expected.append((row["instId"], *figures, int(row["ts"])))
        assert interests(decode("okx", payload)) == expected


def test_okx_funding() -> None:
    seen = 0
    for payload in payloads("okx_funding.jsonl"):
        expected: list[tuple[str, float, float, int | None, bool, int]] = []
        for row in payload.get("data", [payload]):
            if "realizedRate" in row:
                settlement = float(row["realizedRate"]), 8.0, None, True, int(row["fundingTime"])
                expected.append((row["instId"], *settlement))
            elif "fundingRate" in row:
                next_ms = int(row["fundingTime"])
                after_ms = int(row.get("nextFundingTime", next_ms + 8 * HOUR_MS))
                at_ms = int(row.get("ts", RECEIVED_MS))
                running = float(row["fundingRate"]), (after_ms - next_ms) / HOUR_MS, next_ms, False, at_ms
                expected.append((row["instId"], *running))
        assert rates(decode("okx", payload)) == expected
        seen += len(expected)
    assert seen == 6


def test_okx_liquidations_of_old() -> None:
    sizes = {"ETH-USD-210326": 10, "BTC-USD-220624": 100, "UNI-USD-SWAP": 10}  # USD a contract
    for payload in payloads("okx_liquidation_legacy.jsonl"):
        (row,) = payload["data"]
        (event,) = decode("okx", payload, legacy=LIQUIDATION)
        symbol = row.get("instrument_id") or payload["arg"]["instId"]
        dollars = Decimal(row.get("size") or row["sz"]) * sizes[symbol]
        price = Decimal(row.get("price") or row["bkPx"])
        at_ms = int(row["ts"]) if "ts" in row else round(datetime.fromisoformat(row["created_at"]).timestamp() * 1_000)
        assert (event.instrument, event.event_time_ms, event.price) == (symbol, at_ms, float(price))
        assert event.side is (Side.LONG if row.get("type") == "3" or row.get("posSide") == "long" else Side.SHORT)
        assert event.notional_usd == usd(dollars)
        assert event.quantity == pytest.approx(float(dollars / price))


def test_marks_of_the_captured_frames_are_learned() -> None:
    for payload in payloads("okx_markprice.jsonl"):
        adapter, marks = ADAPTERS["okx"], Marks()
        assert adapter.market_decoder is not None
        table = Instruments(adapter.exchange, shipped(adapter.exchange), adapter.instrument_rule)
        events = adapter.market_decoder(
            json.dumps(payload).encode(), received_time_us=RECEIVED_MS * 1_000, instruments=table, marks=marks
        )
        (row,) = payload["data"]
        assert events == []
        assert marks.get(row["instId"]) == Decimal(row["markPx"])


def test_control_frames_are_no_market_data() -> None:
    for line in (FRAMES / "control_frames.jsonl").read_text(encoding="utf-8").splitlines():
        captured = json.loads(line)
        body = json.dumps(captured["payload"]).encode()
        for name in ("binance", "bybit", "okx"):
            if ADAPTERS[name].control(body) is not None:
                assert decode(name, captured["payload"]) == []


def test_one_body_gives_both_kinds_to_whoever_asks() -> None:
    (payload, *_) = payloads("bybit_tickers_rest.jsonl")
    kinds = {OPEN_INTEREST: OpenInterest, FUNDING: Funding}
    assert [type(event) for event in decode("bybit", payload)] == list(kinds.values())
