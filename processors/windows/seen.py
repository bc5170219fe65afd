"""Ids of the liquidations of the last ten minutes of the log: a record whose id is among them counts no more.

A record is a duplicate when one with its id was appended less than ten minutes before it, whether that one counted or
not. So what is known at a place of the log depends on the ten minutes before it alone, and is read again from there
after a restart: no snapshot carries it. Ids are kept as 64 bits (MurmurHash64A): with 2 million of them known, a new
event is taken for a duplicate by chance once in 10^13."""

from typing import Annotated, Final, NamedTuple

import numpy as np
from numba import types

from processors.jit import jit, part
from processors.metrics.metric import NOBODY
from processors.windows.buckets import ALL, ENTRIES, NUMBERS, bucket_of, entry_of, look, new_buckets, next_bucket
from processors.windows.layout import Array
from processors.windows.memory import PADDING, fetch, load64, trailing_zeros
from processors.windows.reference import reader_of
from processors.windows.state import state_at

SPAN_MS: Final = 600_000
IDS_MAX: Final = 2_000_000  # 3,333/s for ten minutes in one partition; 17 bytes and 8 of the index each: 50 MB
IDS_FIRST: Final = 1_024
COUNT, NEXT, LIMIT, FORGOTTEN, DOUBLED = range(5)  # of `counts`
AHEAD: Final = 16  # records whose cache lines are on the way; a processor drops what exceeds some twenty
_GROWTH: Final = 4  # what is known is put into a larger table a third of a time for each id in all
_SECOND_END: Final = (1 << 32) - 1
_FACTOR: Final = np.uint64(0xC6A4A7935BD1E995)
_SHIFT: Final = np.uint64(47)
_ONE: Final = np.uint64(1)


class Seen(NamedTuple):
    """The last records in a ring, each at its number in the log, and an index of it by id."""

    ids: Annotated[Array, types.int64[::1]]  # [place], a power of two
    times_ms: Annotated[Array, types.int64[::1]]  # [place]: append time
    buckets: Annotated[Array, types.uint32[::1]]
    counts: Annotated[Array, types.int64[::1]]  # [5]


seen_at = reader_of(Seen)


def new_seen(limit: int) -> Seen:
    """An empty table for so many ids."""
    places = 1 << (limit - 1).bit_length()
    counts = np.zeros(5, np.int64)
    counts[LIMIT] = limit
    return Seen(np.zeros(places, np.int64), np.zeros(places, np.int64), new_buckets(places), counts)


def with_room(seen: Seen, records: int) -> Seen:
    """The table, or a larger one with the same records, with room for so many more as far as IDS_MAX allows."""
    count, limit = int(seen.counts[COUNT]), int(seen.counts[LIMIT])
    needed = min(count + records, IDS_MAX)
    if needed <= limit:
        return seen
    larger = new_seen(min(max(needed, _GROWTH * limit), IDS_MAX))
    places = np.arange(seen.counts[NEXT] - count, seen.counts[NEXT]) % len(seen.ids)
    note_all(seen.ids[places], seen.times_ms[places], larger)
    larger.counts[FORGOTTEN:] = seen.counts[FORGOTTEN:]
    return larger


def id_of(event_id: str) -> int:
    """The id as it is kept.

    >>> id_of("a"), id_of("b")
    (510903276987443985, -1545864430818285001)"""
    data = event_id.encode()
    return int(hash_of(np.frombuffer(data + bytes(PADDING), np.uint8), 0, len(data)))


@jit
def hash_of(data: Array, begin: int, end: int) -> int:
    """MurmurHash64A, seed 0, of data[begin:end] (Austin Appleby, github.com/aappleby/smhasher, MurmurHash2.cpp).

    Reads up to 7 bytes behind the end."""
    hash_ = np.uint64(end - begin) * _FACTOR
    at = begin
    while at + 8 <= end:
        word = np.uint64(load64(data, at)) * _FACTOR
        hash_ = (hash_ ^ ((word ^ (word >> _SHIFT)) * _FACTOR)) * _FACTOR
        at += 8
    if at < end:
        rest = np.uint64(load64(data, at)) & ((_ONE << np.uint64(8 * (end - at))) - _ONE)
        hash_ = (hash_ ^ rest) * _FACTOR
    hash_ = (hash_ ^ (hash_ >> _SHIFT)) * _FACTOR
    return int(np.int64(hash_ ^ (hash_ >> _SHIFT)))


@jit
def note_run(count: int, of: int, at: int) -> None:
    """Take note of a run, the first `count` events of the `State` whose address is `of`, once, and mark what is a
    duplicate. `at`: address of the `Seen`."""
    seen, events = seen_at(at), state_at(of).events
    for i in range(min(AHEAD, count)):
        fetch(seen.buckets, bucket_of(events[i].id, seen.buckets))
    for i in range(count):
        if i + AHEAD < count:
            fetch(seen.buckets, bucket_of(events[i + AHEAD].id, seen.buckets))
        events[i].double = note(events[i].id, events[i].append_ms, seen)


