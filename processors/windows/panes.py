"""Panes: each size of window keeps integer sums of a tenth of it, in a ring; any ten panes in a row are a window.

Pane p of a size holds event times [p * pane_ms, (p + 1) * pane_ms). Sums are whole (counts, micro-USD), so they do not
depend on the order of arrival. The ring holds two windows and the grace: whatever may still be judged is in it.

Beside its own sums each pane has the count of the window that it ends. An event in order changes one of these, and a
level or a flag is then decided by one number instead of ten."""

from typing import Annotated, NamedTuple

import numpy as np
from numba import types

from processors.jit import jit, part
from processors.settings import PANES_A_WINDOW
from processors.windows.layout import CELLS, NEVER, SIDES, Array, Row

TEN = PANES_A_WINDOW
EVENTS, MICRO_USD, BALANCE, WINDOW = range(4)  # of a pane: all cells together; longs - shorts; events of ten panes


class Panes(NamedTuple):
    """The rings of all assets: axes asset, pane (all sizes one behind the other)."""

    sums: Annotated[Array, types.int64[:, :, ::1]]  # [asset, pane, 4]
    cells: Annotated[Array, types.int64[:, :, :, ::1]]  # [asset, pane, cell, (events, micro-USD)]


def new_panes(assets: int, panes: int) -> Panes:
    """Empty rings."""
    return Panes(np.zeros((assets, panes, 4), np.int64), np.zeros((assets, panes, CELLS, 2), np.int64))


@part
def place_of(size: Row, pane: int) -> int:
    """Where a pane lies in an asset's row; panes begin at 0."""
    return int(size.base + np.int64(np.uint64(pane) % np.uint64(size.panes)))


