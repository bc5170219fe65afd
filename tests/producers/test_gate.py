"""What is particular to Gate.io beyond whole events: requests, contracts, and captured bodies against figures worked
out here from the raw texts."""

import json
from decimal import Decimal
from typing import Any

import pytest

from producers.exchange import LIQUIDATION, ControlKind
from producers.exchanges.gate import ADAPTER, orders_window
from producers.exchanges.gate.instruments import contract, decode_contracts
from producers.instruments import Instruments, shipped
from producers.marks import Marks
from schemas.errors import FrameRefused
from schemas.records import Funding, Liquidation, OpenInterest
from schemas.words import Exchange, Market, Side
from tests.producers.test_captured_frames import FRAMES, figures, payloads, usd

captured = pytest.mark.skipif(
    not FRAMES.is_dir(), reason=f"captured frames are not at {FRAMES}; set LIQCASCADE_REAL_DATA to their folder"
)
SIZES = {"HEI_USDT": "10", "LAB_USDT": "100"}  # not known: any size will do, as the same one is expected


def table(payload: Any = ()) -> Instruments:
    """The shipped table and every contract of the payload that is not in it, of one coin (SIZES: of more)."""
    known = {row.instrument: row for row in shipped(Exchange.GATE)}
    rows = payload.get("result", payload) if isinstance(payload, dict) else payload
    for row in rows if isinstance(rows, list) else [rows]:
        symbol = row.get("contract") if isinstance(row, dict) else None
        if symbol and symbol.endswith("_USDT") and symbol not in known:
            found = contract(symbol, SIZES.get(symbol, "1"))
            assert found is not None
            known[symbol] = found
    return Instruments(Exchange.GATE, known.values(), ADAPTER.instrument_rule)


def decode(payload: Any) -> list[Liquidation]:
    frame = json.dumps(payload, ensure_ascii=False).encode()
    return ADAPTER.decoders[LIQUIDATION](frame, received_time_us=0, instruments=table(payload))


def market(payload: Any, received_time_us: int = 0) -> list[Any]:
    assert ADAPTER.market_decoder is not None
    body = json.dumps(payload, ensure_ascii=False).encode()
    return [*ADAPTER.market_decoder(body, received_time_us=received_time_us, instruments=table(payload), marks=Marks())]


def test_every_address_has_its_own_pulse_and_decimal_sizes() -> None:
    for connection, pulse in zip(ADAPTER.connections, ("BTC_USDT", "BTC_USD"), strict=True):
        assert connection.headers == {"X-Gate-Size-Decimal": "1"}
        assert connection.pulse is not None
        requests = connection.subscribe([connection.pulse, *connection.topics([])])
        ticker, all_liquidations = (json.loads(request.at(1_791_400_000)) for request in requests)
        assert ticker == {
            "time": 1_791_400_000, "channel": "futures.tickers", "event": "subscribe", "payload": [pulse]
        }  # fmt: skip
        assert all_liquidations["payload"] == ["!all"]
        assert all_liquidations["time"] == 1_791_400_000


def test_refused_channel_is_named() -> None:
    refused = ADAPTER.control(
        b'{"channel":"futures.public_liquidates","event":"subscribe","error":{"code":2,"message":"m"},"result":null}'
    )
    assert refused is not None
    assert (refused.kind, refused.detail, refused.topic) == (ControlKind.REFUSED, "2 m", "futures.public_liquidates")
    pong = ADAPTER.control(b'{"time":1,"channel":"futures.pong","event":"","result":null}')
    assert pong is not None
    assert pong.kind is ControlKind.PONG


def test_window_of_the_witness_is_an_hour_at_most() -> None:
    assert orders_window(0, 10_000_000) == {"from": 6_400, "to": 10_000, "limit": 1_000}
    assert orders_window(9_000_000, 10_000_000) == {"from": 9_000, "to": 10_000, "limit": 1_000}


def test_settled_rates_are_asked_of_perpetual_contracts_of_their_settlement() -> None:
    usdt, btc = (poll for poll in ADAPTER.polls if poll.settled)
    listed = [*shipped(Exchange.GATE), contract("BTC_USDT_20261225", "0.0001"), contract("BTC_USD_20261225", "0")]
    asked = [[row.instrument for row in listed if row is not None and poll.wants(row)] for poll in (usdt, btc)]
    assert asked == [[row.instrument for row in shipped(Exchange.GATE) if row.market is Market.USDT], ["BTC_USD"]]


@pytest.mark.parametrize(
    ("name", "multiplier", "expected"),
    [
        ("BTC_USDT", "0.0001", ("BTC", Market.USDT, "0.0001", False)),
        ("1000BONK_USDT", "10", ("BONK", Market.USDT, "10000", False)),
        ("龙虾_USDT", 10, ("龙虾", Market.USDT, "10", False)),
        ("BTC_USD1", "0.0001", ("BTC", Market.OTHER, "0.0001", False)),
        ("BTC_USD", "0", ("BTC", Market.USD, "1", True)),
        ("ETC_USD", "0.0001", None),
        ("ETC_USD", "0", None),
        ("ETC_BTC", "1", None),
        ("ETC_USDT", "-1", None),
    ],
)
def test_contract_by_its_multiplier(name: str, multiplier: str, expected: tuple[Any, ...] | None) -> None:
    found = contract(name, multiplier)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert (found.asset, found.market, str(found.contract_size), found.inverse) == expected


