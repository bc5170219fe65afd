"""The pure parts behind the exchanges: market, REST limits, faults. Time is an argument."""

import json

import pytest

from schemas.errors import SettingsError
from stack.simulator.faults import FAULTS, FaultLog, fault, spoil
from stack.simulator.instruments import bitget_instrument, bybit_instrument, gate_instrument
from stack.simulator.limits import RestLimit, RestMeter
from stack.simulator.market import HOUR_MS, Market

NOW_MS = 1_791_565_600_000
LIMIT = RestLimit(weight_max=10, window_ms=1_000, ban_status=418, header="Retry-After")


def test_liquidations_move_the_price_and_close_open_interest() -> None:
    market, swap = Market(), gate_instrument("BTC_USDT")
    before = market.open_coins(swap)
    market.liquidated(swap, coins=3.0, price=80_000.0)
    assert market.price(swap) == 80_000.0
    assert market.open_coins(swap) == before - 3.0
    assert market.open_usd(swap) == market.open_coins(swap) * 80_000.0
    market.liquidated(swap, coins=10**9, price=80_000.0)
    assert market.open_coins(swap) > 0


def test_what_is_predicted_is_what_is_settled() -> None:
    market, swap = Market(), bybit_instrument("BTCUSDT")
    coming = market.next_funding(swap, NOW_MS)
    assert coming.time_ms % (8 * HOUR_MS) == 0
    assert 0 < coming.time_ms - NOW_MS <= 8 * HOUR_MS
    assert market.settled(swap, coming.time_ms, coming.time_ms) == [coming]
    assert len(market.settled(swap, NOW_MS - 24 * HOUR_MS, NOW_MS)) == 3
    assert Market(hourly=True).interval_hours(swap) == 1


@pytest.mark.parametrize(
    ("symbol", "asset", "settle", "dated"),
    [("BTCUSD", "BTC", "BTC", False), ("BTCUSDU23", "BTC", "BTC", True), ("SHIB1000USDT", "SHIB", "USDT", False),
     ("BTCPERP", "BTC", "USDC", False), ("BTCUSDT", "BTC", "USDT", False)],
)  # fmt: skip
def test_bybit_names_tell_the_contract(symbol: str, asset: str, settle: str, dated: bool) -> None:
    instrument = bybit_instrument(symbol)
    assert (instrument.asset, instrument.settle, instrument.dated) == (asset, settle, dated)
    assert instrument.inverse is (settle == "BTC")


def test_bitget_names_tell_the_product_line() -> None:
    names = {name: bitget_instrument(name) for name in ("BTCUSDT", "1000BONKPERP", "ETHUSD_CM")}
    assert [(each.asset, each.settle) for each in names.values()] == [("BTC", "USDT"), ("BONK", "USDC"), ("ETH", "ETH")]
    assert names["1000BONKPERP"].price_coins == 1000


def test_a_client_within_the_limit_is_answered_again_when_the_window_has_passed() -> None:
    # 0        300      1000
    # |6 ok    |5 no    |5 ok: the six are over
    meter = RestMeter(LIMIT)
    assert meter.ask("/a", 6, NOW_MS) is None
    refusal = meter.ask("/b", 5, NOW_MS + 300)
    assert refusal is not None
    assert (refusal.status, refusal.headers) == (429, {"Retry-After": "1"})
    assert meter.ask("/b", 4, NOW_MS + 300) is None
    assert meter.ask("/b", 5, NOW_MS + 1_000) is None
    assert meter.exceeded == 1


def test_who_goes_on_and_on_is_banned() -> None:
    meter = RestMeter(LIMIT)
    assert meter.ask("/a", 10, NOW_MS) is None
    answers = [meter.ask("/a", 1, NOW_MS + number) for number in range(10)]
    assert [answer.status for answer in answers if answer] == [429] * 9 + [418]


def test_limits_by_path_are_apart_and_headers_have_their_units() -> None:
    meter = RestMeter(RestLimit(weight_max=1, window_ms=1_000, by_path=True, header="Reset", header_unit="epoch_s"))
    assert meter.ask("/a", 1, NOW_MS) is None
    assert meter.ask("/b", 1, NOW_MS) is None
    refusal = meter.ask("/a", 1, NOW_MS)
    assert refusal is not None
    assert refusal.headers == {"Reset": str(NOW_MS // 1_000 + 1)}


def test_a_fault_lasts_as_long_as_it_was_told() -> None:
    log = FaultLog()
    log.add(fault("okx", "stall", now_ms=NOW_MS, seconds=2))
    log.add(fault("okx", "clock-skew", now_ms=NOW_MS, seconds=3, offset_s=-7.5))
    assert log.active("okx", NOW_MS + 1_999) == {"stall", "clock-skew"}
    assert (log.left_ms("okx", "stall", NOW_MS + 500), log.skew_ms("okx", NOW_MS + 500)) == (1_500, -7_500)
    assert log.active("okx", NOW_MS + 2_000) == {"clock-skew"}
    assert (log.active("okx", NOW_MS + 3_000), log.skew_ms("okx", NOW_MS + 3_000)) == (frozenset(), 0)
    assert log.active("bybit", NOW_MS) == frozenset()


@pytest.mark.parametrize(("kind", "seconds"), [("tantrum", 1.0), ("stall", 0.0), ("stall", 3_601.0)])
def test_a_fault_that_there_is_not_is_refused(kind: str, seconds: float) -> None:
    with pytest.raises(SettingsError, match="fault: "):
        fault("okx", kind, now_ms=NOW_MS, seconds=seconds)
    assert "stall" in FAULTS


def test_faults_spoil_the_text_of_a_frame() -> None:
    text = '{"data":[{"S":"Buy","v":"1"}]}'
    words = {'"S":"Buy"': '"S":"Bought"'}
    assert spoil(text, frozenset(), words) == text
    new = json.loads(spoil(text, {"unknown-field"}, words))
    assert (new["novelty"], new["data"][0]["novelty"], new["data"][0]["S"]) == (1, 1, "Buy")
    assert json.loads(spoil(text, {"changed-side"}, words))["data"][0]["S"] == "Bought"
    half = spoil(text, {"half-frame"}, words)
    assert text.startswith(half)
    with pytest.raises(json.JSONDecodeError):
        json.loads(half)