@part
def pane_of(time_ms: int, size: Row) -> int:
    """The pane of a time from 1970 on."""
    return int(np.int64(np.uint64(time_ms) // np.uint64(size.pane_ms)))


@part
def before(place: int, size: Row, panes: int) -> int:
    """The place so many panes before; fewer than are kept."""
    place -= panes
    return place + size.panes if place < size.base else place


@part
def after(place: int, size: Row) -> int:
    """The place of the next pane."""
    place += 1
    return place - size.panes if place == size.base + size.panes else place


@part
def advance(sums: Array, cells: Array, size: Row, head: int, pane: int) -> None:
    """Make room for the panes after `head` up to `pane`; `sums` and `cells` are one asset's."""
    if pane - head >= size.panes:
        for place in range(size.base, size.base + size.panes):
            _clear(sums, cells, place, 0)
        return
    place = place_of(size, head)
    leaves = before(place, size, TEN - 1)
    window = sums[place, WINDOW]
    for _ in range(head, pane):
        window -= sums[leaves, EVENTS]
        leaves, place = after(leaves, size), after(place, size)
        _clear(sums, cells, place, window)


@part
def _clear(sums: Array, cells: Array, place: int, window: int) -> None:
    if sums[place, EVENTS]:
        sums[place, EVENTS] = sums[place, MICRO_USD] = sums[place, BALANCE] = 0
        for cell in range(cells.shape[1]):
            cells[place, cell, 0] = cells[place, cell, 1] = 0
    sums[place, WINDOW] = window


@part
def add(sums: Array, cells: Array, size: Row, head: int, pane: int, cell: int, micro_usd: int) -> int:
    """Put one event into a pane of one size, at most `head`, the newest one. Returns the highest count of the windows
    that hold it and are there already: those that end at the panes pane ... min(pane + 9, head)."""
    place = place_of(size, pane)
    sums[place, EVENTS] += 1
    sums[place, MICRO_USD] += micro_usd
    sums[place, BALANCE] += -micro_usd if cell % SIDES else micro_usd
    cells[place, cell, 0] += 1
    cells[place, cell, 1] += micro_usd
    highest = 0
    for _ in range(min(TEN, head - pane + 1)):
        count = sums[place, WINDOW] + 1
        sums[place, WINDOW] = count
        highest = max(highest, count)
        place = after(place, size)
    return highest


@part
def highest_end(sums: Array, size: Row, head: int, pane: int) -> int:
    """The window that has that highest count, the newest of equals, named by its newest pane."""
    place = place_of(size, pane)
    best, best_end = -1, pane
    for end in range(pane, min(pane + TEN - 1, head) + 1):
        if sums[place, WINDOW] >= best:
            best, best_end = sums[place, WINDOW], end
        place = after(place, size)
    return best_end


@part
def window_sums(sums: Array, size: Row, head: int, end: int) -> tuple[int, int, int]:
    """Events, micro-USD and balance of the window of ten panes whose newest is `end`; panes after `head` are empty."""
    first = max(end - TEN + 1, head - size.panes + 1)
    last = min(end, head)
    events, micro_usd, balance = 0, 0, 0
    if first > last:
        return events, micro_usd, balance
    place = before(place_of(size, last), size, last - first)
    for _ in range(first, last + 1):
        events += sums[place, EVENTS]
        micro_usd += sums[place, MICRO_USD]
        balance += sums[place, BALANCE]
        place = after(place, size)
    return events, micro_usd, balance


@part
def window_cells(panes: Panes, asset: int, size: Row, head: int, end: int, cells: Array) -> None:
    """Add the cells of the window of ten panes whose newest is `end` to `cells` [cell, (events, micro-USD)]."""
    first = max(end - TEN + 1, head - size.panes + 1)
    last = min(end, head)
    if first > last:
        return
    place = before(place_of(size, last), size, last - first)
    for _ in range(first, last + 1):
        if panes.sums[asset, place, EVENTS]:
            for cell in range(cells.shape[0]):
                cells[cell, 0] += panes.cells[asset, place, cell, 0]
                cells[cell, 1] += panes.cells[asset, place, cell, 1]
        place = after(place, size)


@part
def next_close_ms(sums: Array, size: Row, head: int, first_pane: int) -> int:
    """When the first tumbling window from `first_pane` on that holds an event is final, ms, or NEVER."""
    first = max(first_pane, head - size.panes + 1)
    if first > head:
        return NEVER
    place = before(place_of(size, head), size, head - first)
    for pane in range(first, head + 1):
        if sums[place, EVENTS]:
            return int((pane // TEN + 1) * size.size_ms + size.grace_ms)
        place = after(place, size)
    return NEVER


@part
def first_times(panes: Panes, asset: int, size: Row, head: int, from_ms: int, to_ms: int, first_ms: Array) -> None:
    """Start of the first pane in [from_ms, to_ms) with an event, by exchange slot; NEVER where there is none."""
    first_ms[:] = NEVER
    first = max(from_ms // size.pane_ms, head - size.panes + 1, 0)
    for pane in range(first, min((to_ms - 1) // size.pane_ms, head) + 1):
        place = place_of(size, pane)
        if panes.sums[asset, place, EVENTS]:
            for cell in range(panes.cells.shape[2]):
                if panes.cells[asset, place, cell, 0]:
                    first_ms[cell // SIDES] = min(first_ms[cell // SIDES], pane * size.pane_ms)


@jit
def add_up(panes: Panes, asset: int, sizes: Array, heads: Array) -> None:
    """Make the sums of an asset's panes from its cells."""
    sums, cells = panes.sums[asset], panes.cells[asset]
    sums[:] = 0
    for place in range(sums.shape[0]):
        for cell in range(cells.shape[1]):
            sums[place, EVENTS] += cells[place, cell, 0]
            sums[place, MICRO_USD] += cells[place, cell, 1]
            sums[place, BALANCE] += -cells[place, cell, 1] if cell % SIDES else cells[place, cell, 1]
    for s in range(sizes.shape[0]):
        size = sizes[s]
        for pane in range(max(heads[s] - size.panes + 1, 0), heads[s] + 1):
            sums[place_of(size, pane), WINDOW] = window_sums(sums, size, heads[s], pane)[0]
