"""Open interest: how far it changed over a span, in % and in coins, because USD falls whenever the price falls.

A change over d takes only sources that were polled at least every d / 2 and are there at both ends: a source that joins
or falls silent would else look like positions that were opened or closed."""

import math
from typing import Final

import numpy as np

from processors.jit import jit
from processors.metrics.metric import Metric
from processors.windows.layout import Array

STEP_MS: Final = 10_000
STEPS: Final = 391  # 65 min and the step that is not over yet
SPANS: Final = (6, 30, 360)  # steps: 1 min, 5 min, 1 h
SLACK_MAX: Final = 30  # steps by which a value may be older than an end: what is kept reaches 5 min beyond the hour


@jit
def value_at(ring: Array, head: int, step: int, slack: int) -> float:
    """Newest value within [step - slack, step], NaN without; `ring` has the steps up to `head`, NaN where none came."""
    kept = ring.shape[0]
    for k in range(min(step, head), max(step - slack, head - kept + 1) - 1, -1):
        if not math.isnan(ring[k % kept]):
            return float(ring[k % kept])
    return math.nan


@jit
def ends_of(ring: Array, head: int, now_step: int, span: int) -> tuple[float, float]:
    """Values at the beginning and the end of the span that ends at `now_step`; both NaN unless both are there."""
    slack = min(span // 2, SLACK_MAX)
    before = value_at(ring, head, now_step - span, slack)
    after = value_at(ring, head, now_step, slack)
    return (math.nan, math.nan) if math.isnan(before) or math.isnan(after) else (before, after)


@jit
def change_pct(before: float, after: float) -> float:
    """Change in % of what was before, NaN where nothing was."""
    return (after - before) / before * 100.0 if before > 0 else math.nan


def open_interest_change_pct(rings: Array, head: int, now_step: int, span: int) -> float | None:
    """Change over `span` steps of all sources together; `rings` [source, step]. None without a source.

    >>> ring = np.array([100.0, np.nan, np.nan, 97.0, np.nan, np.nan, 95.0, 94.0])
    >>> open_interest_change_pct(np.array([ring, np.full(8, np.nan)]), 7, 7, 6)
    -6.0"""
    before, after = 0.0, 0.0
    for ring in rings:
        ends = ends_of(ring, head, now_step, span)
        if not math.isnan(ends[0]):
            before, after = before + ends[0], after + ends[1]
    change = change_pct(before, after)
    return None if math.isnan(change) else round(change, 6)


METRIC = Metric(
    name="open-interest change",
    unit="%",
    field="open_interest_change_5m_pct",
    compute=open_interest_change_pct,
    without_data=(np.zeros((0, 8)), 7, 7, 6),
)
