"""What is particular to Hyperliquid beyond whole events: requests, names, ids that are the same from every view, and
captured bodies against figures worked out here from the raw texts."""

import json
from decimal import Decimal
from typing import Any

import pytest

from producers.exchange import LIQUIDATION, ControlKind
from producers.exchanges.hyperliquid import ADAPTER
from producers.exchanges.hyperliquid.instruments import decode_meta
from producers.exchanges.hyperliquid.liquidations import LIQUIDATORS
from producers.instruments import Instruments, shipped
from producers.marks import Marks
from schemas.errors import FrameRefused, UnknownInstrument
from schemas.records import Funding, Liquidation, OpenInterest
from schemas.words import Completeness, Exchange, Market, Side
from tests.producers.test_captured_frames import FRAMES, figures, payloads, usd

captured = pytest.mark.skipif(
    not FRAMES.is_dir(), reason=f"captured frames are not at {FRAMES}; set LIQCASCADE_REAL_DATA to their folder"
)
TABLE = Instruments(Exchange.HYPERLIQUID, shipped(Exchange.HYPERLIQUID), ADAPTER.instrument_rule)
USER, MAKER, TIME_MS = "0x" + "a" * 40, "0x" + "b" * 40, 1_791_400_000_123


def decode(payload: Any) -> list[Liquidation]:
    return ADAPTER.decoders[LIQUIDATION](json.dumps(payload).encode(), received_time_us=0, instruments=TABLE)


def market(payload: Any, received_time_us: int = 0) -> list[Any]:
    assert ADAPTER.market_decoder is not None
    body = json.dumps(payload).encode()
    return [*ADAPTER.market_decoder(body, received_time_us=received_time_us, instruments=TABLE, marks=Marks())]


def test_requests_for_liquidators_coins_and_the_pulse() -> None:
    (connection,) = ADAPTER.connections
    topics = connection.topics([TABLE["BTC"], TABLE["kPEPE"]])
    assert connection.pulse is not None
    requests = connection.subscribe([connection.pulse, *topics])
    wanted = [json.loads(request.frame)["subscription"] for request in requests]
    assert wanted == [
        {"type": "activeAssetCtx", "coin": "BTC"},
        *({"type": "userFills", "user": address} for address in LIQUIDATORS),
        {"type": "trades", "coin": "BTC"},
        {"type": "trades", "coin": "kPEPE"},
    ]
    assert all(request.acks == 1 for request in requests)


@pytest.mark.parametrize("request_of", ['{"type":"trades","coin":"NOSUCH"}', '{"type": "trades", "coin": "NOSUCH"}'])
def test_refused_coin_is_named(request_of: str) -> None:
    frame = json.dumps({"channel": "error", "data": f"Invalid subscription {request_of}"}).encode()
    refused = ADAPTER.control(frame)
    assert refused is not None
    assert (refused.kind, refused.topic) == (ControlKind.REFUSED, "NOSUCH")


def test_a_trade_that_has_the_word_error_in_it_is_data() -> None:
    assert ADAPTER.control(b'{"channel":"trades","data":[{"coin":"error"}]}') is None


@pytest.mark.parametrize(
    ("coin", "asset", "market_of", "size"),
    [
        ("BTC", "BTC", Market.USDC, 1),
        ("kNEIRO", "NEIRO", Market.USDC, 1_000),
        ("kas", None, None, 0),
        ("0G", "0G", Market.USDC, 1),
        ("xyz:TSLA", "TSLA", Market.USDC, 1),
        ("flx:COPPER", "COPPER", Market.OTHER, 1),
        ("@107", None, None, 0),
        ("PURR/USDC", None, None, 0),
        ("BTC:ETH", None, None, 0),
        ("xyz:a:B", None, None, 0),
        (":BTC", None, None, 0),
        ("BTC:", None, None, 0),
    ],
)
def test_name_that_no_table_has(coin: str, asset: str | None, market_of: Market | None, size: int) -> None:
    if asset is None:
        with pytest.raises(UnknownInstrument):
            TABLE[coin]
    else:
        instrument = TABLE[coin]
        assert (instrument.asset, instrument.market) == (asset, market_of)
        assert instrument.contract_size == size
        assert not instrument.inverse


def test_list_leaves_out_what_is_delisted() -> None:
    universe = [{"name": "BTC", "szDecimals": 5}, {"name": "OLD", "isDelisted": True}, {"name": "kPEPE"}]
    page = decode_meta(json.dumps({"universe": universe, "marginTables": []}).encode())
    assert list(page.instruments) == [TABLE["BTC"], TABLE["kPEPE"]]
    with pytest.raises(FrameRefused, match="meta"):
        decode_meta(b"null")


