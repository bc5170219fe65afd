"""The sums behind one published record: a window of each size, and the exchanges in the judged one."""

from dataclasses import dataclass

import numpy as np

from processors.jit import jit
from processors.windows.layout import CELLS, LONG_AGO, SIDES, Array, Row
from processors.windows.panes import TEN, Panes, window_cells, window_sum
from processors.windows.store import Store
from schemas.words import EXCHANGES_MAX


@dataclass(frozen=True, slots=True)
class WindowSums:
    """One window and the one before it; sums of money in micro-USD."""

    size_ms: int
    events: int
    before: int
    micro_usd: int
    before_micro_usd: int
    long_micro_usd: int


@dataclass(frozen=True, slots=True)
class Figures:
    """`judged` is the window of the judged size; the lists are by exchange slot and of that window."""

    windows: tuple[WindowSums, ...]
    judged: WindowSums
    judged_end_ms: int
    events: list[int]
    micro_usd: list[int]


@jit
def measure(
    a: int, now_ms: int, assets: Array, panes: Panes, sizes: Array, rule: Row, ends: Array, sums: Array, cells: Array
) -> None:
    """Sums of the windows whose newest panes are `ends`, into `sums` [size, 5] and `cells` [size, 2, cell].

    LONG_AGO in `ends` stands for the window that holds the newest event or, once that is older, the one that ends at
    T - tick_lag_ms; it is replaced by what was taken."""
    asset = assets[a]
    for s in range(sizes.shape[0]):
        size = sizes[s]
        head = asset.heads[s]
        if ends[s] == LONG_AGO:
            ends[s] = max(head, (now_ms - rule.tick_lag_ms) // size.pane_ms - 1)
        sums[s, 0] = window_sum(panes.events[a], size, head, ends[s])
        sums[s, 1] = window_sum(panes.events[a], size, head, ends[s] - TEN)
        sums[s, 2] = window_sum(panes.micro_usd[a], size, head, ends[s])
        sums[s, 3] = window_sum(panes.micro_usd[a], size, head, ends[s] - TEN)
        sums[s, 4] = 0
        cells[s] = 0
        window_cells(panes, a, size, head, ends[s], cells[s, 0], cells[s, 1])
        for slot in range(EXCHANGES_MAX):
            sums[s, 4] += cells[s, 1, slot * SIDES]


def figures_of(store: Store, row: int, ends: Array, *, now_ms: int, rule: Row) -> Figures:
    """Figures of an asset at T = `now_ms`; `ends` as in `measure`."""
    count = len(store.sizes)
    sums, cells = np.empty((count, 5), np.int64), np.empty((count, 2, CELLS), np.int64)
    measure(row, now_ms, store.assets, store.panes, store.sizes, rule, ends, sums, cells)
    judged = int(rule["judged"])
    windows = tuple(
        WindowSums(size_ms, *values)
        for size_ms, values in zip(store.sizes["size_ms"].tolist(), sums.tolist(), strict=True)
    )
    events, micro_usd = cells[judged].reshape(2, EXCHANGES_MAX, SIDES).sum(axis=2).tolist()
    return Figures(
        windows=windows,
        judged=windows[judged],
        judged_end_ms=int((ends[judged] + 1) * store.sizes["pane_ms"][judged]),
        events=events,
        micro_usd=micro_usd,
    )
