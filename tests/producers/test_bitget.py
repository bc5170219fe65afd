"""What is particular to Bitget beyond whole events: requests, contracts, and captured bodies against figures worked out
here from the raw texts."""

import json
from decimal import Decimal
from typing import Any

import pytest

from producers.exchange import FUNDING, LIQUIDATION, OPEN_INTEREST, ControlKind
from producers.exchanges.bitget import ADAPTER, settled_window
from producers.exchanges.bitget.instruments import decode_instruments, is_dated
from producers.exchanges.bitget.market import decode_open_interest
from producers.instruments import Instruments, shipped
from producers.marks import Marks
from schemas.errors import FrameRefused
from schemas.records import Funding, OpenInterest
from schemas.words import Exchange, Market, Side
from tests.producers.test_captured_frames import FRAMES, figures, payloads, usd

captured = pytest.mark.skipif(
    not FRAMES.is_dir(), reason=f"captured frames are not at {FRAMES}; set LIQCASCADE_REAL_DATA to their folder"
)
TABLE = Instruments(Exchange.BITGET, shipped(Exchange.BITGET), ADAPTER.instrument_rule)


def market(payload: Any, *, legacy: str | None = None) -> list[Any]:
    decoder: Any = ADAPTER.market_decoder
    if legacy is not None:
        (decoder,) = (each.decode for each in ADAPTER.legacy if each.kind == legacy)
    body = json.dumps(payload).encode()
    events: list[Any] = decoder(body, received_time_us=0, instruments=TABLE, marks=Marks())
    return events


def test_one_request_has_every_product_line_and_the_pulse() -> None:
    (connection,) = ADAPTER.connections
    assert connection.pulse is not None
    (request,) = connection.subscribe([connection.pulse, *connection.topics([])])
    arguments = json.loads(request.frame)["args"]
    assert request.acks == len(arguments) == 4
    assert arguments[0] == {"instType": "usdt-futures", "topic": "ticker", "symbol": "BTCUSDT"}
    lines = ["usdt-futures", "usdc-futures", "coin-futures"]
    assert arguments[1:] == [{"instType": line, "topic": "liquidation"} for line in lines]


@pytest.mark.parametrize(("hours", "rows"), [(0, 1), (2, 3), (24, 25), (1_000, 100)])
def test_history_is_asked_for_as_many_rows_as_it_has_hours(hours: int, rows: int) -> None:
    assert settled_window(0, hours * 3_600_000) == {"pageSize": rows}


def test_refused_line_is_named_and_texts_are_understood() -> None:
    refused = ADAPTER.control(
        b'{"event":"error","arg":{"instType":"coin-futures","topic":"liquidation"},"code":"30001","msg":"no"}'
    )
    assert refused is not None
    assert (refused.kind, refused.detail, refused.topic) == (ControlKind.REFUSED, "30001 no", "coin-futures")
    pong = ADAPTER.control(b"pong")
    assert pong is not None
    assert pong.kind is ControlKind.PONG


@pytest.mark.parametrize(
    ("symbol", "asset", "market_of", "size", "dated"),
    [
        ("BTCUSDT", "BTC", Market.USDT, "1", False),
        ("1000BONKPERP", "BONK", Market.USDC, "1000", False),
        ("4USDT", "4", Market.USDT, "1", False),
        ("龙虾USDT", "龙虾", Market.USDT, "1", False),
        ("BTCUSD_CM", "BTC", Market.USD, "1", False),
        ("BTCUSD", "BTC", Market.USD, "1", False),
        ("BTCUSDZ24", "BTC", Market.USD, "1", True),
        ("ETHUSD_231229", "ETH", Market.USD, "1", True),
        ("BTCUSDTZ26", "BTC", Market.USDT, "1", True),
    ],
)
def test_symbol_that_no_table_has(symbol: str, asset: str, market_of: Market, size: str, dated: bool) -> None:
    instrument = ADAPTER.instrument_rule(symbol)
    assert instrument is not None
    assert (instrument.asset, instrument.market, instrument.contract_size) == (asset, market_of, Decimal(size))
    assert instrument.inverse is (market_of is Market.USD)
    assert is_dated(symbol) is dated


@pytest.mark.parametrize("symbol", ["BGTESTMEUSDT", "btcusdt", "BTC", "USDT"])
def test_symbol_that_is_none(symbol: str) -> None:
    assert ADAPTER.instrument_rule(symbol) is None