def test_views_of_one_liquidation_have_one_id_and_side() -> None:
    """Trades name the liquidator; its fills, the user's own and a block's both say the same, in part or whole."""
    vault = LIQUIDATORS[1]
    trades = [
        {"coin": "BTC", "side": "A", "px": "80000.0", "sz": size, "time": TIME_MS, "tid": tid, "users": [vault, USER]}
        for tid, size in enumerate(("0.1", "0.2"))
    ]
    marker = {"liquidatedUser": USER, "markPx": "80100.0", "method": "backstop"}

    def fill(tid: int, side: str) -> dict[str, Any]:
        row = {key: value for key, value in trades[tid].items() if key != "users"}
        return row | {"side": side, "dir": "Liquidated Cross Long", "crossed": True, "liquidation": marker}

    views = [
        {"channel": "trades", "data": trades},
        {"channel": "userFills", "data": {"user": vault, "fills": [fill(0, "B"), fill(1, "B")]}},
        {"channel": "userFills", "data": {"user": USER, "fills": [fill(0, "A"), fill(1, "A")]}},
        {"events": [[USER, fill(0, "A")], [vault, fill(0, "B")], [vault, fill(1, "B")], [USER, fill(1, "A")]]},
    ]
    events = [event for view in views for event in decode(view)]
    assert len(events) == len(views)
    assert len(set(events)) == 1
    assert events[0].side is Side.LONG
    assert events[0].quantity == 0.3
    (part,) = decode({"channel": "trades", "data": trades[1:]})
    assert part.event_id == events[0].event_id


def test_liquidated_user_of_the_maker_is_seen_from_the_other_side() -> None:
    for side, expected in (("A", Side.SHORT), ("B", Side.LONG)):
        row = {
            "coin": "ETH", "px": "2500", "sz": "1", "side": side, "time": TIME_MS, "tid": 1, "crossed": False,
            "dir": "Open Short" if side == "A" else "Open Long",
            "liquidation": {"liquidatedUser": USER, "markPx": "2500", "method": "market"},
        }  # fmt: skip
        for frame in (
            {"channel": "userFills", "data": {"user": MAKER, "fills": [row]}},
            {"channel": "user", "data": {"fills": [row]}},
        ):
            assert [event.side for event in decode(frame)] == [expected]


def test_next_settlement_is_the_next_full_hour() -> None:
    context = {"funding": "0.0000125", "openInterest": "1", "markPx": "80000"}
    frame = {"channel": "activeAssetCtx", "data": {"coin": "BTC", "ctx": context}}
    for received_ms, expected_ms in ((1_791_399_600_000, 1_791_403_200_000), (1_791_403_199_999, 1_791_403_200_000)):
        rate = market(frame, received_ms * 1_000)[1]
        assert rate.next_funding_time_ms == expected_ms


def test_perpetual_of_another_deployer() -> None:
    context = {"funding": "0.00000625", "openInterest": "250", "markPx": "324", "midPx": None}
    interest, rate = market({"channel": "activeAssetCtx", "data": {"coin": "xyz:AAPL", "ctx": context}})
    assert (interest.asset, interest.instrument, interest.open_interest_usd) == ("AAPL", "xyz:AAPL", 81_000.0)
    assert rate.rate_8h == 0.00005


@captured
def test_captured_fills() -> None:
    """The comments of the capture say what each is: two liquidations, a deleveraging, ordinary ones."""
    expected = {0: Side.SHORT, 1: Side.LONG}
    found = payloads("hyperliquid_fills_liquidation.jsonl")
    assert len(found) == 7
    for place, payload in enumerate(found):
        events = decode(payload)
        if place not in expected:
            assert events == []
            continue
        fill = payload["data"]["fills"][0] if "data" in payload else payload
        coins, price = Decimal(fill["sz"]), Decimal(fill["px"])
        side, dollars = expected[place], usd(coins * price)
        assert [figures(each) for each in events] == [
            (fill["coin"], side, float(coins), float(price), dollars, fill["time"])
        ]
        assert events[0].completeness is Completeness.INFERRED
        above = price > Decimal(fill["liquidation"]["markPx"])  # a short is bought above mark, a long sold below
        assert above is (side is Side.SHORT)


@captured
def test_captured_trades_are_ordinary() -> None:
    found = payloads("hyperliquid_trades.jsonl")
    assert [decode(payload) for payload in found] == [[]] * len(found)


def test_next_hour_is_told_only_where_the_time_is() -> None:
    context = {"coin": "BTC", "ctx": {"funding": "0.0001", "openInterest": "1", "markPx": "2"}}
    frame = {"channel": "activeAssetCtx", "data": context}
    assert market(frame, TIME_MS * 1_000)[1].next_funding_time_ms == (TIME_MS // 3_600_000 + 1) * 3_600_000
    assert market(frame, 0)[1].next_funding_time_ms is None


@captured
def test_captured_contexts_and_history() -> None:
    for payload in payloads("hyperliquid_ctx.jsonl"):
        interest, rate = market(payload, TIME_MS * 1_000)
        context = payload["data"]["ctx"]
        assert isinstance(interest, OpenInterest)
        assert interest.open_interest == float(context["openInterest"])
        assert interest.open_interest_usd == float(Decimal(context["openInterest"]) * Decimal(context["markPx"]))
        assert isinstance(rate, Funding)
        assert (rate.rate, rate.interval_hours) == (float(context["funding"]), 1.0)
        assert rate.rate_8h == pytest.approx(8 * rate.rate)
    for rows in payloads("hyperliquid_funding.jsonl"):
        events = market(rows)
        assert [(each.rate, each.event_time_ms) for each in events] == [
            (float(row["fundingRate"]), row["time"]) for row in rows
        ]
        assert all(each.settled and each.interval_hours == 1.0 for each in events)
