"""The numbers behind one published record: a window of each size, the exchanges in the judged one, and its score."""

from typing import Final

import numpy as np

from processors.cascade.level import NONE, level_rank
from processors.cascade.relative import ratio_micro, relative_rank
from processors.cascade.score import boosted, probability_nano, terms_nano
from processors.jit import inlined, owning, part
from processors.metrics.first_mover import first_slot
from processors.metrics.leading_exchange import leading_slot
from processors.metrics.metric import NOBODY
from processors.windows.bins import are_few, correlation_of, lag_of
from processors.windows.context import CHANGE_5M, RATE, refresh_context
from processors.windows.layout import LONG_AGO, SIDES, SLOTS, Array, Row
from processors.windows.memory import unsigned
from processors.windows.panes import TEN, window_cells, window_sums
from processors.windows.state import State

# places in `State.numbers`
TERMS: Final = 0
PROBABILITY, RANK, BOOSTED, LEADER, FLAGS, MOVER, CORRELATION, LAG, JUDGED, RELATIVE, RATIO = range(6, 17)
EVENTS: Final = 17  # by exchange, in the judged window
MICRO_USD: Final = EVENTS + SLOTS
NUMBERS: Final = MICRO_USD + SLOTS  # then the windows, by size
WINDOW: Final = 5  # numbers a window
COUNT, BEFORE, WINDOW_MICRO_USD, BEFORE_MICRO_USD, LONG_MICRO_USD = range(WINDOW)
NO_DATA: Final = -1


@part
def measure(a: int, state: State) -> None:
    """Fill `state.numbers` for the windows of an asset at T whose newest panes are `state.ends`, by size.

    LONG_AGO in `ends` stands for the window that holds the newest event or, once that is older, the one that ends at
    T - tick_lag_ms; it is replaced by what was taken."""
    asset, numbers, ends = state.assets[a], state.numbers, state.ends
    rule, now_ms = state.rules[unsigned(asset.rule)], state.clock[0].now_ms
    refresh_correlation(asset, state.bins[a], now_ms, rule)
    refresh_context(a, now_ms, asset, state.context)
    numbers[:] = 0
    numbers[RELATIVE] = NONE
    for s in range(state.sizes.shape[0]):
        size = state.sizes[s]
        head = asset.heads[s]
        if ends[s] == LONG_AGO:
            ends[s] = max(head, (now_ms - rule.tick_lag_ms) // size.pane_ms - 1)
        events, micro_usd, balance = window_sums(state.panes, a, size, head, ends[s])
        before, before_micro_usd, _ = window_sums(state.panes, a, size, head, ends[s] - TEN)
        window = unsigned(NUMBERS + s * WINDOW)
        numbers[window + COUNT], numbers[window + WINDOW_MICRO_USD] = events, micro_usd
        numbers[window + BEFORE], numbers[window + BEFORE_MICRO_USD] = before, before_micro_usd
        numbers[window + LONG_MICRO_USD] = (micro_usd + balance) // 2
        if events >= rule.flag_events[s] or now_ms - asset.flagged_ms[s] < rule.hold_ms:
            numbers[FLAGS] |= 1 << s
        if s == rule.judged:
            _judged(a, events, before, micro_usd, balance, state)
        _relative(a, state.relative_of[s], events, micro_usd, state)
    numbers[LEADER] = leading_slot(numbers[MICRO_USD:NUMBERS], numbers[EVENTS:MICRO_USD])
    _refresh_lag(asset, state.bins[a], now_ms, numbers[LEADER], rule)
    numbers[MOVER] = first_slot(asset.first_ms) if asset.peak > NONE else NOBODY
    numbers[CORRELATION] = NO_DATA if np.isnan(asset.correlation) else round(asset.correlation * 1_000_000)
    numbers[LAG] = asset.lag_ms


@part
def _relative(a: int, of: int, events: int, micro_usd: int, state: State) -> None:
    """R of a window of relative size `of`, and the rank that it justifies; the highest count, also of those that were
    judged at this T and are not shown. Rank 0: nothing is known."""
    week, numbers = state.weeks[a], state.numbers
    if of == NOBODY:
        return
    if week.in_force[of, 0] == 0:
        numbers[RELATIVE], numbers[RATIO] = 0, NO_DATA
        return
    relative = state.relative[unsigned(state.assets[a].rule)]
    numbers[RELATIVE] = max(numbers[RELATIVE], relative_rank(week, of, events, micro_usd))
    numbers[RATIO] = max(numbers[RATIO], ratio_micro(week, of, events, micro_usd, relative))
    if week.ratio_ms == state.clock[0].now_ms and week.ratio_micro > numbers[RATIO]:
        numbers[RATIO] = week.ratio_micro
        numbers[RELATIVE] = max(numbers[RELATIVE], week.rank)


@part
def _judged(a: int, events: int, before: int, micro_usd: int, balance: int, state: State) -> None:
    """Score and exchanges of the judged window."""
    asset, numbers, cells = state.assets[a], state.numbers, state.cells
    rule = state.rules[unsigned(asset.rule)]
    judged = unsigned(rule.judged)
    numbers[JUDGED] = judged
    cells[:] = 0
    window_cells(state.panes, a, state.sizes[judged], asset.heads[judged], state.ends[judged], cells)
    for slot in range(SLOTS):
        longs, shorts = unsigned(SIDES * slot), unsigned(SIDES * slot + 1)
        numbers[EVENTS + slot] = cells[longs, 0] + cells[shorts, 0]
        numbers[MICRO_USD + slot] = cells[longs, 1] + cells[shorts, 1]
    funding, change_pct = asset.context[RATE], asset.context[CHANGE_5M]
    terms = terms_nano(events, before, micro_usd, balance, asset.correlation, funding, change_pct, rule)
    boost = boosted(events, before, rule)
    for i, term in enumerate(terms):
        numbers[TERMS + i] = term
    numbers[BOOSTED] = boost
    numbers[PROBABILITY] = probability_nano(terms, boost, rule)
    numbers[RANK] = level_rank(numbers[PROBABILITY], events, before, rule)


@inlined
def refresh_correlation(asset: Row, bins: Array, now_ms: int, rule: Row) -> None:
    """Recompute the correlation once a second of T, over the span that ends at the whole second."""
    if asset.correlation_s != now_ms // 1_000:
        _correlate(asset, bins, now_ms // 1_000, rule)


@owning
def _correlate(asset: Row, bins: Array, second: int, rule: Row) -> None:
    asset.correlation_s = second
    asset.correlation = np.nan
    dense = 0
    for slot in range(bins.shape[0]):
        dense += asset.bin_events[slot] >= rule.events_min
    if dense > 1 and are_few(asset):
        asset.correlation = correlation_of(bins, asset, second * 1_000, rule, np.int16)
    elif dense > 1:
        asset.correlation = correlation_of(bins, asset, second * 1_000, rule, np.int32)


@owning
def _refresh_lag(asset: Row, bins: Array, now_ms: int, leader: int, rule: Row) -> None:
    """Recompute the lag of the highest correlation once a second of T and leading exchange."""
    second = now_ms // 1_000
    if leader == NOBODY or np.isnan(asset.correlation):
        asset.lag_ms = asset.lag_s = LONG_AGO
    elif asset.lag_s != second or asset.lag_leader != leader:
        if are_few(asset):
            asset.lag_ms = lag_of(bins, asset, leader, second * 1_000, rule, np.int16)
        else:
            asset.lag_ms = lag_of(bins, asset, leader, second * 1_000, rule, np.int32)
        asset.lag_s, asset.lag_leader = second, leader
