"""Open interest and funding: what an alert says of them, and what they do to its probability."""

from typing import Any

import numpy as np
import pytest

from processors.cascade.score import terms_nano
from processors.detector import Detector
from processors.metrics.funding import ACCELERATION, MAX, STEPS, TREND, VELOCITY, course
from processors.settings import DetectorSettings
from processors.windows.context import SOURCES_MAX
from processors.windows.layout import Array, rules_of
from processors.windows.sources import GONE_MS
from schemas.records import AssetState, Funding, OpenInterest
from schemas.words import Exchange, Market, Side
from tests.processors.logs import START_MS, as_lines, at, context, funding, liquidation, new_detector, open_interest

RULE = rules_of(DetectorSettings())[0]
NO_DATA = float("nan")
MINUTE_MS = 60_000


def told(*records: tuple[int, OpenInterest | Funding]) -> Detector:
    detector = new_detector()
    for sequence, (append_ms, record) in enumerate(records):
        detector.apply(context(sequence, append_ms, record))
    return detector


def state_at(detector: Detector, time_ms: int, **changed: Any) -> AssetState:
    outputs = detector.fold([at(detector.next_offset, time_ms, liquidation(time_ms, **changed))])
    return next(one.record for one in outputs if isinstance(one.record, AssetState) and one.key == "BTC")


@pytest.mark.parametrize(
    ("events", "balance", "rate", "change_pct", "terms"),
    [
        (20, 1, 0.001, NO_DATA, (0.1, 0)),  # longs pay, longs are liquidated
        (20, -1, 0.001, NO_DATA, (0, 0)),
        (20, -1, -0.0005, NO_DATA, (0.05, 0)),
        (20, 0, 0.001, NO_DATA, (0, 0)),  # no side
        (20, 1, 0.5, -1.0, (0.1, 0.05)),
        (10, 1, 0.001, -50.0, (0.05, 0.05)),  # 5/s: context counts half
        (20, 1, NO_DATA, 3.0, (0, 0)),  # positions were opened
        (0, 1, 0.001, -2.0, (0, 0)),  # alone it raises nothing
    ],
)
def test_context_counts_with_its_sign_and_only_when_something_goes_on(
    events: int, balance: int, rate: float, change_pct: float, terms: tuple[float, float]
) -> None:
    given = terms_nano(events, events, 0, balance, NO_DATA, rate, change_pct, RULE)
    assert given[4:] == tuple(round(term * 1e9) for term in terms)


def test_open_interest_changes_in_coins_and_moves_in_usd() -> None:
    #  min     0         55        59        60
    #  coins   100       90        91        88      -12 % in 1 h, -2.2 % in 5 min, -3.3 % in 1 min
    #  USD     10,000    9,000     9,100     7,000   the price fell too
    steps = ((0, 100.0, 1e4), (55, 90.0, 9e3), (59, 91.0, 9.1e3), (60, 88.0, 7e3))
    detector = told(*((minute * MINUTE_MS, open_interest(coins=coins, usd=usd)) for minute, coins, usd in steps))
    state = state_at(detector, 60 * MINUTE_MS)
    assert state.open_interest_change_1h_pct == -12.0
    assert state.open_interest_change_5m_pct == -2.222222
    assert state.open_interest_change_1m_pct == -3.296703
    assert state.open_interest_usd_per_s == -35.0


def test_source_that_is_missing_at_one_end_takes_no_part() -> None:
    detector = told(
        (0, open_interest(coins=100.0)),
        (0, open_interest(coins=900.0, exchange=Exchange.OKX)),  # falls silent
        (300_000, open_interest(coins=99.0)),
        (300_000, open_interest(coins=500.0, exchange=Exchange.BINANCE)),  # is new
    )
    assert state_at(detector, 300_000).open_interest_change_5m_pct == -1.0
    assert state_at(detector, 449_999).open_interest_change_5m_pct == -1.0  # 2.5 min old at both ends, in steps of 10 s
    assert state_at(detector, 460_000).open_interest_change_5m_pct is None


def test_usd_alone_gives_no_change_in_coins() -> None:
    detector = told(*((k * MINUTE_MS, open_interest(coins=None, usd=1e4 - 60.0 * k)) for k in range(6)))
    state = state_at(detector, 5 * MINUTE_MS)
    assert (state.open_interest_change_5m_pct, state.open_interest_usd_per_s) == (None, -1.0)


