"""Lag of the highest correlation: how far the other exchanges are behind the leading one. Shown, never scored."""

from typing import Any

import numpy as np

from processors.jit import owning
from processors.metrics.correlation import pearson
from processors.metrics.metric import Metric
from processors.windows.layout import Array
from processors.windows.vectors import dot, in_lanes


@owning
def best_lag(leading: Array, others: Array, n: int, lag_max: int) -> int:
    """Lag in bins, within ±lag_max, at which the leader's n counts fit best those of the other exchanges together.
    Positive: the leader is ahead. Of equals the nearest to 0, then the positive one.

    `leading[k]` and `others[lag_max + k + lag]` are compared where both are; as `empty_pair` makes them, what is around
    them is 0, so that the products add up over all. What one lag leaves out of the other sums is what the one before
    left out and one bin more."""
    width = leading.shape[0]
    ones = np.ones(width, leading.dtype)
    x, xx = dot(leading, 0, ones, 0, width), dot(leading, 0, leading, 0, width)
    y, yy = dot(others, lag_max, ones, 0, width), dot(others, lag_max, others, lag_max, width)
    best, found = pearson(n, x, y, xx, yy, dot(leading, 0, others, lag_max, width)), 0
    first = np.zeros(4, np.int64)  # x, xx, y, yy of the first bins
    last = np.zeros(4, np.int64)  # and of the last
    for lag in range(1, lag_max + 1):
        for sums, k in ((first, lag - 1), (last, n - lag)):
            a, b = int(leading[k]), int(others[lag_max + k])
            sums[0] += a
            sums[1] += a * a
            sums[2] += b
            sums[3] += b * b
        ahead = dot(leading, 0, others, lag_max + lag, width)
        r = pearson(n - lag, x - last[0], y - first[2], xx - last[1], yy - first[3], ahead)
        if r > best:
            best, found = r, lag
        behind = dot(leading, 0, others, lag_max - lag, width)
        r = pearson(n - lag, x - first[0], y - last[2], xx - first[1], yy - last[3], behind)
        if r > best:
            best, found = r, -lag
    return found


@owning
def empty_pair(n: int, lag_max: int, kind: Any) -> tuple[Array, Array]:
    """What `best_lag` compares, without any event: of int32, or int16 where all events together are below INT16_END."""
    width = in_lanes(n)
    return np.zeros(width, kind), np.zeros(width + 2 * lag_max, kind)


def correlation_lag_ms(counts: Array, leader: int, *, bin_ms: int, lag_max: int, events_min: int) -> int | None:
    """The same in ms from counts [exchange, bin]; None when there is nobody to compare, an exchange with fewer than
    `events_min` events being left out.

    >>> counts = np.array([[0, 5, 0, 0, 0, 0], [0, 0, 0, 5, 0, 0]], np.int32)
    >>> correlation_lag_ms(counts, 0, bin_ms=100, lag_max=3, events_min=5)
    200"""
    heard = counts.sum(axis=1) >= events_min
    if not heard[leader] or heard.sum() < 2:
        return None
    n = counts.shape[1]
    leading, others = empty_pair(n, lag_max, np.int32)
    leading[:n] = counts[leader]
    heard[leader] = False
    others[lag_max : lag_max + n] = counts[heard].sum(axis=0)
    return best_lag(leading, others, n, lag_max) * bin_ms


METRIC = Metric(
    name="correlation lag",
    unit="ms",
    field="correlation_lag_ms",
    compute=lambda counts: correlation_lag_ms(counts, 0, bin_ms=100, lag_max=2, events_min=5),
    without_data=(np.zeros((3, 8), np.int32),),
)
