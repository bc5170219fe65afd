"""The relative profile against plain lists: hourly maxima, quantile, floors, ratios in fractions."""

import random
from fractions import Fraction
from math import ceil

import numpy as np
import pytest

from processors.cascade.relative import (
    HOUR_MS,
    MICRO_USD,
    WEEK,
    measure_baselines,
    new_weeks,
    note_window,
    put_in_force,
    ratio_micro,
    relative_rank,
    relative_rule_of,
)
from processors.settings import RelativeSettings, RelativeWindowSettings
from processors.windows.layout import Array
from schemas.words import LEVELS

SETTINGS = RelativeSettings()
RULE = relative_rule_of(SETTINGS)[0]
HOUR = 480_000
Window = tuple[int, int, int, int]  # size, final_ms, events, micro_usd
SCALES = (Fraction(1), Fraction(4, 3), Fraction(2))


def week_of(windows: list[Window]) -> Array:
    week = new_weeks(1)
    for s, final_ms, events, micro_usd in windows:
        note_window(week[0], s, final_ms, events, micro_usd)
    return week


def measured(week: Array, hour: int, interest_usd: int = 0) -> list[list[int]] | None:
    baselines = np.zeros((3, 2), np.int64)
    known = measure_baselines(week[0], hour, interest_usd * 10**6, RULE, baselines)
    return baselines.tolist() if known else None


def plain(windows: list[Window], hour: int, interest_usd: int = 0) -> list[list[int]] | None:
    """The same from a list of all windows."""
    since = min(final_ms for _, final_ms, _, _ in windows) // HOUR_MS + 1
    hours = range(max(since, hour - 168), hour)
    if len(hours) < 24:
        return None
    usd_min = max(Fraction(5_000 * 10**6), Fraction(interest_usd * 10**6) / 100_000)
    found = []
    for s, events_min in enumerate((5, 8, 12)):
        row = []
        for of, least in ((2, events_min), (3, usd_min)):
            largest = sorted(
                max((one[of] for one in windows if one[0] == s and one[1] // HOUR_MS == past), default=0)
                for past in hours
            )
            row.append(max(largest[ceil(Fraction(95, 100) * len(hours)) - 1], round(least)))
        found.append(row)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_baselines_are_the_quantile_of_hourly_maxima(seed: int) -> None:
    rng = random.Random(seed)
    now_ms, windows = HOUR * HOUR_MS, []
    for _ in range(rng.choice((40, 400, 1_500))):
        now_ms += int(rng.expovariate(1 / rng.choice((60_000, 600_000, 20_000_000))))
        final_ms = now_ms - rng.choice((0, 0, 0, 5_000))
        windows.append((rng.randrange(3), final_ms, rng.randrange(1, 80), rng.randrange(10**12)))
    week = week_of(windows)
    hour = now_ms // HOUR_MS
    for asked in (hour, hour + 1, hour + 30, hour + 167, hour + 400):
        assert measured(week, asked, 3_000_000_000) == plain(windows, asked, 3_000_000_000)
    assert measured(week, hour + 1) == plain(windows, hour + 1)


def test_a_window_counts_in_the_hour_in_which_it_is_final() -> None:
    windows = [(0, HOUR * HOUR_MS, 1, 1)]
    windows += [(0, past * HOUR_MS + HOUR_MS - 1, 50, 10**11) for past in range(HOUR + 1, HOUR + 25)]
    windows.append((0, (HOUR + 25) * HOUR_MS, 999, 10**15))  # belongs to the hour that begins with it
    found = measured(week_of(windows), HOUR + 25)
    assert found is not None
    assert found[0] == [50, 10**11]


def test_nothing_is_known_before_24_whole_hours() -> None:
    week = week_of([(0, HOUR * HOUR_MS + 5, 9, 9)])
    #  hour        0 (first heard of)   1 … 24 whole   25: 24 of them are over
    assert measured(week, HOUR + 24) is None
    assert measured(week, HOUR + 25) is not None
    assert measured(new_weeks(1), HOUR + 25) is None


def test_quiet_hours_count_and_floors_hold() -> None:
    week = week_of([(0, HOUR * HOUR_MS, 400, 10**12)])
    assert measured(week, HOUR + 40) == [[5, 5 * 10**9], [8, 5 * 10**9], [12, 5 * 10**9]]
    assert measured(week, HOUR + 40, 2_000_000_000) == [[5, 2 * 10**10], [8, 2 * 10**10], [12, 2 * 10**10]]


@pytest.mark.parametrize("seed", range(6))
def test_ranks_and_ratios_are_those_of_fractions(seed: int) -> None:
    rng = random.Random(seed)
    levels = [Fraction(ratio) for ratio in ("1.5", "2", "3", "6")]
    for _ in range(100):
        week, s = new_weeks(1), rng.randrange(3)
        baselines = np.array([[rng.randrange(5, 90), rng.randrange(1, 10**13)] for _ in range(3)])
        put_in_force(week[0], baselines, RULE)
        base, usd_base = (int(value) for value in baselines[s])
        for events in {
            rng.randrange(1_500),
            *(ceil(base * SCALES[s] * level) - back for level in levels for back in (0, 1)),
        }:
            for micro_usd in (usd_base // 2 - 1, usd_base // 2, usd_base // 2 + 1):
                ratio = events / (base * SCALES[s]) if 2 * micro_usd >= usd_base else Fraction(0)
                rank = 1 + sum(ratio >= level for level in levels)
                assert relative_rank(week[0], s, events, micro_usd) == rank, (base, events, LEVELS[rank])
                assert ratio_micro(week[0], s, events, micro_usd, RULE) == round(ratio * 10**6)


def test_no_rank_without_baselines() -> None:
    week = new_weeks(1)
    assert relative_rank(week[0], 0, 10**6, 10**15) == 1
    assert ratio_micro(week[0], 0, 10**6, 10**15, RULE) == 0


def test_a_week_of_an_asset_takes_9_kb_at_most() -> None:
    assert WEEK.itemsize <= 9_000


def test_settings_change_the_rule() -> None:
    settings = RelativeSettings(
        windows=(RelativeWindowSettings(size_ms=2_000, events_min=3, scale="3/2"),), quantile=0.5, hours_min=1,
        usd_share=0.25, watch_ratio=1.25,
    )  # fmt: skip
    rule = relative_rule_of(settings)[0]
    windows = [(0, (HOUR + past) * HOUR_MS, 10 * past, 10**10 * past) for past in range(4)]
    baselines = np.zeros((3, 2), np.int64)
    week = week_of(windows)
    assert measure_baselines(week[0], HOUR + 4, 0, rule, baselines)
    assert baselines.tolist() == [[20, 2 * 10**10], [0, 0], [0, 0]]  # of 10, 20, 30 the second
    put_in_force(week[0], baselines, rule)
    assert week[0]["in_force"][0, MICRO_USD] == 2 * 10**10
    assert relative_rank(week[0], 0, 38, 5 * 10**9) == 2  # 38 / (20 x 1.5) = 1.27
    assert relative_rank(week[0], 0, 37, 5 * 10**9) == 1
    assert relative_rank(week[0], 0, 38, 5 * 10**9 - 1) == 1
