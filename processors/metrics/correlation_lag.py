"""Lag of the highest correlation: how far the other exchanges are behind the leading one. Shown, never scored."""

import numpy as np

from processors.jit import owning, part
from processors.metrics.correlation import pearson
from processors.metrics.metric import Metric
from processors.windows.layout import LONG_AGO, Array
from processors.windows.vectors import INT32_END, LANES, add_all, dot, dot_narrow, total_of


@owning
def lag_bins(counts: Array, leader: int, lag_max: int, events_min: int) -> int:
    """Lag in bins, within ±lag_max, at which the leader's counts fit best those of the other exchanges together.

    `counts` [exchange, bin] (int32); an exchange with fewer than `events_min` events takes no part. Positive: the
    leader is ahead. Of equals the nearest to 0, then the positive one. LONG_AGO when there is nobody to compare."""
    n = counts.shape[1]
    width = (n + LANES - 1) // LANES * LANES
    leading, others = np.zeros(width, np.int32), np.zeros(width + 2 * lag_max, np.int32)  # 0 around what is compared
    heard = False
    for i in range(counts.shape[0]):
        total = total_of(counts[i])
        if i == leader and total < events_min:
            return LONG_AGO
        if i == leader:
            leading[:n] = counts[i]
        elif total >= events_min:
            heard = True
            add_all(others, lag_max, counts[i])
    return _best_lag(leading, others, n, lag_max) if heard else LONG_AGO


@part
def _product(leading: Array, others: Array, begin: int, width: int, narrow: bool) -> int:
    """Sum of their products; `narrow`: it is below INT32_END, because the product of the sums of the two is."""
    return int(dot_narrow(leading, others, begin, width) if narrow else dot(leading, others, begin, width))


@owning
def _best_lag(leading: Array, others: Array, n: int, lag_max: int) -> int:
    """The lag at which r of leading[k] and others[lag_max + k + lag], where both are, is highest.

    What is around them is 0, so that the products add up over all; what one lag leaves out of the other sums is what
    the one before left out and one bin more."""
    x, xx, y, yy = 0, 0, 0, 0
    for k in range(n):
        a, b = int(leading[k]), int(others[lag_max + k])
        x, xx, y, yy = x + a, xx + a * a, y + b, yy + b * b
    width, narrow = leading.shape[0], x * y < INT32_END
    best, best_lag = pearson(n, x, y, xx, yy, _product(leading, others, lag_max, width, narrow)), 0
    first = np.zeros(4, np.int64)  # x, xx, y, yy of the first bins
    last = np.zeros(4, np.int64)  # and of the last
    for lag in range(1, lag_max + 1):
        for sums, k in ((first, lag - 1), (last, n - lag)):
            a, b = int(leading[k]), int(others[lag_max + k])
            sums[0] += a
            sums[1] += a * a
            sums[2] += b
            sums[3] += b * b
        ahead = _product(leading, others, lag_max + lag, width, narrow)
        r = pearson(n - lag, x - last[0], y - first[2], xx - last[1], yy - first[3], ahead)
        if r > best:
            best, best_lag = r, lag
        behind = _product(leading, others, lag_max - lag, width, narrow)
        r = pearson(n - lag, x - first[0], y - last[2], xx - first[1], yy - last[3], behind)
        if r > best:
            best, best_lag = r, -lag
    return best_lag


def correlation_lag_ms(counts: Array, leader: int, *, bin_ms: int, lag_max: int, events_min: int) -> int | None:
    """The same in ms; None when there is nobody to compare.

    >>> counts = np.array([[0, 5, 0, 0, 0, 0], [0, 0, 0, 5, 0, 0]], np.int32)
    >>> correlation_lag_ms(counts, 0, bin_ms=100, lag_max=3, events_min=5)
    200"""
    lag = lag_bins(counts, leader, lag_max, events_min)
    return None if lag == LONG_AGO else lag * bin_ms


METRIC = Metric(
    name="correlation lag",
    unit="ms",
    field="correlation_lag_ms",
    compute=lambda counts: correlation_lag_ms(counts, 0, bin_ms=100, lag_max=2, events_min=5),
    without_data=(np.zeros((3, 8), np.int32),),
)
