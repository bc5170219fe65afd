"""What Binance, Bybit and OKX are asked for: topics, lists of contracts, pages and spans."""

import json
from typing import Any

import pytest

from producers.exchange import FUNDING, OPEN_INTEREST, Connection, ExchangeAdapter, InstrumentPage
from producers.exchanges import ADAPTERS
from producers.exchanges.binance.market import SETTLED_ROWS_MAX, next_settled_page
from producers.instruments import Instrument, shipped
from schemas.errors import FrameRefused
from schemas.words import Exchange, Market

THREE = ("binance", "bybit", "okx")


def listed(name: str) -> list[Instrument]:
    return shipped(Exchange(name))


def page(name: str, answer: dict[str, Any], place: int = 0) -> InstrumentPage:
    return ADAPTERS[name].instrument_sources[place].decode(json.dumps(answer).encode())


def described(found: InstrumentPage) -> list[tuple[str, str, Market, int, bool]]:
    return [(row.instrument, row.asset, row.market, int(row.contract_size), row.inverse) for row in found.instruments]


def requests(connection: Connection, topics: list[str]) -> list[Any]:
    return [json.loads(each.frame) for each in connection.subscribe(topics)]


def test_one_binance_connection_carries_both_margins_so_that_nothing_counts_twice() -> None:
    (connection,) = ADAPTERS["binance"].connections
    assert connection.path.startswith("/market/")
    topics = connection.topics(listed("binance"))
    assert topics == ["!forceOrder@arr"]
    assert requests(connection, [*topics, str(connection.pulse)])[0]["params"] == [*topics, "btcusdt@markPrice"]


def test_bybit_subscribes_linear_and_inverse_at_their_own_addresses() -> None:
    linear, inverse = ADAPTERS["bybit"].connections
    assert (linear.path, inverse.path) == ("/v5/public/linear", "/v5/public/inverse")
    assert "allLiquidation.BTCUSD" in inverse.topics(listed("bybit"))
    assert "allLiquidation.BTCUSDT" in linear.topics(listed("bybit"))
    assert not set(linear.topics(listed("bybit"))).intersection(inverse.topics(listed("bybit")))


def test_okx_subscribes_both_types_and_the_pulse_with_an_ack_each() -> None:
    (connection,) = ADAPTERS["okx"].connections
    topics = [*connection.topics(listed("okx")), str(connection.pulse)]
    assert requests(connection, topics)[0]["args"] == [
        {"channel": "liquidation-orders", "instType": "SWAP"},
        {"channel": "liquidation-orders", "instType": "FUTURES"},
        {"channel": "mark-price", "instId": "BTC-USDT-SWAP"},
    ]
    assert sum(each.acks for each in connection.subscribe(topics)) == 3


@pytest.mark.parametrize("adapter", [ADAPTERS[name] for name in THREE], ids=THREE)
class TestPolls:
    def test_both_kinds_are_polled_and_settled_rates_asked_for_by_a_span(self, adapter: ExchangeAdapter) -> None:
        assert {kind for poll in adapter.polls for kind in poll.kinds} == {OPEN_INTEREST, FUNDING}
        settled = [poll for poll in adapter.polls if poll.settled]
        assert settled
        for poll in settled:
            assert poll.kinds == (FUNDING,)
            assert poll.window_params is not None
            span = poll.window_params(1_791_300_000_000, 1_791_400_000_000)
            assert 1_791_300_000_000 - 1 in span.values() or 1_791_300_000_000 in span.values()

    def test_every_contract_is_asked_for_at_most_once_a_round(self, adapter: ExchangeAdapter) -> None:
        rows = listed(adapter.exchange.value)
        for kind, settled in ((OPEN_INTEREST, False), (FUNDING, True)):
            polls = [
                each for each in adapter.polls if each.per_instrument and kind in each.kinds and each.settled is settled
            ]
            asked = [row.instrument for poll in polls for row in rows if poll.wants(row)]
            assert len(asked) == len(set(asked))

    def test_calls_of_600_linear_and_60_inverse_contracts_fit_the_budget(self, adapter: ExchangeAdapter) -> None:
        linear = next(row for row in listed(adapter.exchange.value) if not row.inverse)
        weight_per_ms = sum(
            poll.weight * (1 if not poll.per_instrument else 600 if poll.wants(linear) else 60) / poll.interval_ms
            for poll in adapter.polls
        )
        assert weight_per_ms <= adapter.budget.weight_max / adapter.budget.window_ms


