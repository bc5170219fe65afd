"""Panes: each size of window keeps integer sums of a tenth of it, in a ring; any ten panes in a row are a window.

Pane p of a size holds event times [p * pane_ms, (p + 1) * pane_ms). Sums are whole (counts, micro-USD), so they do not
depend on the order of arrival. The ring holds two windows and the grace: whatever may still be judged is in it.

Beside its own sums each pane has the count of the window that it ends. An event in order changes one of these, and a
level or a flag is then decided by one number instead of ten. What stands by exchange and side is kept of the judged
size alone; of the smallest one, whose panes tell who moved first, the exchanges that there are."""

from typing import Annotated, NamedTuple

import numpy as np
from numba import types

from processors.jit import inlined, jit, leaf, part
from processors.settings import PANES_A_WINDOW
from processors.windows.layout import CELLS, NEVER, SIDES, Array, Row
from processors.windows.memory import unsigned
from processors.windows.vectors import LANES, add_cells, raise_counts, sum_of_ten

TEN = PANES_A_WINDOW
MICRO_USD, BALANCE = range(2)  # of a pane: all cells together; longs - shorts


class Panes(NamedTuple):
    """The rings of all assets: axes asset, pane (all sizes one behind the other but where one is named)."""

    events: Annotated[Array, types.int32[:, ::1]]  # [asset, pane]
    sums: Annotated[Array, types.int64[:, :, ::1]]  # [asset, pane, (micro-USD, balance)]
    counts: Annotated[Array, types.int32[:, ::1]]  # [asset, pane]: events of the ten panes that end there
    exchanges: Annotated[Array, types.uint32[:, ::1]]  # [asset, pane of the smallest size]: slots with an event, bits
    cells: Annotated[Array, types.int64[:, :, :, ::1]]  # [asset, pane of the judged size, cell, (events, micro-USD)]


def new_panes(assets: int, panes: int, smallest: int, judged: int) -> Panes:
    """Empty rings of so many panes in all, of the smallest size and of the judged one."""
    return Panes(
        np.zeros((assets, panes), np.int32),
        np.zeros((assets, panes, 2), np.int64),
        np.zeros((assets, panes + LANES), np.int32),  # some behind the end, which are looked at and stay 0
        np.zeros((assets, smallest), np.uint32),
        np.zeros((assets, judged, CELLS, 2), np.int64),
    )


@leaf
def place_of(size: Row, pane: int) -> int:
    """Where a pane lies in an asset's row."""
    return unsigned(size.base + (pane & (size.panes - 1)))


@leaf
def own_place_of(size: Row, pane: int) -> int:
    """Where a pane lies in a row of its own size alone."""
    return unsigned(pane & (size.panes - 1))


@leaf
def count_at(counts: Array, place: int) -> int:
    """Events of the window that ends at the pane there."""
    return int(np.int64(counts[place]))


