"""Scenarios are pure and seeded: what happens, when, where and how fast."""

from collections import Counter
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import SettingsError
from schemas.words import Side
from stack.simulator.scenarios import EXCHANGES, SCENARIOS, SimulatedLiquidation, liquidations

DENSE = ("bybit", "okx")  # Binance shows one order a symbol and second
SEEDS = st.integers(0, 2**32)


def counts_in_2s(rows: list[SimulatedLiquidation], asset: str) -> dict[int, int]:
    """Visible liquidations of the asset in windows of 2 s, by the window's end in steps of 100 ms."""
    by_100ms = Counter(row.at_ms // 100 for row in rows if row.asset == asset and row.exchange in DENSE)
    return {end * 100: sum(by_100ms[pane] for pane in range(end - 20, end)) for end in range(20, 621)}


@pytest.mark.parametrize("name", SCENARIOS)
def test_equal_seeds_play_equal_scenarios(name: str) -> None:
    first, again, other = (list(islice(liquidations(name, seed=seed), 2_000)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, name=st.sampled_from(list(SCENARIOS)))
def test_time_never_runs_back_and_every_size_is_positive(seed: int, name: str) -> None:
    rows = list(islice(liquidations(name, seed=seed, repeat=True), 3_000))
    assert all(earlier.at_ms <= later.at_ms for earlier, later in pairwise(rows))
    assert all(row.coins > 0 and row.price > 0 and row.at_ms >= 0 for row in rows)
    assert {row.exchange for row in rows} == set(EXCHANGES)


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_a_cascade_goes_from_calm_to_calm_in_40_s(seed: int) -> None:
    # 0     5                   ~21                  ~38     45               60 s
    # |calm |builds ............ peak ............ ebbs| below 10/s .......... |
    rows = list(liquidations("cascade", seed=seed))
    counts = counts_in_2s(rows, "BTC")
    peak_ms = max(counts, key=counts.__getitem__)
    assert counts[peak_ms] > 300, "over 100/s for the whole of a 2 s window, with room to spare"
    assert 18_000 < peak_ms < 26_000
    assert max(n for end_ms, n in counts.items() if end_ms <= 5_000) < 10
    assert max(n for end_ms, n in counts.items() if 42_000 <= end_ms <= 60_000) < 10, "under half of the WATCH level"
    assert max((counts[end] - counts[end - 2_000]) / 4 for end in range(4_000, 60_001, 100)) > 20, "events/s²"
    assert rows[-1].at_ms < 60_000


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS)
def test_no_other_asset_is_left_behind_high(seed: int) -> None:
    rows = list(liquidations("cascade", seed=seed))
    for asset in ("ETH", "SOL", "XRP"):
        counts = counts_in_2s(rows, asset)
        assert max(counts.values()) > 20
        assert max(n for end_ms, n in counts.items() if 45_000 <= end_ms <= 60_000) < 10


def test_it_spreads_from_one_exchange_and_asset_to_the_others() -> None:
    rows = [row for row in liquidations("cascade", seed=7) if row.at_ms < 40_000]

    def half_time_ms(exchange: str, asset: str) -> int:
        times = [row.at_ms for row in rows if (row.exchange, row.asset) == (exchange, asset)]
        return times[len(times) // 2]

    by_exchange = sorted(half_time_ms(exchange, "BTC") for exchange in EXCHANGES)
    assert by_exchange[1] - by_exchange[0] > 500
    assert all(half_time_ms("bybit", asset) > half_time_ms("bybit", "BTC") for asset in ("ETH", "SOL", "XRP", "DOGE"))


def test_longs_go_while_prices_fall() -> None:
    rows = [row for row in liquidations("cascade", seed=7) if row.asset == "BTC" and 15_000 < row.at_ms < 30_000]
    assert sum(row.side is Side.LONG for row in rows) / len(rows) > 0.9
    assert rows[0].price > rows[-1].price * 1.03


def test_a_flash_is_over_within_a_second() -> None:
    times = [row.at_ms for row in liquidations("flash", seed=7) if row.asset == "BTC"]
    densest = max(sum(start <= at_ms < start + 1_000 for at_ms in times) for start in range(0, 19_000, 100))
    assert densest > 200
    assert len(times) - densest < 30


def test_calm_is_a_few_a_second_over_many_assets() -> None:
    rows = list(liquidations("calm", seed=7))
    assert 2 < len(rows) / 60 < 8
    assert len({row.asset for row in rows}) > 20


def test_a_soak_goes_on_with_other_cascades() -> None:
    rows = list(islice(liquidations("soak", seed=7), 30_000))
    length_ms = SCENARIOS["soak"].length_s * 1000
    cycles = [
        [row._replace(at_ms=row.at_ms % length_ms) for row in rows if row.at_ms // length_ms == n] for n in (0, 1)
    ]
    assert rows[-1].at_ms > 2 * length_ms
    assert cycles[0] != cycles[1]


def test_no_price_of_a_soak_jumps_from_one_cycle_to_the_next() -> None:
    length_ms = SCENARIOS["soak"].length_s * 1000
    rows = [row for row in islice(liquidations("soak", seed=7), 30_000) if row.at_ms < length_ms + 4_000]
    before = {(row.exchange, row.asset): row.price for row in rows if length_ms - 15_000 < row.at_ms < length_ms}
    after = {(row.exchange, row.asset): row.price for row in rows if row.at_ms >= length_ms}
    both = before.keys() & after.keys()
    assert len(both) > 5
    assert all(abs(after[each] / before[each] - 1) < 0.005 for each in both)


def test_longs_go_in_dips_and_shorts_in_bounces() -> None:
    cascade = islice(liquidations("soak", seed=7), 6_000)
    rows = [row for row in cascade if row.asset == "BTC" and row.exchange == "bybit"]
    for name, rises in ((Side.LONG, False), (Side.SHORT, True)):
        beyond = [
            (row.price > earlier.price) is rises
            for earlier, row in zip(rows, rows[200:], strict=False)
            if row.side is name and earlier.side is not name
        ]
        assert sum(beyond) > 0.8 * len(beyond) > 0


def test_an_unknown_scenario_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="'storm' is unknown; choose one of calm, cascade"):
        liquidations("storm", seed=7)
