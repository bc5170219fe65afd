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
    """Lag in bins, within ±lag_max, at which the leader's counts fit best those of the other exchanges together.

    `counts` [exchange, bin]; an exchange with fewer than `events_min` events takes no part. Positive: the leader is
    ahead. Of equals the nearest to 0, then the positive one. LONG_AGO when there is nobody to compare."""
    others = np.zeros(counts.shape[1], np.int64)
    heard = False
    for i in range(counts.shape[0]):
        total = 0
        for k in range(counts.shape[1]):
            total += counts[i, k]
        if i == leader and total < events_min:
            return LONG_AGO
        if i != leader and total >= events_min:
            heard = True
            for k in range(counts.shape[1]):
                others[k] += counts[i, k]
    if not heard:
        return LONG_AGO
    best, best_lag = lagged_pearson(counts[leader], others, 0), 0
    for step in range(1, 2 * lag_max + 1):  # 1, -1, 2, -2 ...
        lag = (step + 1) // 2 if step % 2 else -(step // 2)
        r = lagged_pearson(counts[leader], others, lag)
        if r > best:
            best, best_lag = r, lag
    return best_lag


def correlation_lag_ms(counts: Array, leader: int, *, bin_ms: int, lag_max: int, events_min: int) -> int | None:
    """The same in ms; None when there is nobody to compare.

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
