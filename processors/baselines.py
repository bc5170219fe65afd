"""Baselines of the relative profile between memory and journal.

A fold measures them at whole hours of T and never puts them in force itself: an entry of the journal does, live as in a
replay, so a replay of any range has what was in force, also without the week before it."""

import math

import numpy as np

from processors.cascade.relative import EVENTS, HOUR_MS, MICRO_USD, measure_baselines, put_in_force
from processors.settings import RELATIVE_SIZES_MAX
from processors.windows.context import TOTAL_USD
from processors.windows.layout import MICRO
from processors.windows.store import Store
from schemas.records import BaselineFigures, JournalBaseline


def baseline_of(store: Store, row: int, hour: int) -> JournalBaseline | None:
    """What holds for an asset from `hour` on; what held before, where its own week is not known; None without that."""
    week, rule = store.weeks[row], store.relative[store.assets[row]["rule"]]
    baselines = np.zeros((RELATIVE_SIZES_MAX, 2), np.int64)
    if not measure_baselines(week, hour, _interest_micro_usd(store, row), rule, baselines):
        if not week["in_force"][0, EVENTS]:
            return None
        baselines = week["in_force"]
    sizes_ms = [int(store.sizes["size_ms"][s]) for s in np.flatnonzero(store.relative_of >= 0)]
    return JournalBaseline(
        asset=store.names[row],
        append_time_ms=hour * HOUR_MS,
        windows=tuple(
            BaselineFigures(
                size_ms=size_ms, events=float(figures[EVENTS]), notional_usd=int(figures[MICRO_USD]) / MICRO
            )
            for size_ms, figures in zip(sizes_ms, baselines, strict=False)
        ),
    )


def use_baseline(store: Store, row: int, baseline: JournalBaseline) -> None:
    """Put baselines in force; sizes that are not among those of the settings are left out."""
    week, figures = store.weeks[row], np.zeros((RELATIVE_SIZES_MAX, 2), np.int64)
    for one in baseline.windows:
        for place in store.relative_of[store.sizes["size_ms"] == one.size_ms].tolist():
            if place >= 0:
                figures[place] = round(one.events), round(one.notional_usd * MICRO)
    week["hour"] = baseline.append_time_ms // HOUR_MS
    put_in_force(week, figures, store.relative[store.assets[row]["rule"]])
    store.assets[row]["dirty"] = True


def _interest_micro_usd(store: Store, row: int) -> int:
    """Open interest of an asset as last known within 24 h, 0 when it is not."""
    steps = store.sources.context.totals[row][TOTAL_USD]
    head = int(store.assets[row]["totals_head"])
    newest = steps[head % len(steps)] if head >= 0 else math.nan
    return 0 if math.isnan(newest) else round(float(newest) * MICRO)