def test_list_of_contracts_leaves_out_what_has_no_size() -> None:
    rows = [
        {"name": "BTC_USDT", "quanto_multiplier": "0.0001", "status": "trading"},
        {"name": "OLD_USDT", "quanto_multiplier": "1", "status": "delisted"},
        {"name": "ETC_USD", "quanto_multiplier": "0.0001"},
    ]
    assert [row.instrument for row in decode_contracts(json.dumps(rows).encode()).instruments] == ["BTC_USDT"]
    with pytest.raises(FrameRefused, match="contracts"):
        decode_contracts(b'{"label":"TOO_MANY_REQUESTS"}')


def test_price_for_a_thousand_coins_becomes_one_for_a_coin() -> None:
    bonk = contract("1000BONK_USDT", "10")
    assert bonk is not None
    frame = (
        b'{"channel":"futures.public_liquidates","event":"update","result":'
        b'{"contract":"1000BONK_USDT","price":"0.02","size":"-30","time":1791400000123}}'
    )
    (event,) = ADAPTER.decoders[LIQUIDATION](
        frame, received_time_us=0, instruments=Instruments(Exchange.GATE, [bonk], ADAPTER.instrument_rule)
    )
    assert (event.asset, event.price, event.quantity, event.notional_usd) == ("BONK", 0.00002, 300_000.0, 6.0)


@captured
def test_captured_frames() -> None:
    sizes = {row.instrument: row.contract_size for row in shipped(Exchange.GATE)}
    sizes |= {symbol: Decimal(size) for symbol, size in SIZES.items()}
    for payload in payloads("gate_liquidation.jsonl"):
        result = payload["result"]
        expected = []
        for row in result if isinstance(result, list) else [result]:
            coins, price = abs(row["size"]) * sizes[row["contract"]], Decimal(row["price"])
            side = Side.LONG if row["size"] < 0 else Side.SHORT
            expected.append((row["contract"], side, float(coins), float(price), usd(coins * price), row["time"]))
        assert [figures(event) for event in decode(payload)] == expected
        assert market(payload) == []


@captured
def test_captured_rows_of_the_witness() -> None:
    """The physics of the side: the order of a long (sold) is limited below its fill, of a short (bought) above."""
    rows = payloads("gate_liq_orders_rest.jsonl")
    instruments = table(rows)
    for row in rows:
        (event,) = decode(row)
        coins = abs(Decimal(row["order_size"])) * instruments[row["contract"]].contract_size
        price = Decimal(row["fill_price"])
        side = Side.LONG if Decimal(row["order_price"]) <= price else Side.SHORT
        assert figures(event) == (
            row["contract"], side, float(coins), float(price), usd(coins * price), row["time"] * 1_000,
        )  # fmt: skip
    assert len(decode(rows)) == len(rows) == 21


@captured
def test_captured_contracts_and_tickers_agree_on_what_is_open() -> None:
    by_contract = {row["name"]: market(row) for row in payloads("gate_contracts_rest.jsonl")}
    by_ticker = {row["contract"]: market(row) for row in payloads("gate_tickers_rest.jsonl")}
    assert by_contract.keys() == by_ticker.keys()
    for row in payloads("gate_contracts_rest.jsonl"):
        interest, rate = by_contract[row["name"]]
        coins = Decimal(row["position_size"]) * Decimal(row["quanto_multiplier"])
        assert isinstance(interest, OpenInterest)
        assert interest.open_interest == float(coins) == by_ticker[row["name"]][0].open_interest
        assert interest.open_interest_usd == float(coins * Decimal(row["mark_price"]))
        assert isinstance(rate, Funding)
        assert (rate.rate, rate.interval_hours) == (float(row["funding_rate"]), row["funding_interval"] / 3_600)
        assert rate.rate_8h == pytest.approx(rate.rate * 8 / rate.interval_hours)
        assert rate.next_funding_time_ms == row["funding_next_apply"] * 1_000


@captured
def test_captured_tickers_of_the_websocket() -> None:
    for payload in payloads("gate_tickers.jsonl"):
        rows = payload["result"] if isinstance(payload["result"], list) else [payload["result"]]
        row = rows[-1]
        if row["contract"].startswith("ETC_USD"):  # a quanto contract: its size in coins moves
            with pytest.raises(FrameRefused, match="ETC_USD"):
                market(payload)
            continue
        events = market(payload)
        assert [type(event) for event in events] == [OpenInterest, Funding][: 1 + ("funding_rate" in row)]
        dollars = Decimal(row["total_size"]) / 2
        assert events[0].open_interest_usd == float(dollars)
        assert events[0].open_interest == pytest.approx(float(dollars / Decimal(row["mark_price"])))
        assert events[0].event_time_ms == payload["time"] * 1_000


@captured
def test_captured_statistics_name_no_contract() -> None:
    for payload in payloads("gate_contract_stats.jsonl"):
        with pytest.raises(FrameRefused, match="names no contract"):
            market(payload)
