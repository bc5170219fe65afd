"""Ids of the liquidations of the last ten minutes of the log: a record whose id is among them counts no more.

A record is a duplicate when one with its id was appended less than ten minutes before it, whether that one counted or
not. So what is known at a place of the log depends on the ten minutes before it alone, and is read again from there
after a restart: no snapshot carries it. Ids are their first 64 bits under BLAKE2: of 2 million in ten minutes, two meet
by chance once in ten million."""

from hashlib import blake2b
from typing import Final, NamedTuple

import numpy as np

from processors.jit import jit
from processors.windows.layout import Array

SPAN_MS: Final = 600_000
IDS_MAX: Final = 2_000_000  # 3,333/s for ten minutes in one partition; 16 bytes and 8 of the index each: 49 MB
IDS_FIRST: Final = 1_024
FIRST, COUNT, FORGOTTEN, DOUBLED = range(4)  # of `counts`


class Seen(NamedTuple):
    """A queue of the last records in a ring, and an index of it by id: 0, or 1 + the place of the newest record."""

    ids: Array  # int64 [place]
    times_ms: Array  # int64 [place]: append time
    slots: Array  # int32 [slot], a power of two and at least twice the places: linear probing
    counts: Array  # int64 [4]


def new_seen(places: int) -> Seen:
    """An empty table."""
    slots = 1 << (2 * places - 1).bit_length()
    return Seen(
        np.zeros(places, np.int64), np.zeros(places, np.int64), np.zeros(slots, np.int32), np.zeros(4, np.int64)
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
    (3405396810240292928, 8453121595177857668)"""
    return int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest(), "little", signed=True)


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
    double = bool(seen.slots[slot] and time_ms - seen.times_ms[seen.slots[slot] - 1] < SPAN_MS)
    place = (counts[FIRST] + counts[COUNT]) % kept
    seen.ids[place], seen.times_ms[place] = id_, time_ms
    seen.slots[slot] = place + 1
    counts[COUNT] += 1
    counts[DOUBLED] += double
    return double


@jit
def _slot_of(id_: int, seen: Seen) -> int:
    """The slot that holds the id, or the empty one where it belongs."""
    mask = seen.slots.shape[0] - 1
    slot = id_ & mask
    while seen.slots[slot] and seen.ids[seen.slots[slot] - 1] != id_:
        slot = (slot + 1) & mask
    return int(slot)


@jit
def _drop_first(seen: Seen) -> bool:
    """Drop the oldest record; True when its id is known no more."""
    counts, mask = seen.counts, seen.slots.shape[0] - 1
    place = counts[FIRST]
    counts[FIRST] = (place + 1) % seen.ids.shape[0]
    counts[COUNT] -= 1
    hole = _slot_of(seen.ids[place], seen)
    if seen.slots[hole] != place + 1:
        return False  # it came again since
    slot = hole
    while True:  # close the gap: what was pushed past the hole moves back into it
        seen.slots[hole] = 0
        while True:
            slot = (slot + 1) & mask
            if seen.slots[slot] == 0:
                return True
            home = seen.ids[seen.slots[slot] - 1] & mask
            if ((slot - home) & mask) >= ((slot - hole) & mask):
                break
        seen.slots[hole] = seen.slots[slot]
        hole = slot