@jit
def note_all(ids: Array, times_ms: Array, seen: Seen) -> None:
    """Take note of records in the order of the log."""
    for i in range(ids.shape[0]):
        if i + AHEAD < ids.shape[0]:
            fetch(seen.buckets, bucket_of(ids[i + AHEAD], seen.buckets))
        note(ids[i], times_ms[i], seen)


@jit
def note(id_: int, time_ms: int, seen: Seen) -> bool:
    """Take note of a record; True when it is a duplicate. Without room the oldest is forgotten, and counted."""
    counts, mask = seen.counts, seen.ids.shape[0] - 1
    number = counts[NEXT]
    while counts[COUNT] and seen.times_ms[(number - counts[COUNT]) & mask] <= time_ms - SPAN_MS:
        counts[COUNT] -= 1
    if counts[COUNT] == counts[LIMIT]:
        counts[FORGOTTEN] += _is_newest(number - counts[COUNT], seen)
        counts[COUNT] -= 1
    entry, at = entry_of(id_, number), bucket_of(id_, seen.buckets)
    lanes = look(seen.buckets, at, entry, counts[COUNT])
    double = False
    if lanes & ALL == 0 and lanes >> ENTRIES & ALL and seen.buckets[at] == 0:  # so it is for nearly all
        seen.buckets[at + trailing_zeros(lanes >> ENTRIES & ALL)] = entry
    else:
        double = _enter(id_, entry, time_ms, seen)
    seen.ids[number & mask], seen.times_ms[number & mask] = id_, time_ms
    counts[NEXT] += 1
    counts[COUNT] += 1
    counts[DOUBLED] += double
    return double


@part
def _enter(id_: int, entry: int, time_ms: int, seen: Seen) -> bool:
    """Put an entry into the index; True when the record is a duplicate."""
    mask = seen.ids.shape[0] - 1
    known = _find(id_, entry, time_ms, seen)
    if known == NOBODY:
        known = _room_for(id_, entry, time_ms, seen)
        seen.buckets[known] = entry
        return False
    double = bool(time_ms - seen.times_ms[seen.buckets[known] & mask] < SPAN_MS)
    _keep_way(id_, known, time_ms, seen)
    seen.buckets[known] = entry
    return double


@part
def _find(id_: int, entry: int, time_ms: int, seen: Seen) -> int:
    """Where the entry of the newest kept record with this id is, or NOBODY; `entry` is the next record's."""
    buckets, mask = seen.buckets, seen.ids.shape[0] - 1
    at = bucket_of(id_, buckets)
    while True:
        alike = look(buckets, at, entry, seen.counts[COUNT]) & ALL
        while alike:
            lane = trailing_zeros(alike)
            if seen.ids[buckets[at + lane] & mask] == id_:
                return int(at + lane)
            alike &= alike - 1
        if buckets[at] == 0 or buckets[at] < _second(time_ms - SPAN_MS):
            return NOBODY
        at = next_bucket(at, buckets)


@part
def _room_for(id_: int, entry: int, time_ms: int, seen: Seen) -> int:
    """Where there is room for the entry of an id. There is: of the entries at most half are of kept records, and of the
    others at most a quarter look so."""
    buckets = seen.buckets
    at = bucket_of(id_, buckets)
    while True:
        free = look(buckets, at, entry, seen.counts[COUNT]) >> ENTRIES & ALL
        if free:
            return int(at + trailing_zeros(free))
        buckets[at] = max(buckets[at], _second(time_ms))
        at = next_bucket(at, buckets)


@part
def _keep_way(id_: int, known: int, time_ms: int, seen: Seen) -> None:
    """Let the buckets before the one of an entry lead to it for as long as it counts now."""
    at = bucket_of(id_, seen.buckets)
    while not at <= known < at + ENTRIES:
        seen.buckets[at] = max(seen.buckets[at], _second(time_ms))
        at = next_bucket(at, seen.buckets)


@part
def _second(time_ms: int) -> int:
    """What a bucket says of its last entry that found no room; it is never 0."""
    return min(max(time_ms // 1_000 + 1, 1), _SECOND_END)


@part
def _is_newest(number: int, seen: Seen) -> bool:
    """Whether a record is the newest one with its id."""
    place = number & (seen.ids.shape[0] - 1)
    id_ = seen.ids[place]
    at = _find(id_, entry_of(id_, seen.counts[NEXT]), seen.times_ms[place], seen)
    return bool(at >= 0 and (seen.buckets[at] ^ number) & NUMBERS == 0)
