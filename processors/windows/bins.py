"""Counts of each exchange in small bins of event time, in a ring: what correlation and lag are computed from."""

import numpy as np

from processors.jit import leaf, owning, part
from processors.windows.layout import Array, Row
from processors.windows.vectors import add_counts

BIN_MAX = 65_535  # events of one exchange in one bin of 100 ms; more count no more here, only here


@leaf
def add_bin(bins: Array, asset: Row, slot: int, event_ms: int, bin_ms: int) -> None:
    """Count one event of exchange `slot` in a bin; `bins` is one asset's [slot, bin].

    A bin that is no longer kept is left out."""
    kept, bin_ = bins.shape[1], int(np.int64(np.uint64(event_ms) // np.uint64(bin_ms)))
    if bin_ > asset.bin_head:
        for gone in range(max(asset.bin_head + 1, bin_ - kept + 1), bin_ + 1):
            place = np.int64(np.uint64(gone) % np.uint64(kept))
            for k in range(bins.shape[0]):
                asset.bin_events[k] -= bins[k, place]
                bins[k, place] = 0
        asset.bin_head = bin_
    if bin_ > asset.bin_head - kept:
        place = np.int64(np.uint64(bin_) % np.uint64(kept))
        if bins[slot, place] < BIN_MAX:
            bins[slot, place] += 1
            asset.bin_events[slot] += 1


@part
def series_of(bins: Array, asset: Row, slot: int, end_ms: int, rule: Row, series: Array) -> None:
    """Add the counts of one exchange in the correlation's span before `end_ms` (a whole second) to `series`."""
    kept = bins.shape[1]
    end = end_ms // rule.lag_bin_ms
    start = end - rule.span_ms // rule.lag_bin_ms
    first, last = max(start, asset.bin_head - kept + 1, 0), min(end - 1, asset.bin_head)
    if first > last:
        return
    place = int(np.int64(np.uint64(first) % np.uint64(kept)))
    count = last + 1 - first
    piece = min(count, kept - place)  # up to the end of the ring
    add_counts(series, first - start, bins[slot], place, place + piece)
    add_counts(series, first - start + piece, bins[slot], 0, count - piece)


@owning
def binned(bins: Array, asset: Row, end_ms: int, rule: Row, bins_each: int) -> Array:
    """Counts [slot, bin] of that span, `bins_each` kept bins in one.

    Exchanges that cannot have enough events to take part are left out."""
    span = rule.span_ms // rule.lag_bin_ms
    counts = np.zeros((bins.shape[0], span // bins_each), np.int32)
    series = np.zeros(span, np.int32)
    for slot in range(bins.shape[0]):
        if asset.bin_events[slot] < rule.events_min:
            continue
        if bins_each == 1:
            series_of(bins, asset, slot, end_ms, rule, counts[slot])
            continue
        series[:] = 0
        series_of(bins, asset, slot, end_ms, rule, series)
        for joined in range(counts.shape[1]):
            total = np.int32(0)
            for k in range(bins_each):
                total += series[joined * bins_each + k]
            counts[slot, joined] = total
    return counts
