"""Open interest, funding and evidence of the side as every exchange's module builds them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.figures import (
    EVIDENCE_MIN,
    amount,
    funding,
    mark_price,
    market_rows,
    nearest_minute,
    number,
    open_interest,
    per_coin,
    price_evidence,
)
from producers.instruments import Instrument
from schemas.errors import FrameRefused, UnknownInstrument
from schemas.records import Funding, Liquidation, OpenInterest
from schemas.words import Completeness, Exchange, Market, PriceKind, Side

PEPE = Instrument(
    exchange=Exchange.BINANCE, instrument="1000PEPEUSDT", asset="PEPE", market=Market.USDT,
    contract_size=Decimal(1000), inverse=False,
)  # fmt: skip
BTC = Instrument(
    exchange=Exchange.BYBIT, instrument="BTCUSD", asset="BTC", market=Market.USD,
    contract_size=Decimal(100), inverse=True,
)  # fmt: skip
TIME_MS = 1_791_400_000_123


def interest(*, coins: str | None = None, usd: str | None = None, mark: str | None = None) -> OpenInterest:
    return open_interest(
        BTC,
        coins=None if coins is None else Decimal(coins),
        usd=None if usd is None else Decimal(usd),
        mark=None if mark is None else Decimal(mark),
        time_ms=TIME_MS,
        received_time_us=0,
    )


@pytest.mark.parametrize(
    ("given_coins", "given_usd", "mark", "coins", "usd"),
    [
        ("2", None, None, 2.0, None),
        ("2", None, "80000", 2.0, 160_000.0),
        (None, "160000", "80000", 2.0, 160_000.0),
        (None, "160000", None, None, 160_000.0),
        ("2", "160001", "80000", 2.0, 160_001.0),
        ("0", None, "80000", 0.0, 0.0),
        ("2", None, "0", 2.0, None),
    ],
)
def test_what_is_not_stated_is_worked_out_by_the_mark_or_absent(
    given_coins: str | None, given_usd: str | None, mark: str | None, coins: float | None, usd: float | None
) -> None:
    record = interest(coins=given_coins, usd=given_usd, mark=mark)
    assert (record.open_interest, record.open_interest_usd) == (coins, usd)
    assert record.event_id == "bybit:BTCUSD:1791400000123"


def test_absurd_open_interest_is_refused() -> None:
    with pytest.raises(FrameRefused, match="open interest"):
        interest(coins="1e15", mark="80000")
    with pytest.raises(FrameRefused, match="negative"):
        interest(usd="-1")


def rate(value: str, hours: float | None = None, *, settled: bool = False) -> Funding:
    return funding(
        PEPE,
        rate=Decimal(value),
        interval_hours=hours,
        next_funding_time_ms=None,
        settled=settled,
        time_ms=TIME_MS,
        received_time_us=0,
    )


@pytest.mark.parametrize(("hours", "rate_8h"), [(None, 0.0001), (8.0, 0.0001), (4.0, 0.0002), (1.0, 0.0008)])
def test_rate_of_eight_hours(hours: float | None, rate_8h: float) -> None:
    record = rate("0.0001", hours)
    assert (record.rate, record.rate_8h, record.interval_hours) == (0.0001, rate_8h, hours or 8.0)


def test_predicted_and_settled_rates_of_one_time_have_ids_of_their_own() -> None:
    assert rate("0").event_id == "binance:1000PEPEUSDT:1791400000123:predicted"
    assert rate("0", settled=True).event_id == "binance:1000PEPEUSDT:1791400000123:settled"


@pytest.mark.parametrize(("value", "hours"), [("1.01", 8.0), ("-1.01", 8.0), ("0", 0.0), ("0", -1.0), ("0", 25.0)])
def test_absurd_rate_or_interval_is_refused(value: str, hours: float) -> None:
    with pytest.raises(FrameRefused, match="funding"):
        rate(value, hours)


@given(st.decimals(min_value=-(10**15), max_value=10**15, places=8))
def test_number_is_exact(value: Decimal) -> None:
    assert number(str(value), "x", "f") == value


@pytest.mark.parametrize("text", ["", "NaN", "inf", "1_0", " 1", "1e19", "1e-19", "1e999999999", "0x1", "１", "1" * 41])
def test_text_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(FrameRefused, match="decoding x: f is"):
        number(text, "x", "f")


def test_amounts_are_not_negative_and_marks_may_be_absent() -> None:
    with pytest.raises(FrameRefused, match="negative"):
        amount("-1", "x", "f")
    assert mark_price("", "x", "f") is mark_price("0.00", "x", "f") is None
    assert mark_price("0.5", "x", "f") == Decimal("0.5")


def test_price_of_a_thousand_coins_is_one_of_a_coin() -> None:
    assert per_coin(Decimal("0.01"), PEPE) == Decimal("0.00001")
    assert per_coin(Decimal(80_000), BTC) == 80_000


def test_unknown_contracts_are_left_out_of_lists_and_named_alone() -> None:
    def decode_row(row: str) -> list[OpenInterest | Funding]:
        if row == "unknown":
            raise UnknownInstrument("no such contract")
        if row == "bad":
            raise FrameRefused("bad row")
        return [interest(coins=row)]

    assert len(market_rows(["1", "unknown", "2"], decode_row)) == 2
    with pytest.raises(UnknownInstrument):
        market_rows(["unknown"], decode_row)
    with pytest.raises(FrameRefused, match="bad row") as refused:
        market_rows(["1", "unknown", "bad", "2"], decode_row)
    assert len(refused.value.events) == 2


def test_settlement_is_at_its_minute() -> None:
    #   13:00:00        13:01:00
    #   |    <- +29,999 | <- -2 ms
    hour_ms = 1_790_352_000_000
    assert [nearest_minute(hour_ms + late) for late in (-2, 0, 2, 29_999)] == [hour_ms] * 4
    assert nearest_minute(hour_ms + 59_998) == hour_ms + 60_000


def liquidation(side: Side, price: float) -> Liquidation:
    return Liquidation(
        event_id="x", exchange=Exchange.BYBIT, asset="BTC", instrument="BTCUSDT", market=Market.USDT, side=side,
        price=price, quantity=1.0, notional_usd=price, price_kind=PriceKind.BANKRUPTCY,
        completeness=Completeness.ALL, event_time_ms=TIME_MS, received_time_us=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("side", "price", "agrees"),
    [(Side.LONG, 99.0, True), (Side.LONG, 101.0, False), (Side.SHORT, 101.0, True), (Side.SHORT, 99.0, False)],
)
def test_longs_are_closed_below_the_mark_and_shorts_above(side: Side, price: float, agrees: bool) -> None:
    assert price_evidence(liquidation(side, price), Decimal(100)) is agrees


@pytest.mark.parametrize("side", [Side.LONG, Side.SHORT])
def test_price_at_the_mark_tells_nothing(side: Side) -> None:
    for share in (-0.9, 0.0, 0.9):
        assert price_evidence(liquidation(side, 100 * (1 + EVIDENCE_MIN * share)), Decimal(100)) is None
