"""Panes: each size of window keeps integer sums of a tenth of it, in a ring; any ten panes in a row are a window.

Pane p of a size holds event times [p * pane_ms, (p + 1) * pane_ms). Sums are whole (counts, micro-USD), so they do not
depend on the order of arrival. The ring holds two windows and the grace: whatever may still be judged is in it."""

from typing import NamedTuple

import numpy as np

from processors.jit import jit
from processors.settings import PANES_A_WINDOW
from processors.windows.layout import CELLS, NEVER, SIDES, Array, Row

TEN = PANES_A_WINDOW


class Panes(NamedTuple):
    """The rings of all assets: axes asset, pane (all sizes one behind the other), cell."""

    events: Array  # int64 [asset, pane]: all cells together
    micro_usd: Array  # int64 [asset, pane]
    balance: Array  # int64 [asset, pane]: micro-USD of longs - of shorts
    cell_events: Array  # int32 [asset, pane, cell]
    cell_micro_usd: Array  # int64 [asset, pane, cell]


def new_panes(assets: int, panes: int) -> Panes:
    """Empty rings."""
    return Panes(
        np.zeros((assets, panes), np.int64),
        np.zeros((assets, panes), np.int64),
        np.zeros((assets, panes), np.int64),
        np.zeros((assets, panes, CELLS), np.int32),
        np.zeros((assets, panes, CELLS), np.int64),
    )


@jit
def add(panes: Panes, asset: int, size: Row, head: int, pane: int, cell: int, micro_usd: int) -> None:
    """Put one event into pane `pane` of one size; `head` is the newest pane before."""
    kept = size.panes
    if pane > head:
        for gone in range(max(head + 1, pane - kept + 1), pane + 1):
            slot = size.base + gone % kept
            if panes.events[asset, slot]:
                panes.events[asset, slot] = 0
                panes.micro_usd[asset, slot] = 0
                panes.balance[asset, slot] = 0
                panes.cell_events[asset, slot] = 0
                panes.cell_micro_usd[asset, slot] = 0
    slot = size.base + pane % kept
    panes.events[asset, slot] += 1
    panes.micro_usd[asset, slot] += micro_usd
    panes.balance[asset, slot] += -micro_usd if cell % SIDES else micro_usd
    panes.cell_events[asset, slot, cell] += 1
    panes.cell_micro_usd[asset, slot, cell] += micro_usd


@jit
def place_of(size: Row, pane: int) -> int:
    """Where a pane lies in an asset's row."""
    return int(size.base + pane % size.panes)


@jit
def window_sum(sums: Array, size: Row, head: int, end: int) -> int:
    """Sum of the window of ten panes whose newest is `end`; `sums` is one asset's row; panes after `head` are empty."""
    first = max(end - TEN + 1, head - size.panes + 1)
    slot = first % size.panes  # one division a window, not one a pane
    total = 0
    for _ in range(first, min(end, head) + 1):
        total += sums[size.base + slot]
        slot += 1
        if slot == size.panes:
            slot = 0
    return total


@jit
def highest_count(sums: Array, size: Row, head: int, pane: int) -> tuple[int, int]:
    """Highest count of the windows that hold `pane` and are there already, and the newest window that has it.

    The window is named by its newest pane: pane … min(pane + 9, head). `pane` is within the grace."""
    count = window_sum(sums, size, head, pane)
    best, best_end = count, pane
    for end in range(pane + 1, min(pane + TEN - 1, head) + 1):
        count += sums[place_of(size, end)] - sums[place_of(size, end - TEN)]
        if count >= best:
            best, best_end = count, end
    return best, best_end


