"""Tumbling windows that are open: their cells grow until they close, and are then handed over and emptied.

Of each size there are those that T or a time within the grace before it may belong to, in a ring. An event is put into
the smallest size that it is not too late for. A window that closes is added to the larger one around it, which closes
later or right afterwards and takes whatever the smaller one takes (`feeder` of its size)."""

import numpy as np

from processors.jit import inlined, leaf
from processors.windows.layout import CELLS, NO_FEEDER, Array, Row
from processors.windows.memory import unsigned
from processors.windows.vectors import add_cells


def new_tumbling(assets: int, windows: int) -> Array:
    """Empty rings: int64 [asset, window (all sizes one behind the other), cell, (events, micro-USD)]."""
    return np.zeros((assets, windows, CELLS, 2), np.int64)


@leaf
def window_place(size: Row, window: int) -> int:
    """Where a window, its start / its size, lies in an asset's row."""
    return int(np.uintp(size.windows_base + (window & (size.windows - 1))))


@leaf
def put_cell(cells: Array, cell: int, micro_usd: int) -> None:
    """Add one event to its cell."""
    cells[cell, 0] += 1
    cells[cell, 1] += micro_usd


@leaf
def is_fed(size: Row, sizes: Array, late_ms: int) -> bool:
    """Whether an event that is so late comes to a size with a smaller one."""
    return bool(size.feeder != NO_FEEDER and late_ms <= sizes[unsigned(size.feeder)].grace_ms)


@inlined
def feed(tumbling: Array, s: int, start_ms: int, sizes: Array) -> None:
    """Add a window of an asset that closes to those around it."""
    smaller = sizes[s]
    cells = tumbling[window_place(smaller, start_ms // smaller.size_ms)]
    for larger in range(s + 1, sizes.shape[0]):
        if sizes[larger].feeder == s:
            around = tumbling[window_place(sizes[larger], start_ms // sizes[larger].size_ms)]
            add_cells(around, cells)


@inlined
def empty(cells: Array) -> None:
    """Make a window's place ready for another one."""
    for cell in range(cells.shape[0]):
        cells[cell, 0] = cells[cell, 1] = 0
