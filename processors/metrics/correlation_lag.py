"""Lag of the highest correlation: how far the other exchanges are behind the leading one. Shown, never scored."""

import numpy as np

from processors.jit import jit
from processors.metrics.correlation import pearson
from processors.metrics.metric import Metric
from processors.windows.layout import LONG_AGO, Array


@jit
def lagged_pearson(x: Array, y: Array, lag: int) -> float:
    """Pearson's r of x[k] and y[k + lag] where both exist."""
    first = max(0, -lag)
    last = min(x.shape[0], x.shape[0] - lag)
    sum_x, sum_y, sum_xx, sum_yy, sum_xy = 0, 0, 0, 0, 0
    for k in range(first, last):
        a, b = x[k], y[k + lag]
        sum_x += a
        sum_y += b
        sum_xx += a * a
        sum_yy += b * b
        sum_xy += a * b
    return pearson(last - first, sum_x, sum_y, sum_xx, sum_yy, sum_xy)


@jit
def lag_bins(counts: Array, leader: int, lag_max: int, events_min: int) -> int:
    """Lag in bins within ±lag_max with the highest sum of r between row `leader` and each other row with enough events.

    Positive: the leader is ahead. Of equals the nearest to 0, then the positive one. LONG_AGO without such a pair."""
    rows, n = counts.shape
    totals = np.zeros(rows, np.int64)
    for i in range(rows):
        for k in range(n):
            totals[i] += counts[i, k]
    if totals[leader] < events_min:
        return LONG_AGO
    best, best_lag = 0.0, LONG_AGO
    for step in range(2 * lag_max + 1):  # 0, 1, -1, 2, -2 ...
        lag = (step + 1) // 2 if step % 2 else -(step // 2)
        total, others = 0.0, 0
        for i in range(rows):
            if i != leader and totals[i] >= events_min:
                total += lagged_pearson(counts[leader], counts[i], lag)
                others += 1
        if others and (best_lag == LONG_AGO or total > best):
            best, best_lag = total, lag
    return best_lag


def correlation_lag_ms(counts: Array, leader: int, *, bin_ms: int, lag_max: int, events_min: int) -> int | None:
    """The same in ms; None without a pair of exchanges with enough events.

    >>> counts = np.array([[0, 5, 0, 0, 0, 0], [0, 0, 0, 5, 0, 0]])
    >>> correlation_lag_ms(counts, 0, bin_ms=100, lag_max=3, events_min=5)
    200"""
    lag = lag_bins(counts, leader, lag_max, events_min)
    return None if lag == LONG_AGO else lag * bin_ms


METRIC = Metric(
    name="correlation lag",
    unit="ms",
    field="correlation_lag_ms",
    compute=lambda counts: correlation_lag_ms(counts, 0, bin_ms=100, lag_max=2, events_min=5),
    without_data=(np.zeros((3, 8), np.int64),),
)