@jit
def next_close_ms(sums: Array, size: Row, head: int, first_pane: int) -> int:
    """When the first tumbling window from `first_pane` on that holds an event is final, ms, or NEVER."""
    for pane in range(max(first_pane, head - size.panes + 1), head + 1):
        if sums[size.base + pane % size.panes]:
            return int((pane // TEN + 1) * size.size_ms + size.grace_ms)
    return NEVER


@jit
def count_due(now_ms: int, assets: Array, count: int, sizes: Array) -> int:
    """Upper bound of the tumbling windows that are final at `now_ms` (every grid place from the first due one on)."""
    total = 0
    for a in range(count):
        for s in range(sizes.shape[0]):
            size = sizes[s]
            closes = assets[a].closes_ms[s]
            if closes <= now_ms:
                last = min((now_ms - size.grace_ms) // size.size_ms - 1, assets[a].heads[s] // TEN)
                total += last - ((closes - size.grace_ms) // size.size_ms - 1) + 1
    return total


@jit
def take_due(
    now_ms: int, assets: Array, count: int, panes: Panes, sizes: Array, rows: Array, events: Array, micro_usd: Array
) -> int:
    """Close the tumbling windows that are final at `now_ms` and hold an event; returns how many.

    Fills `rows` (end_ms, size index, asset) and the cells of each window, which must have `count_due` places."""
    n = 0
    for a in range(count):
        asset = assets[a]
        for s in range(sizes.shape[0]):
            size = sizes[s]
            while asset.closes_ms[s] <= now_ms:
                end_ms = asset.closes_ms[s] - size.grace_ms
                last = end_ms // size.pane_ms - 1
                rows[n, 0], rows[n, 1], rows[n, 2] = end_ms, s, a
                window_cells(panes, a, size, asset.heads[s], last, events[n], micro_usd[n])
                n += 1
                asset.closes_ms[s] = next_close_ms(panes.events[a], size, asset.heads[s], last + 1)
                asset.dirty = True
    return n


@jit
def window_cells(panes: Panes, asset: int, size: Row, head: int, end: int, events: Array, micro_usd: Array) -> None:
    """Add the cells of the window of ten panes whose newest is `end` to `events` and `micro_usd`."""
    for pane in range(max(end - TEN + 1, head - size.panes + 1), min(end, head) + 1):
        slot = size.base + pane % size.panes
        if panes.events[asset, slot]:
            for cell in range(CELLS):
                events[cell] += panes.cell_events[asset, slot, cell]
                micro_usd[cell] += panes.cell_micro_usd[asset, slot, cell]


@jit
def first_times(panes: Panes, asset: int, size: Row, head: int, from_ms: int, to_ms: int, first_ms: Array) -> None:
    """Start of the first pane in [from_ms, to_ms) with an event, by exchange slot; NEVER where there is none."""
    first_ms[:] = NEVER
    first = max(from_ms // size.pane_ms, head - size.panes + 1)
    for pane in range(first, min((to_ms - 1) // size.pane_ms, head) + 1):
        slot = size.base + pane % size.panes
        if panes.events[asset, slot]:
            for cell in range(CELLS):
                if panes.cell_events[asset, slot, cell]:
                    first_ms[cell // SIDES] = min(first_ms[cell // SIDES], pane * size.pane_ms)


@jit
def add_bin(bins: Array, asset: Row, slot: int, bin_: int) -> None:
    """Count one event of exchange `slot` in a bin of the correlation; `bins` is one asset's [bin, slot].

    A bin that is no longer kept is left out."""
    kept = bins.shape[0]
    if bin_ > asset.bin_head:
        for gone in range(max(asset.bin_head + 1, bin_ - kept + 1), bin_ + 1):
            for k in range(bins.shape[1]):
                asset.bin_events -= bins[gone % kept, k]
                bins[gone % kept, k] = 0
        asset.bin_head = bin_
    if bin_ > asset.bin_head - kept:
        bins[bin_ % kept, slot] += 1
        asset.bin_events += 1


@jit
def binned(bins: Array, asset: Row, end_ms: int, rule: Row, bins_each: int) -> Array:
    """Counts [slot, bin] of the correlation's span before `end_ms` (a whole second), `bins_each` kept bins in one."""
    kept = bins.shape[0]
    end = end_ms // rule.lag_bin_ms
    start = end - rule.span_ms // rule.lag_bin_ms
    counts = np.zeros((bins.shape[1], (end - start) // bins_each), np.int64)
    for bin_ in range(max(start, asset.bin_head - kept + 1), min(end - 1, asset.bin_head) + 1):
        kept_bin, joined = bins[bin_ % kept], (bin_ - start) // bins_each
        for slot in range(bins.shape[1]):
            counts[slot, joined] += kept_bin[slot]
    return counts