def test_dated_contracts_are_not_asked_for_their_funding() -> None:
    dated = {
        "binance": ["BTCUSD_261225"],
        "bybit": ["BTCUSDZ26", "BTCUSDT-25DEC26", "BTC-25DEC26"],
        "okx": ["BTC-USD-261225"],
    }
    perpetual = {"binance": ["BTCUSD_PERP"], "bybit": ["BTCUSD", "BTCUSDT", "BTCPERP"], "okx": ["BTC-USD-SWAP"]}
    for name in THREE:
        adapter = ADAPTERS[name]
        polls = [poll for poll in adapter.polls if poll.settled and poll.per_instrument]
        for symbols, asked in ((dated[name], False), (perpetual[name], True)):
            for symbol in symbols:
                instrument = adapter.instrument_rule(symbol)
                assert instrument is not None
                assert any(poll.wants(instrument) for poll in polls) is asked


def test_pages_of_settled_rates_go_on_at_the_last_settlement() -> None:
    def rows(first_ms: int, last_ms: int, count: int) -> bytes:
        times = [first_ms] * (count - 1) + [last_ms]
        return json.dumps([{"symbol": "BTCUSDT", "fundingTime": at, "fundingRate": "0"} for at in times]).encode()

    assert next_settled_page(rows(1, 7, SETTLED_ROWS_MAX)) == {"startTime": 7}
    assert next_settled_page(rows(7, 7, SETTLED_ROWS_MAX)) == {"startTime": 8}
    assert next_settled_page(rows(1, 7, SETTLED_ROWS_MAX - 1)) is None
    assert next_settled_page(b"<html>") is next_settled_page(b"[]") is None


def test_binance_lists_what_has_positions() -> None:
    def usd_margined(symbol: str, status: str) -> dict[str, str]:
        base = symbol.removesuffix("USDT")
        return {"symbol": symbol, "baseAsset": base, "quoteAsset": "USDT", "marginAsset": "USDT", "status": status}

    rows = [
        usd_margined("1000PEPEUSDT", "TRADING"),
        usd_margined("OLDUSDT", "SETTLING"),
        usd_margined("BTCUSDT", "PRE_SETTLE"),
    ]
    assert [row.instrument for row in page("binance", {"symbols": rows}).instruments] == ["1000PEPEUSDT", "BTCUSDT"]
    coin = {"symbol": "ETHUSD_PERP", "baseAsset": "ETH", "quoteAsset": "USD", "marginAsset": "ETH", "contractSize": 10}
    old = coin | {"symbol": "ETHUSD_260327", "contractStatus": "DELIVERED"}
    found = page("binance", {"symbols": [coin | {"contractStatus": "TRADING"}, old]}, 1)
    assert described(found) == [("ETHUSD_PERP", "ETH", Market.USD, 10, True)]


def test_bybit_lists_inverse_contracts_of_one_usd() -> None:
    row = {"symbol": "BTCUSDZ26", "status": "Trading", "baseCoin": "BTC", "quoteCoin": "USD", "settleCoin": "BTC"}
    closed = row | {"symbol": "BTCUSDU26", "status": "Closed"}
    found = page("bybit", {"retCode": 0, "retMsg": "OK", "result": {"category": "inverse", "list": [row, closed]}}, 1)
    assert described(found) == [("BTCUSDZ26", "BTC", Market.USD, 1, True)]
    assert ADAPTERS["bybit"].instrument_rule("BTCUSDZ26") == found.instruments[0]


def test_okx_lists_swaps_futures_and_x_perps() -> None:
    base = {"ctType": "linear", "ctVal": "0.5", "ctMult": "2", "ctValCcy": "BTC", "settleCcy": "USDT"}
    rows = [
        base | {"instId": "BTC-USDT-261225"},
        base | {"instId": "BTC-USD_UM_XPERP-310404", "settleCcy": "USD"},
        base | {"instId": "BTC-USD-261225", "ctType": "inverse", "ctVal": "100", "ctMult": "1", "ctValCcy": "USD"},
        base | {"instId": "BTC-EUR-SWAP", "settleCcy": "EUR"},
        base | {"instId": "BAD-USDT-SWAP", "ctVal": ""},
    ]
    assert described(page("okx", {"code": "0", "data": rows}, 1)) == [
        ("BTC-USDT-261225", "BTC", Market.USDT, 1, False),
        ("BTC-USD_UM_XPERP-310404", "BTC", Market.OTHER, 1, False),
        ("BTC-USD-261225", "BTC", Market.USD, 100, True),
    ]
    with pytest.raises(FrameRefused, match="50011"):
        page("okx", {"code": "50011", "msg": "Too Many Requests"})


@pytest.mark.parametrize(
    ("symbol", "size"), [("BTC-USD-SWAP", 100), ("ETH-USD-261225", 10), ("BTC-USDT-SWAP", None), ("BTC-USD", None),
                         ("BTC-USD_UM_XPERP-310404", None), ("BTC-USD-261225-80000-C", None)],
)  # fmt: skip
def test_okx_sizes_are_told_from_symbols_of_inverse_contracts_alone(symbol: str, size: int | None) -> None:
    instrument = ADAPTERS["okx"].instrument_rule(symbol)
    assert (None if instrument is None else int(instrument.contract_size)) == size
