"""Tumbling windows that are open: their cells grow as events arrive, and are handed over and emptied when they close.

Of each size there are those that T or a time within the grace before it may belong to, in a ring."""

import numpy as np

from processors.jit import part
from processors.windows.layout import CELLS, NEVER, Array, Row


def new_tumbling(assets: int, windows: int) -> Array:
    """Empty rings: int64 [asset, window (all sizes one behind the other), cell, (events, micro-USD)]."""
    return np.zeros((assets, windows, CELLS, 2), np.int64)


@part
def window_place(size: Row, window: int) -> int:
    """Where a window, its start / its size, lies in an asset's row."""
    return int(size.windows_base + (window & (size.windows - 1)))


@part
def next_close_ms(tumbling: Array, size: Row, first: int, newest: int) -> int:
    """When the first of an asset's windows `first` to `newest` that holds an event is final, ms, or NEVER."""
    for window in range(first, min(newest, first + size.windows - 1) + 1):
        cells = tumbling[window_place(size, window)]
        for cell in range(cells.shape[0]):
            if cells[cell, 0]:
                return int((window + 1) * size.size_ms + size.grace_ms)
    return NEVER


@part
def totals(cells: Array) -> tuple[int, int]:
    """Events and micro-USD of a window's cells."""
    events, micro_usd = 0, 0
    for cell in range(cells.shape[0]):
        events += cells[cell, 0]
        micro_usd += cells[cell, 1]
    return events, micro_usd