def test_figures_of_an_exchange_and_market() -> None:
    detector = told(
        (0, open_interest(coins=100.0)),
        (0, open_interest(coins=50.0, instrument="BTCUSD", market=Market.USD)),
        (60_000, open_interest(coins=99.0)),
        (60_000, open_interest(coins=51.0, instrument="BTCUSD", market=Market.USD)),
    )
    figures = detector.open_interest("BTC")
    assert figures[Exchange.BYBIT, Market.USDT].change_1m_pct == -1.0
    assert figures[Exchange.BYBIT, Market.USD].change_1m_pct == 2.0
    assert detector.open_interest("DOGE") == {}


def test_funding_is_weighted_by_open_interest() -> None:
    detector = told(
        (0, open_interest(coins=300.0, usd=30_000.0)),
        (0, funding(0, 0.0001)),
        (0, funding(0, 0.0005, exchange=Exchange.OKX)),
        (0, open_interest(coins=None, usd=10_000.0, exchange=Exchange.OKX)),  # 100 coins at that price
        (0, funding(0, 0.9, exchange=Exchange.GATE)),  # nobody knows how much there is
    )
    assert state_at(detector, 1).funding_rate_8h == 0.0002


def test_funding_counts_for_its_interval() -> None:
    detector = told((0, funding(0, 0.0003, interval_hours=1.0)))
    assert state_at(detector, 3_900_000).funding_rate_8h == 0.0003
    late = state_at(detector, 3_910_000)
    assert (late.funding_rate_8h, late.funding_max_24h) == (None, 0.0003)


def test_rate_that_was_stated_earlier_changes_nothing() -> None:
    detector = told((0, funding(0, 0.0003)), (90_000, funding(-1, 0.0009, settled=True)))
    assert state_at(detector, 90_000).funding_rate_8h == 0.0003


def test_course_of_funding() -> None:
    #  step   0  1  2  3 ...  9  10 11        rate = -step², 0.01 each
    ring: Array = np.full(STEPS, np.nan)
    ring[:12] = [-0.01 * k * k for k in range(12)]
    figures = np.zeros(4)
    course(ring, 11, 11, figures)
    assert figures[TREND] == pytest.approx(-0.01 * (121 - 4))  # from step 2, the oldest of ten
    assert figures[MAX] == pytest.approx(-1.21)
    assert figures[VELOCITY] == pytest.approx(-0.21 * 12)
    assert figures[ACCELERATION] == pytest.approx(-0.02 * 12 * 12)
    course(ring, 11, 11 + STEPS, figures)
    assert np.isnan(figures).all()


@pytest.mark.parametrize(
    "refused",
    [
        open_interest(coins=-1.0),
        open_interest(coins=float("nan")),
        open_interest(coins=None, usd=None),
        open_interest(exchange=Exchange.UNKNOWN),
        funding(0, 1.5),
        funding(0, 0.0001, interval_hours=0.0),
    ],
)
def test_what_cannot_be_is_counted_and_changes_nothing(refused: OpenInterest | Funding) -> None:
    detector = told((0, refused))
    assert detector.contexts_refused == 1
    plain = new_detector()
    log = [at(0, 5, liquidation(0))]
    assert as_lines(detector.fold(log)) == as_lines(plain.fold(log))


def test_sources_of_an_asset_are_bounded_and_the_silent_give_way() -> None:
    detector = told(*((0, open_interest(instrument=f"BTC-{k}")) for k in range(SOURCES_MAX + 1)))
    assert detector.contexts_refused == 1
    detector.apply(context(SOURCES_MAX + 1, GONE_MS + 1, open_interest(instrument="NEW")))
    assert detector.contexts_refused == 1
    kept = detector.state_bytes()
    detector.apply(context(SOURCES_MAX + 2, GONE_MS + 2, open_interest(instrument="NEWER")))
    assert detector.state_bytes() == kept


def test_side_that_pays_funding_raises_the_probability() -> None:
    detector = told((0, funding(0, 0.002)))
    events = [at(k, 100, liquidation(k, side=Side.LONG, name=k)) for k in range(20)]
    outputs = detector.fold(events)
    detector.fold([])
    states = [one.record for one in outputs if isinstance(one.record, AssetState) and one.key == "BTC"]
    assert states[0].funding_rate_8h == 0.002
    assert states[0].contributions.funding == 0.005  # 0.5/s: a twentieth of what it counts at 10/s
    assert states[0].append_time_ms == START_MS + 100
