"""The numbers behind one published record: a window of each size, the exchanges in the judged one, and its score."""

from typing import Final, NamedTuple

import numpy as np

from processors.cascade.level import NONE, level_rank
from processors.cascade.score import Terms, boosted, probability_nano, terms_nano
from processors.jit import jit
from processors.metrics.correlation_lag import lag_bins
from processors.metrics.first_mover import first_slot
from processors.metrics.leading_exchange import leading_slot
from processors.metrics.metric import NOBODY
from processors.windows.context import CHANGE_5M, RATE, Context, refresh_context
from processors.windows.kernel import refresh_correlation
from processors.windows.layout import CELLS, LONG_AGO, SIDES, Array, Row
from processors.windows.panes import TEN, Panes, binned, window_cells, window_sum
from processors.windows.store import Store
from schemas.words import EXCHANGES_MAX

# places in the numbers that `measure` fills
TERMS: Final = 0
PROBABILITY, RANK, BOOSTED, LEADER, FLAGS, MOVER, CORRELATION, LAG, LEVEL, PEAK, EPISODE, NEWEST = range(6, 18)
EVENTS: Final = 18
MICRO_USD: Final = EVENTS + EXCHANGES_MAX
WINDOWS: Final = MICRO_USD + EXCHANGES_MAX
WINDOW: Final = 5  # numbers a window
NO_DATA: Final = -1
DECIMALS: Final = 6


class WindowSums(NamedTuple):
    """One window and the one before it; sums of money in micro-USD."""

    size_ms: int
    events: int
    before: int
    micro_usd: int
    before_micro_usd: int
    long_micro_usd: int


class Figures(NamedTuple):
    """`judged` is the window of the judged size; `events` and `micro_usd` are its parts by exchange slot."""

    windows: list[WindowSums]
    judged: WindowSums
    events: list[int]
    micro_usd: list[int]
    terms: Terms
    probability_nano: int
    rank: int
    boosted: bool
    context: list[float | None]  # as `processors.windows.context` names them
    leader: int  # slot or NOBODY
    flags: int  # bit s: the flag of size s stands
    mover: int  # slot or NOBODY
    correlation: int  # millionths, or NO_DATA
    lag_ms: int  # or LONG_AGO
    level: int
    peak: int
    episode_ms: int
    newest_ms: int


@jit
def measure(
    a: int,
    now_ms: int,
    assets: Array,
    panes: Panes,
    bins: Array,
    context: Context,
    sizes: Array,
    rules: Array,
    ends: Array,
    numbers: Array,
) -> None:
    """Fill `numbers` for the windows whose newest panes are `ends`, by size.

    LONG_AGO in `ends` stands for the window that holds the newest event or, once that is older, the one that ends at
    T - tick_lag_ms; it is replaced by what was taken."""
    asset, rule = assets[a], rules[0]
    refresh_correlation(asset, bins[a], now_ms, rule)
    refresh_context(a, now_ms, asset, context)
    cells = np.zeros((2, CELLS), np.int64)
    numbers[:] = 0
    for s in range(sizes.shape[0]):
        size = sizes[s]
        head = asset.heads[s]
        if ends[s] == LONG_AGO:
            ends[s] = max(head, (now_ms - rule.tick_lag_ms) // size.pane_ms - 1)
        cells[:] = 0
        window_cells(panes, a, size, head, ends[s], cells[0], cells[1])
        window = numbers[WINDOWS + s * WINDOW : WINDOWS + (s + 1) * WINDOW]
        window[1] = window_sum(panes.events[a], size, head, ends[s] - TEN)
        window[3] = window_sum(panes.micro_usd[a], size, head, ends[s] - TEN)
        for cell in range(CELLS):
            window[0] += cells[0, cell]
            window[2] += cells[1, cell]
            if cell % SIDES == 0:
                window[4] += cells[1, cell]
            if s == rule.judged:
                numbers[EVENTS + cell // SIDES] += cells[0, cell]
                numbers[MICRO_USD + cell // SIDES] += cells[1, cell]
        if window[0] >= size.flag_events or now_ms - asset.flagged_ms[s] < rule.hold_ms:
            numbers[FLAGS] |= 1 << s
        if s == rule.judged:
            _score(window, asset, rule, numbers)
    numbers[LEADER] = leading_slot(numbers[MICRO_USD:WINDOWS], numbers[EVENTS:MICRO_USD])
    _refresh_lag(asset, bins[a], now_ms, numbers[LEADER], rule)
    numbers[MOVER] = first_slot(asset.first_ms) if asset.peak > NONE else NOBODY
    numbers[CORRELATION] = NO_DATA if np.isnan(asset.correlation) else round(asset.correlation * 1_000_000)
    numbers[LAG] = asset.lag_ms
    numbers[LEVEL], numbers[PEAK] = asset.level, asset.peak
    numbers[EPISODE], numbers[NEWEST] = asset.episode_ms, asset.newest_ms


@jit
def _score(window: Array, asset: Row, rule: Row, numbers: Array) -> None:
    balance = 2 * window[4] - window[2]
    funding, change_pct = asset.context[RATE], asset.context[CHANGE_5M]
    terms = terms_nano(window[0], window[1], window[2], balance, asset.correlation, funding, change_pct, rule)
    boost = boosted(window[0], window[1], rule)
    for i, term in enumerate(terms):
        numbers[TERMS + i] = term
    numbers[BOOSTED] = boost
    numbers[PROBABILITY] = probability_nano(terms, boost, rule)
    numbers[RANK] = level_rank(numbers[PROBABILITY], window[0], window[1], rule)


@jit
def _refresh_lag(asset: Row, bins: Array, now_ms: int, leader: int, rule: Row) -> None:
    """Recompute the lag of the highest correlation once a second of T and leading exchange."""
    second = now_ms // 1_000
    if leader == NOBODY or np.isnan(asset.correlation):
        asset.lag_ms = asset.lag_s = LONG_AGO
    elif asset.lag_s != second or asset.lag_leader != leader:
        lag = lag_bins(binned(bins, asset, second * 1_000, rule, 1), leader, rule.lag_bins_max, rule.events_min)
        asset.lag_ms = LONG_AGO if lag == LONG_AGO else lag * rule.lag_bin_ms
        asset.lag_s, asset.lag_leader = second, leader


def figures_of(store: Store, row: int, ends: Array, *, now_ms: int, rules: Array) -> Figures:
    """Figures of an asset at T = `now_ms`; `ends` as in `measure`."""
    buffer = np.empty(WINDOWS + len(store.sizes) * WINDOW, np.int64)
    measure(row, now_ms, *store.arrays, rules, ends, buffer)
    numbers: list[int] = buffer.tolist()
    windows = [
        WindowSums(size_ms, *numbers[place : place + WINDOW])
        for size_ms, place in zip(store.sizes_ms, range(WINDOWS, len(numbers), WINDOW), strict=True)
    ]
    velocity, acceleration, volume, correlation, funding, open_interest = numbers[TERMS:PROBABILITY]
    return Figures(
        windows,
        windows[store.judged],
        numbers[EVENTS:MICRO_USD],
        numbers[MICRO_USD:WINDOWS],
        (velocity, acceleration, volume, correlation, funding, open_interest),
        numbers[PROBABILITY],
        numbers[RANK],
        bool(numbers[BOOSTED]),
        [None if value != value else round(value, DECIMALS) for value in store.assets["context"][row].tolist()],
        *numbers[LEADER:EVENTS],
    )