@leaf
def pane_of(time_ms: int, size: Row) -> int:
    """The pane of a time from 1970 on."""
    return int(np.int64(np.uint64(time_ms) // np.uint64(size.pane_ms)))


@inlined
def advance(panes: Panes, a: int, size: Row, head: int, pane: int, smallest: bool, judged: bool) -> None:
    """Make room for the panes of an asset after `head` up to `pane`."""
    events, counts, window = panes.events[a], panes.counts[a], 0
    first = head + 1
    if pane - head < size.panes:
        window = count_at(counts, place_of(size, head))
    else:
        first = pane - size.panes + 1
    for new in range(first, pane + 1):
        if window:
            window -= events[place_of(size, new - TEN)]
        place = place_of(size, new)
        counts[place] = window
        if events[place]:
            events[place] = 0
            panes.sums[a, place, MICRO_USD] = panes.sums[a, place, BALANCE] = 0
            if smallest:
                panes.exchanges[a, place] = 0
            if judged:
                cells = panes.cells[a, own_place_of(size, new)]
                for cell in range(cells.shape[0]):
                    cells[cell, 0] = cells[cell, 1] = 0


@inlined
def add(panes: Panes, a: int, size: Row, head: int, pane: int, place: int, micro_usd: int, balance: int) -> int:
    """Put one event into a pane of one size, at most `head`, the newest one. Returns the highest count of the windows
    that hold it and are there already: those that end at the panes pane ... min(pane + 9, head)."""
    counts, sums = panes.counts[a], panes.sums[a]
    panes.events[a, place] += 1
    sums[place, MICRO_USD] += micro_usd
    sums[place, BALANCE] += balance
    held = min(TEN, head - pane + 1)
    before_the_end = min(held, size.panes - (pane & (size.panes - 1)))  # of the ring
    highest = raise_counts(counts, place, before_the_end)
    if before_the_end < held:
        highest = max(highest, raise_counts(counts, size.base, held - before_the_end))
    return int(highest)


@part
def highest_end(counts: Array, size: Row, head: int, pane: int) -> int:
    """The window that has that highest count, the newest of equals, named by its newest pane."""
    best, best_end = -1, pane
    for end in range(pane, min(pane + TEN - 1, head) + 1):
        count = count_at(counts, place_of(size, end))
        if count >= best:
            best, best_end = count, end
    return best_end


@part
def window_sums(panes: Panes, a: int, size: Row, head: int, end: int) -> tuple[int, int, int]:
    """Events, micro-USD and balance of the window of ten panes whose newest is `end`; panes after `head` are empty."""
    first, last = max(end - TEN + 1, head - size.panes + 1), min(end, head)
    place = place_of(size, first)
    if last - first == TEN - 1 and place + TEN <= size.base + size.panes:
        micro_usd, balance = sum_of_ten(panes.sums[a], place)
        return count_at(panes.counts[a], place + TEN - 1), micro_usd, balance
    events, micro_usd, balance = 0, 0, 0
    for pane in range(first, last + 1):
        place = place_of(size, pane)
        events += panes.events[a, place]
        micro_usd += panes.sums[a, place, MICRO_USD]
        balance += panes.sums[a, place, BALANCE]
    return events, micro_usd, balance


@part
def window_cells(panes: Panes, a: int, size: Row, head: int, end: int, cells: Array) -> None:
    """Add the cells of the window of ten panes of the judged size whose newest is `end` to `cells` [cell, (events,
    micro-USD)]."""
    for pane in range(max(end - TEN + 1, head - size.panes + 1), min(end, head) + 1):
        place = place_of(size, pane)
        if panes.events[a, place]:
            add_cells(cells, panes.cells[a, own_place_of(size, pane)])


@part
def next_close_ms(events: Array, size: Row, head: int, first_pane: int) -> int:
    """When the first tumbling window from `first_pane` on that holds an event is final, ms, or NEVER."""
    for pane in range(max(first_pane, head - size.panes + 1), head + 1):
        if events[place_of(size, pane)]:
            return int((pane // TEN + 1) * size.size_ms + size.grace_ms)
    return NEVER


@part
def first_times(panes: Panes, a: int, size: Row, head: int, from_ms: int, to_ms: int, first_ms: Array) -> None:
    """Start of the first pane of the smallest size in [from_ms, to_ms) with an event, by exchange slot; NEVER where
    there is none."""
    first_ms[:] = NEVER
    first = max(from_ms // size.pane_ms, head - size.kept + 1, 0)
    for pane in range(first, min((to_ms - 1) // size.pane_ms, head) + 1):
        bits = panes.exchanges[a, place_of(size, pane)]
        for slot in range(CELLS // SIDES):
            if bits >> np.uint32(slot) & np.uint32(1):
                first_ms[slot] = min(first_ms[slot], pane * size.pane_ms)


@jit
def count_windows(events: Array, counts: Array, sizes: Array, heads: Array) -> None:
    """Make the counts of an asset's windows from the events of its panes."""
    counts[:] = 0
    for s in range(sizes.shape[0]):
        size = sizes[s]
        oldest = max(heads[s] - size.panes + 1, 0)
        for pane in range(oldest, heads[s] + 1):
            for held in range(max(pane - TEN + 1, oldest), pane + 1):
                counts[place_of(size, pane)] += events[place_of(size, held)]