def test_list_of_instruments() -> None:
    def row(symbol: str, category: str, base: str, quote: str, status: str = "online") -> dict[str, str]:
        return {"symbol": symbol, "category": category, "baseCoin": base, "quoteCoin": quote, "status": status}

    rows = [
        row("1000BONKPERP", "USDC-FUTURES", "1000BONK", "USDC"),
        row("BTCUSD_CM", "COIN-FUTURES", "BTC", "USD"),
        row("BGTESTMEUSDT", "USDT-FUTURES", "BGTESTME", "USDT"),
        row("OLDUSDT", "USDT-FUTURES", "OLD", "USDT", "off"),
        row("BTCEUR", "USDT-FUTURES", "BTC", "EUR"),
    ]
    found = decode_instruments(json.dumps({"code": "00000", "data": rows}).encode()).instruments
    assert list(found) == [ADAPTER.instrument_rule("1000BONKPERP"), ADAPTER.instrument_rule("BTCUSD_CM")]
    with pytest.raises(FrameRefused, match="40034"):
        decode_instruments(b'{"code":"40034","msg":"Parameter does not exist","data":null}')


def test_polls_cover_every_market_and_tickers_bring_no_rates() -> None:
    """current-fund-rate says more than the tickers: interval and next time."""
    asked = {(poll.path.rpartition("/")[2], *poll.params.values()) for poll in ADAPTER.polls if not poll.settled}
    lines = ("USDT-FUTURES", "USDC-FUTURES", "COIN-FUTURES")
    assert asked == {(call, line) for call in ("tickers", "current-fund-rate") for line in lines}
    assert all(poll.decode is decode_open_interest for poll in ADAPTER.polls if poll.path.endswith("tickers"))
    (coin,) = (poll for poll in ADAPTER.polls if poll.params == {"category": "COIN-FUTURES"} and poll.per_instrument)
    assert [row.instrument for row in TABLE.values() if coin.wants(row)] == ["BTCUSD_CM", "ETHUSD_CM"]


@captured
def test_captured_liquidation() -> None:
    for payload in payloads("bitget_liquidation.jsonl"):
        frame = json.dumps(payload).encode()
        events = ADAPTER.decoders[LIQUIDATION](frame, received_time_us=0, instruments=TABLE)
        expected = [
            (
                row["symbol"],
                Side.LONG if row["side"] == "buy" else Side.SHORT,
                float(Decimal(row["amount"]) / Decimal(row["price"])),
                float(row["price"]),
                usd(Decimal(row["amount"])),
                int(row["ts"]),
            )
            for row in payload["data"]
        ]
        assert [figures(event) for event in events] == expected


@captured
def test_captured_tickers() -> None:
    of_websocket = [
        payload["data"][0] | {"ts": payload["data"][0].get("ts", str(payload["ts"])), "payload": payload}
        for payload in payloads("bitget_tickers.jsonl")
    ]
    of_rest = [row | {"payload": row} for row in payloads("bitget_tickers_rest.jsonl")]
    assert len(of_websocket + of_rest) == 4
    for row in of_websocket + of_rest:
        interest, rate = market(row["payload"])
        coins = Decimal(row.get("openInterest") or row["holdingAmount"])
        assert isinstance(interest, OpenInterest)
        assert interest.open_interest == float(coins)
        assert interest.open_interest_usd == float(coins * Decimal(row["markPrice"]))
        assert interest.event_time_ms == rate.event_time_ms == int(row["ts"])
        assert isinstance(rate, Funding)
        assert rate.rate == rate.rate_8h == float(row["fundingRate"])
        assert rate.next_funding_time_ms == (int(row["nextFundingTime"]) if "nextFundingTime" in row else None)


@captured
def test_captured_rates() -> None:
    for row in payloads("bitget_funding.jsonl"):
        found = [(each.instrument, each.rate, each.interval_hours, each.next_funding_time_ms) for each in market(row)]
        expected = [(row["symbol"], float(row["fundingRate"]), 8.0, int(row["nextUpdate"]))]
        assert found == ([] if row["symbol"] == "BGTESTMEUSDT" else expected)


@captured
def test_captured_bodies_of_the_first_api() -> None:
    for payload in payloads("bitget_tickers_legacy.jsonl"):
        events = market(payload, legacy=OPEN_INTEREST)
        row = payload["data"][0]
        if payload["arg"]["instType"] == "sp":
            assert events == []
            continue
        interest, rate = events
        assert interest.open_interest == float(row["holding"])
        assert interest.open_interest_usd == float(Decimal(row["holding"]) * Decimal(row["markPrice"]))
        assert (rate.rate, rate.next_funding_time_ms) == (float(row["capitalRate"]), row["nextSettleTime"])
        assert interest.event_time_ms == rate.event_time_ms == row["systemTime"]
    (payload,) = payloads("bitget_funding_legacy.jsonl")
    (rate,) = market(payload, legacy=FUNDING)
    assert (rate.instrument, rate.market, rate.rate) == ("BTCUSD", Market.USD, 0.000258514264)
    assert rate.next_funding_time_ms == 1_617_346_800_000
