"""Contagion: how the USD/s of one asset follows that of another. Pure.

USD/s of an asset stand in bins of a second, in whole thousands of USD, over the last minute and the longest lag."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from processors.jit import jit
from processors.market.layout import SECONDS, Assets
from processors.metrics.correlation import pearson
from processors.windows.layout import Array

SPAN_S: Final = 60
FOLLOWERS_MAX: Final = 8  # of one leader: those with most USD
EVENT_BINS_MIN: Final = 3  # with fewer seconds in which anything happened every pair looks alike
RATIO: Final = 1e6  # correlations are rounded to 6 decimals


class Follower(NamedTuple):
    """An asset whose USD/s follow the leader's, and by how much."""

    asset: str
    lag_s: int
    correlation: float


def followers(
    assets: Assets, names: Sequence[str], leader: int, second: int, *, lag_s_max: int, correlation_min: float
) -> list[Follower]:
    """Assets that follow the one in row `leader` in the minute before `second`, by falling correlation."""
    seconds, kusd = assets.seconds[: len(names)], assets.kusd[: len(names)]
    told = (seconds >= second - SPAN_S - lag_s_max) & (seconds <= second)
    totals = np.where((seconds >= second - SPAN_S) & (seconds < second), kusd, 0).sum(axis=1).tolist()
    rows = [row for row in np.flatnonzero(told.any(axis=1)).tolist() if row != leader]
    heaviest = sorted(rows, key=lambda row: (-totals[row], names[row]))[:FOLLOWERS_MAX]
    ahead = series(assets, leader, second, SPAN_S + lag_s_max)
    found = []
    for row in heaviest:
        lag_s, correlation = follows(ahead, series(assets, row, second, SPAN_S))
        if correlation >= correlation_min:
            found.append(Follower(names[row], lag_s, correlation))
    return sorted(found, key=lambda one: (-one.correlation, one.asset))


def series(assets: Assets, row: int, second: int, span_s: int) -> Array:
    """USD/s of an asset in the `span_s` seconds before `second`, oldest first."""
    at = np.arange(second - span_s, second)
    places = at % SECONDS
    return np.where(assets.seconds[row, places] == at, assets.kusd[row, places], 0)


@jit
def follows(ahead: Array, other: Array) -> tuple[int, float]:
    """Lag in seconds at which `other` follows best, and r there, rounded to 6 decimals.

    `ahead` begins as many seconds before `other` as the longest lag and ends with it. The nearest of equal lags; r is 0
    where either has too few seconds with any USD."""
    count = other.shape[0]
    lag_s_max = ahead.shape[0] - count
    sum_y = sum_yy = events = 0
    for k in range(count):
        sum_y, sum_yy, events = sum_y + other[k], sum_yy + other[k] * other[k], events + (other[k] > 0)
    best_lag_s, best = 0, 0.0
    if events < EVENT_BINS_MIN:
        return best_lag_s, best
    for lag_s in range(lag_s_max + 1):
        sum_x = sum_xx = sum_xy = events = 0
        for k in range(count):
            x = ahead[lag_s_max - lag_s + k]
            sum_x, sum_xx, sum_xy, events = sum_x + x, sum_xx + x * x, sum_xy + x * other[k], events + (x > 0)
        if events < EVENT_BINS_MIN:
            continue
        r = np.rint(pearson(count, sum_x, sum_y, sum_xx, sum_yy, sum_xy) * RATIO) / RATIO
        if r > best:
            best_lag_s, best = lag_s, r
    return best_lag_s, best
