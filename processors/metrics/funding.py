"""Funding: the rate per 8 h over all markets of an asset, weighted by open interest, and where it is going.

A snapshot is the weighted rate as it was last known in a step of 5 min of the time at which records were appended."""

import math
from typing import Final

import numpy as np

from processors.jit import jit
from processors.metrics.metric import Metric
from processors.windows.layout import Array

STEP_MS: Final = 300_000
STEPS: Final = 288  # 24 h
TREND_SNAPSHOTS: Final = 10
STEPS_AN_HOUR: Final = 12
TREND, MAX, VELOCITY, ACCELERATION = range(4)


@jit
def weighted_rate(rates: Array, weights: Array) -> float:
    """Mean of the rates by weight; NaN in `rates`: none known; NaN in `weights`: open interest not known.

    A market of unknown open interest takes no part, unless that of all is unknown: then all count alike."""
    total, weight, plain, known = 0.0, 0.0, 0.0, 0
    for i in range(rates.shape[0]):
        if math.isnan(rates[i]):
            continue
        plain += rates[i]
        known += 1
        if not math.isnan(weights[i]):
            total += rates[i] * weights[i]
            weight += weights[i]
    if weight > 0:
        return total / weight
    return plain / known if known else math.nan


@jit
def course(ring: Array, head: int, now_step: int, figures: Array) -> None:
    """Fill `figures` (TREND, MAX, VELOCITY, ACCELERATION) from the snapshots of the 24 h up to `now_step`, NaN where
    there are too few: the change from the oldest of the last ten to the newest; the largest by absolute value, of
    equals the newest; the change per hour between the newest two, and the change of that per hour."""
    figures[:] = math.nan
    kept, found = ring.shape[0], 0
    newest, newest_k, second, second_k = 0.0, 0, 0.0, 0
    for k in range(min(now_step, head), max(now_step, head) - kept, -1):
        rate = ring[k % kept]
        if math.isnan(rate):
            continue
        found += 1
        if found == 1:
            newest, newest_k = rate, k
            figures[MAX] = rate
        elif found <= TREND_SNAPSHOTS:
            figures[TREND] = newest - rate
        if found == 2:
            second, second_k = rate, k
            figures[VELOCITY] = (newest - rate) * STEPS_AN_HOUR / (newest_k - k)
        elif found == 3:
            before = (second - rate) * STEPS_AN_HOUR / (second_k - k)
            figures[ACCELERATION] = (figures[VELOCITY] - before) * 2 * STEPS_AN_HOUR / (newest_k - k)
        if abs(rate) > abs(figures[MAX]):
            figures[MAX] = rate


def funding_rate_8h(rates: Array, weights: Array) -> float | None:
    """The weighted rate for a reader: None without a rate.

    >>> funding_rate_8h(np.array([0.0001, 0.0005, 0.03]), np.array([300.0, 100.0, np.nan]))
    0.0002"""
    rate = weighted_rate(rates, weights)
    return None if math.isnan(rate) else round(rate, 6)


METRIC = Metric(
    name="funding",
    unit="1 per 8 h",
    field="funding_rate_8h",
    compute=funding_rate_8h,
    without_data=(np.zeros(0), np.zeros(0)),
)
