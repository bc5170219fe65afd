"""Baselines of the relative profile, and the week that they are measured from, between memory and journal.

A fold measures them at whole hours of T and never puts them in force itself: an entry of the journal does, live as in a
replay, so a replay of any range has what was in force. The entry carries the hourly maxima of the week too and puts
them in the place of the fold's own, which are the same unless the fold began without a state. So an hour of the journal
is all that a week takes."""

import math

import numpy as np

from processors.cascade.relative import (
    EVENTS,
    HOUR_MS,
    HOURS_KEPT,
    MICRO_USD,
    WEEK_HOURS,
    measure_baselines,
    put_in_force,
)
from processors.settings import RELATIVE_SIZES_MAX
from processors.windows.context import TOTAL_USD
from processors.windows.layout import LONG_AGO, MICRO, Array, Row
from processors.windows.store import Store
from schemas.records import BaselineFigures, HourlyMaxima, JournalBaseline


def baseline_of(store: Store, row: int, hour: int) -> JournalBaseline | None:
    """What holds for an asset from `hour` on: what held before, where its own week is not known, which may be nothing.

    None for an asset of which no window is known."""
    week, rule = store.weeks[row], store.relative[store.assets[row]["rule"]]
    baselines = np.zeros((RELATIVE_SIZES_MAX, 2), np.int64)
    if not measure_baselines(week, hour, _interest_micro_usd(store, row), rule, baselines):
        baselines = week["in_force"]
    since = int(week["since"])
    if since == LONG_AGO and not baselines[0, EVENTS]:
        return None
    sizes_ms = [int(store.sizes["size_ms"][s]) for s in np.flatnonzero(store.relative_of >= 0)]
    return JournalBaseline(
        asset=store.names[row],
        append_time_ms=hour * HOUR_MS,
        windows=tuple(
            BaselineFigures(
                size_ms=size_ms, events=float(figures[EVENTS]), notional_usd=int(figures[MICRO_USD]) / MICRO
            )
            for size_ms, figures in zip(sizes_ms, baselines, strict=False)
            if baselines[0, EVENTS]
        ),
        since_ms=None if since == LONG_AGO else since * HOUR_MS,
        maxima=() if since == LONG_AGO else _maxima_of(week, hour, sizes_ms),
    )


def use_baseline(store: Store, row: int, baseline: JournalBaseline) -> None:
    """Put baselines in force, and the week of the entry in place of the fold's; sizes that are not among those of the
    settings are left out."""
    week, figures = store.weeks[row], np.zeros((RELATIVE_SIZES_MAX, 2), np.int64)
    hour = baseline.append_time_ms // HOUR_MS
    for one in baseline.windows:
        for place in _places(store, one.size_ms):
            figures[place] = round(one.events), round(one.notional_usd * MICRO)
    if baseline.since_ms is not None:
        week["since"] = baseline.since_ms // HOUR_MS
        for gone in range(max(int(week["head"]) + 1, hour - HOURS_KEPT), hour):
            week["maxima"][:, :, gone % HOURS_KEPT] = 0
        week["head"] = max(int(week["head"]), hour - 1)
        for maxima in baseline.maxima:
            for place in _places(store, maxima.size_ms):
                _put_maxima(week, place, hour, maxima)
    week["hour"] = hour
    put_in_force(week, figures, store.relative[store.assets[row]["rule"]])
    store.assets[row]["dirty"] = True


def know_from(store: Store, time_ms: int) -> list[str]:
    """What was before `time_ms` is not known of assets whose week no entry has told; returns those that lose by it."""
    hour, cut = -(-time_ms // HOUR_MS), []
    for row, name in enumerate(store.names):
        week = store.weeks[row]
        if week["hour"] == LONG_AGO and LONG_AGO < week["since"] < hour:
            week["since"] = hour
            cut.append(name)
    return cut


def _maxima_of(week: Row, hour: int, sizes_ms: list[int]) -> tuple[HourlyMaxima, ...]:
    hours = np.arange(hour - WEEK_HOURS, hour)
    kept = (hours > week["head"] - HOURS_KEPT) & (hours <= week["head"])
    found = []
    for size_ms, maxima in zip(sizes_ms, week["maxima"], strict=False):
        whole: Array = maxima[:, hours % HOURS_KEPT] * kept
        first = int(np.argmax(whole[EVENTS] > 0)) if whole[EVENTS].any() else WEEK_HOURS
        found.append(
            HourlyMaxima(
                size_ms=size_ms,
                events=tuple(whole[EVENTS, first:].tolist()),
                notional_micro_usd=tuple(whole[MICRO_USD, first:].tolist()),
            )
        )
    return tuple(found)


def _put_maxima(week: Row, place: int, hour: int, maxima: HourlyMaxima) -> None:
    whole = np.zeros((2, WEEK_HOURS), np.int64)
    for of, told in ((EVENTS, maxima.events), (MICRO_USD, maxima.notional_micro_usd)):
        newest = told[-WEEK_HOURS:]
        whole[of, WEEK_HOURS - len(newest) :] = newest
    hours = np.arange(hour - WEEK_HOURS, hour)
    kept = hours > week["head"] - HOURS_KEPT
    week["maxima"][place][:, hours[kept] % HOURS_KEPT] = whole[:, kept]


def _places(store: Store, size_ms: int) -> list[int]:
    """Place of a size among those of the relative profile; none where it is not one of them."""
    places = store.relative_of[store.sizes["size_ms"] == size_ms]
    return [int(place) for place in places if place >= 0]


def _interest_micro_usd(store: Store, row: int) -> int:
    """Open interest of an asset as last known within 24 h, 0 when it is not."""
    steps = store.sources.context.totals[row][TOTAL_USD]
    head = int(store.assets[row]["totals_head"])
    newest = steps[head % len(steps)] if head >= 0 else math.nan
    return 0 if math.isnan(newest) else round(float(newest) * MICRO)
