"""Counts of each exchange in small bins of event time, in a ring: what correlation and lag are computed from."""

from typing import Any, Final

import numpy as np

from processors.jit import leaf, owning, part
from processors.metrics.correlation import empty_bins, mean_pearson
from processors.metrics.correlation_lag import best_lag, empty_pair
from processors.windows.layout import LONG_AGO, Array, Row
from processors.windows.memory import unsigned
from processors.windows.vectors import INT16_END, add_counts, total_of

BIN_MAX: Final = 65_535  # events of one exchange in one bin of 100 ms; more count no more here, only here


@leaf
def add_bin(bins: Array, asset: Row, slot: int, event_ms: int, rule: Row) -> None:
    """Count one event of exchange `slot` in a bin; `bins` is one asset's [slot, bin].

    A bin that is no longer kept is left out."""
    kept, bin_ = bins.shape[1], int(np.int64(np.uint64(event_ms) // np.uint64(rule.lag_bin_ms)))
    place = unsigned(place_of_bin(bin_, kept))
    if bin_ > asset.bin_head:
        for gone in range(max(asset.bin_head + 1, bin_ - kept + 1), bin_ + 1):
            _empty(bins, asset, gone)
        asset.bin_head = bin_
    if bin_ > asset.bin_head - kept and bins[slot, place] < BIN_MAX:
        bins[slot, place] += 1
        asset.bin_events[slot] += 1


@part
def _empty(bins: Array, asset: Row, bin_: int) -> None:
    place = place_of_bin(bin_, bins.shape[1])
    for slot in range(bins.shape[0]):
        asset.bin_events[slot] -= bins[slot, place]
        bins[slot, place] = 0


@part
def are_few(asset: Row) -> bool:
    """Whether all counts of an asset in its bins, and all sums of their products, are told by int16 (`vectors.dot`)."""
    total = 0
    for events in asset.bin_events:
        total += events
    return bool(total < INT16_END)


@part
def span_of(asset: Row, kept: int, end_ms: int, rule: Row) -> tuple[int, int, int]:
    """First bin of the correlation's span before `end_ms` (a whole second), and first and last of its bins that are
    kept; the last is before the first where none is."""
    end = end_ms // rule.lag_bin_ms
    start = end - rule.span_ms // rule.lag_bin_ms
    return start, max(start, asset.bin_head - kept + 1, 0), min(end - 1, asset.bin_head)


@part
def events_in(bins: Array, asset: Row, slot: int, first: int, last: int) -> int:
    """Events of one exchange in the bins first ... last: all that are kept without those around, which are few."""
    if first > last or not asset.bin_events[slot]:
        return 0
    oldest = max(asset.bin_head - bins.shape[1] + 1, 0)
    around = _sum_of(bins, slot, oldest, first) + _sum_of(bins, slot, last + 1, asset.bin_head + 1)
    return int(asset.bin_events[slot]) - around


@part
def _sum_of(bins: Array, slot: int, begin: int, end: int) -> int:
    kept, total = bins.shape[1], 0
    place = place_of_bin(begin, kept)
    for _ in range(begin, end):
        total += bins[slot, place]
        place = place + 1 if place + 1 < kept else 0
    return int(total)


@leaf
def place_of_bin(bin_: int, kept: int) -> int:
    """Where a bin lies in the ring."""
    return int(np.int64(np.uint64(bin_) % np.uint64(kept)))


@part
def add_series(bins: Array, slot: int, first: int, last: int, series: Array, at: int) -> None:
    """Add the counts of one exchange in the bins first ... last, of which there are some, to `series[at:]`."""
    kept, count = bins.shape[1], last + 1 - first
    place = place_of_bin(first, kept)
    piece = min(count, kept - place)  # up to the end of the ring
    add_counts(series, at, bins[slot], place, place + piece)
    add_counts(series, at + piece, bins[slot], 0, count - piece)


@owning
def correlation_of(bins: Array, asset: Row, end_ms: int, rule: Row, kind: Any) -> float:
    """Correlation of the exchanges in the span, NaN without data; counts of int16 or int32, as `kind` says."""
    start, first, last = span_of(asset, bins.shape[1], end_ms, rule)
    each = rule.bin_ms // rule.lag_bin_ms
    joined_bins = rule.span_ms // rule.bin_ms
    counts = empty_bins(bins.shape[0], joined_bins, kind)
    series, ones = np.zeros(joined_bins * each, kind), np.ones(each, kind)
    for slot in range(bins.shape[0]):
        if asset.bin_events[slot] >= rule.events_min and first <= last:  # whether it has enough is seen below
            series[:] = 0
            add_series(bins, slot, first, last, series, first - start)
            for joined in range(joined_bins):
                counts[slot, joined] = total_of(series, joined * each, (joined + 1) * each, ones)
    return mean_pearson(counts, joined_bins, rule.events_min)


@owning
def lag_of(bins: Array, asset: Row, leader: int, end_ms: int, rule: Row, kind: Any) -> int:
    """Lag of the highest correlation in the span in ms, LONG_AGO when there is nobody to compare."""
    start, first, last = span_of(asset, bins.shape[1], end_ms, rule)
    span, lag_max = rule.span_ms // rule.lag_bin_ms, rule.lag_bins_max
    if events_in(bins, asset, leader, first, last) < rule.events_min:
        return LONG_AGO
    leading, others = empty_pair(span, lag_max, kind)
    add_series(bins, leader, first, last, leading, first - start)
    heard = False
    for slot in range(bins.shape[0]):
        if slot != leader and events_in(bins, asset, slot, first, last) >= rule.events_min:
            heard = True
            add_series(bins, slot, first, last, others, lag_max + first - start)
    return best_lag(leading, others, span, lag_max) * rule.lag_bin_ms if heard else LONG_AGO
