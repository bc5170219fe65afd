"""Ids of the liquidations of the last ten minutes of the log: a record whose id is among them counts no more.

A record is a duplicate when one with its id was appended less than ten minutes before it, whether that one counted or
not. So what is known at a place of the log depends on the ten minutes before it alone, and is read again from there
after a restart: no snapshot carries it. Ids are kept as 64 bits (MurmurHash64A): with 2 million of them known, a new
event is taken for a duplicate by chance once in 10^13."""

from typing import Annotated, Final, NamedTuple

import numpy as np
from numba import types

from processors.jit import jit, leaf, part
from processors.windows.layout import Array
from processors.windows.memory import PADDING, load64
from processors.windows.reference import reader_of

SPAN_MS: Final = 600_000
IDS_MAX: Final = 2_000_000  # 3,333/s for ten minutes in one partition; 16 bytes and 17 of the index each: 66 MB
IDS_FIRST: Final = 1_024
FIRST, COUNT, FORGOTTEN, DOUBLED, TOUCHED = range(5)  # of `counts`
AT_ONCE: Final = 128  # two cache lines each, which the nearest cache of any processor holds
_FACTOR: Final = np.uint64(0xC6A4A7935BD1E995)
_SHIFT: Final = np.uint64(47)
_ONE: Final = np.uint64(1)
_LOWER: Final = 0xFFFFFFFF
_UPPER: Final = 32  # bits below it


class Seen(NamedTuple):
    """A queue of the last records in a ring, and an index of it by id: 0, or 1 + the place of the newest record in the
    upper half and the lower half of its id in the lower one. So the index is walked without a look at the ring, where
    every look would wait for memory."""

    ids: Annotated[Array, types.int64[::1]]  # [place]
    times_ms: Annotated[Array, types.int64[::1]]  # [place]: append time
    slots: Annotated[Array, types.int64[::1]]  # [slot], a power of two and at least twice the places: linear probing
    counts: Annotated[Array, types.int64[::1]]  # [5]


seen_at = reader_of(Seen)


def new_seen(places: int) -> Seen:
    """An empty table."""
    slots = 1 << (2 * places - 1).bit_length()
    return Seen(
        np.zeros(places, np.int64), np.zeros(places, np.int64), np.zeros(slots, np.int64), np.zeros(5, np.int64)
    )


def with_room(seen: Seen, records: int) -> Seen:
    """The table, or a larger one with the same records, with room for so many more as far as IDS_MAX allows."""
    needed = min(int(seen.counts[COUNT]) + records, IDS_MAX)
    if needed <= len(seen.ids):
        return seen
    larger = new_seen(min(max(needed, 2 * len(seen.ids)), IDS_MAX))
    places = (seen.counts[FIRST] + np.arange(seen.counts[COUNT])) % len(seen.ids)
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
def note_run(events: Array, at: int) -> None:
    """Take note of a run (EVENT rows), once, and mark what is a duplicate. `at`: address of the `Seen`."""
    seen = seen_at(at)
    for first in range(0, events.shape[0], AT_ONCE):
        end = min(first + AT_ONCE, events.shape[0])
        _touch(events, first, end, seen)
        for i in range(first, end):
            events[i].double = note(events[i].id, events[i].append_ms, seen)


@part
def _touch(events: Array, first: int, end: int, seen: Seen) -> None:
    """Look at the slots that events will need, and at those of as many oldest ids, all at once: one after the other
    each would wait for memory."""
    mask, total = seen.slots.shape[0] - 1, 0
    place, kept = seen.counts[FIRST], seen.ids.shape[0]
    for i in range(first, end):
        total += seen.slots[events[i].id & mask]
        total += seen.slots[seen.ids[place] & mask]
        place = 0 if place + 1 == kept else place + 1
    seen.counts[TOUCHED] = total  # of no use, but without a use of the total the look would be left out


@jit
def note_all(ids: Array, times_ms: Array, seen: Seen) -> None:
    """Take note of records in the order of the log."""
    for i in range(ids.shape[0]):
        note(ids[i], times_ms[i], seen)


@jit
def note(id_: int, time_ms: int, seen: Seen) -> bool:
    """Take note of a record; True when it is a duplicate. Without room the oldest is forgotten, and counted."""
    counts, kept = seen.counts, seen.ids.shape[0]
    while counts[COUNT] and seen.times_ms[counts[FIRST]] <= time_ms - SPAN_MS:
        _drop_first(seen)
    if counts[COUNT] == kept:
        counts[FORGOTTEN] += _drop_first(seen)
    slot = _slot_of(id_, seen)
    known = seen.slots[slot]
    double = bool(known and time_ms - seen.times_ms[(known >> _UPPER) - 1] < SPAN_MS)
    place = counts[FIRST] + counts[COUNT]
    if place >= kept:
        place -= kept
    seen.ids[place], seen.times_ms[place] = id_, time_ms
    seen.slots[slot] = (place + 1) << _UPPER | (id_ & _LOWER)
    counts[COUNT] += 1
    counts[DOUBLED] += double
    return double


@leaf
def _slot_of(id_: int, seen: Seen) -> int:
    """The slot that holds the id, or the empty one where it belongs."""
    mask = seen.slots.shape[0] - 1
    slot = id_ & mask
    while seen.slots[slot]:
        known = seen.slots[slot]
        if (known ^ id_) & _LOWER == 0 and seen.ids[(known >> _UPPER) - 1] == id_:
            break
        slot = (slot + 1) & mask
    return int(slot)


@leaf
def _drop_first(seen: Seen) -> bool:
    """Drop the oldest record; True when its id is known no more."""
    counts, mask = seen.counts, seen.slots.shape[0] - 1
    place = counts[FIRST]
    counts[FIRST] = 0 if place + 1 == seen.ids.shape[0] else place + 1
    counts[COUNT] -= 1
    hole = seen.ids[place] & mask
    while seen.slots[hole] >> _UPPER != place + 1:
        if seen.slots[hole] == 0:
            return False  # it came again since
        hole = (hole + 1) & mask
    slot = hole
    while True:  # close the gap: what was pushed past the hole moves back into it
        seen.slots[hole] = 0
        while True:
            slot = (slot + 1) & mask
            if seen.slots[slot] == 0:
                return True
            home = seen.slots[slot] & _LOWER & mask
            if ((slot - home) & mask) >= ((slot - hole) & mask):
                break
        seen.slots[hole] = seen.slots[slot]
        hole = slot
