"""A value of signals.state -> the figures that the market needs, by compiled code.

It reads exactly what the detector and `Codec` write with the newest schema. Whatever else there may be (another version
of the schema, a number that is none) is left to the codec, so that one place says why."""

from typing import Final

import numpy as np

from processors.jit import inlined, jit, part
from processors.market.layout import (
    ACCELERATION_EVENTS,
    ACCELERATION_USD,
    EVENTS,
    LONG_USD,
    NAME_MAX,
    NOBODY,
    OF_LONGS,
    PARTITIONS_MAX,
    SIZES_MAX,
    USD,
    Told,
)
from processors.windows.avro import HEADER, double, long, string
from processors.windows.layout import MICRO, Array
from processors.windows.memory import load64
from schemas.words import Completeness, Exchange, FeedState, Level, Profile, Side, StateKind

READ, LEFT = range(2)  # of a value: read; left to the codec
FIGURE_MAX: Final = 9e12  # of which millionths fit an int64: nine trillion USD/s
KUSD_MAX: Final = 1_000_000  # a billion USD/s; its square times 60 bins fits an int64
CONTEXT_FIGURES: Final = 9
_LEVELS: Final = 5  # level, previous, peak, absolute, relative
_KINDS, _PROFILES, _LEVEL_WORDS, _SIDES = len(StateKind), len(Profile), len(Level), len(Side)
_FEEDS, _TAPES, _EXCHANGES = len(FeedState), len(Completeness), len(Exchange)
_ENCODED: Final = [exchange.value.encode() for exchange in Exchange]
_NAMES: Final = np.array([list(name.ljust(16, b"\0")) for name in _ENCODED], np.uint8)
_LENGTHS: Final = np.array([len(name) for name in _ENCODED], np.int64)


@jit
def read(data: Array, begin: int, end: int, header: int, sizes: Array, told: Told) -> int:
    """Read data[begin:end]; `header`: the bytes before a value of the newest schema.

    A step looks less than PADDING behind the end before the place is checked: 10 bytes a long, 8 a double."""
    numbers = told.numbers[0]
    if end - begin < HEADER or load64(data, begin) & 0xFFFFFFFFFF != header:
        return LEFT
    kind, at = long(data, begin + HEADER)
    numbers.kind = kind
    numbers.name_begin, at = string(data, at, end)
    numbers.name_end = at
    if at > end or at - numbers.name_begin > NAME_MAX:
        return LEFT
    some, at = long(data, at)
    if some:
        _, at = string(data, at, end)
    if at > end or some < 0 or some > 1:
        return LEFT
    good = data[at] < 2 * _PROFILES and not data[at] & 1
    numbers.level = data[at + 1] >> 1
    for k in range(1, 1 + _LEVELS):
        good = good and data[at + k] < 2 * _LEVEL_WORDS and not data[at + k] & 1
    numbers.ratio, at = _some_double(data, at + 1 + _LEVELS, end)
    good = good and data[at] < 2 * _SIDES and not data[at] & 1
    at += 1 + 8 * (2 + 6)  # side; probability, boost, contributions
    if not good or at > end or kind < 0 or kind >= _KINDS:
        return LEFT
    at = _windows(data, at, end, sizes, told)
    if at > end:
        return LEFT
    at = _exchanges(data, at, end, told)
    if at > end:
        return LEFT
    leading, at = _some_word(data, at, _EXCHANGES)
    numbers.mover, at = _some_word(data, at, _EXCHANGES)
    at = _skip_figures(data, at, end)
    at = _coverage(data, at, end, told)
    if at > end or leading < NOBODY or numbers.mover < NOBODY:
        return LEFT
    _, at = _some_long(data, at + 8, end)  # behind the confidence
    numbers.partition, at = _some_long(data, at, end)
    _, at = _some_long(data, at, end)
    numbers.event_ms, at = long(data, at)
    numbers.append_ms, at = long(data, at)
    placed = 0 <= numbers.partition < PARTITIONS_MAX and numbers.append_ms > 0
    return READ if at == end and placed else LEFT


@part
def _windows(data: Array, at: int, end: int, sizes: Array, told: Told) -> int:
    """The windows, each in the place of its size; behind the end for what is left to the codec."""
    told.there[:] = 0
    count, at = long(data, at)
    while count > 0:
        for _ in range(count):
            if at > end:
                return at
            size_ms, at = long(data, at)
            events, at = long(data, at)
            usd = double(data, at + 8)
            acceleration_events, acceleration_usd = double(data, at + 16), double(data, at + 24)
            share, at = _some_double(data, at + 32, end)
            if np.isnan(share):
                share = 0.0
            largest = max(max(abs(usd), abs(acceleration_usd)), max(abs(acceleration_events), abs(usd * share)))
            if not largest <= FIGURE_MAX or size_ms <= 0:  # NaN is neither
                return end + 1
            s = 0
            while s < SIZES_MAX and sizes[s] != size_ms and sizes[s]:
                s += 1
            if s == SIZES_MAX:
                return end + 1
            sizes[s] = size_ms
            figures = told.windows[s]
            told.there[s] = 1
            figures[EVENTS] = events
            figures[USD] = _micro(usd)
            figures[LONG_USD] = _micro(usd * share)
            figures[ACCELERATION_EVENTS] = _micro(acceleration_events)
            figures[ACCELERATION_USD] = _micro(acceleration_usd)
            figures[OF_LONGS] = np.int64(np.rint(figures[USD] * share))
        count, at = long(data, at)
    return at if count == 0 else end + 1


@part
def _exchanges(data: Array, at: int, end: int, told: Told) -> int:
    """Figures of the exchanges, and USD/s over all; behind the end for what is left to the codec."""
    told.exchanges[:] = 0
    total = 0.0
    count, at = long(data, at)
    while count > 0:
        for _ in range(count):
            begin, at = string(data, at, end)
            if at > end:
                return end + 1
            events, usd = double(data, at), double(data, at + 8)
            if not max(abs(events), abs(usd)) <= FIGURE_MAX or data[at + 24] > 1:
                return end + 1
            total += usd
            slot = _slot(data, begin, at)
            if data[at + 24] and slot != NOBODY:
                told.exchanges[slot, 0], told.exchanges[slot, 1] = _micro(events), _micro(usd)
            at += 25
        count, at = long(data, at)
    told.numbers[0].kusd = min(KUSD_MAX, np.int64(np.rint(total / 1_000)))
    return at if count == 0 else end + 1


@inlined
def _skip_figures(data: Array, at: int, end: int) -> int:
    """From the correlation to the flags."""
    _, at = _some_double(data, at, end)
    _, at = _some_long(data, at, end)
    for _ in range(CONTEXT_FIGURES):
        _, at = _some_double(data, at, end)
    if at > end:
        return at
    count, at = long(data, at)
    while count > 0:
        for _ in range(count):
            _, at = string(data, at, end)
            if at > end:
                return at
        count, at = long(data, at)
    return at if count == 0 else end + 1


@inlined
def _coverage(data: Array, at: int, end: int, told: Told) -> int:
    """What is known of the exchanges."""
    told.coverage[:] = NOBODY
    if at > end:
        return at
    count, at = long(data, at)
    while count > 0:
        for _ in range(count):
            begin, at = string(data, at, end)
            if at > end or data[at] & 1 or data[at] >= 2 * _FEEDS or data[at + 1] & 1 or data[at + 1] >= 2 * _TAPES:
                return end + 1
            slot = _slot(data, begin, at)
            if slot != NOBODY:
                told.coverage[slot, 0], told.coverage[slot, 1] = data[at] >> 1, data[at + 1] >> 1
            at += 2
        count, at = long(data, at)
    return at if count == 0 else end + 1


@part
def _slot(data: Array, begin: int, end: int) -> int:
    """Slot of the exchange of this name, or NOBODY."""
    for slot in range(_NAMES.shape[0]):
        if _LENGTHS[slot] == end - begin:
            same = True
            for k in range(end - begin):
                same = same and _NAMES[slot, k] == data[begin + k]
            if same:
                return slot
    return NOBODY


@inlined
def _micro(number: float) -> int:
    return int(np.int64(np.rint(number * MICRO)))


@part
def _some_double(data: Array, at: int, end: int) -> tuple[float, int]:
    """A double or NaN for null, and the place behind it; behind the end for what is neither."""
    if data[at] == 0:
        return np.nan, at + 1
    return double(data, at + 1), at + 9 if data[at] == 2 else end + 1


@part
def _some_long(data: Array, at: int, end: int) -> tuple[int, int]:
    """A long or 0 for null, and the place behind it."""
    if data[at] == 0:
        return 0, at + 1
    value, behind = long(data, at + 1)
    return value, behind if data[at] == 2 else end + 1


@part
def _some_word(data: Array, at: int, words: int) -> tuple[int, int]:
    """Place of a word or NOBODY for null, and the place behind it; less than NOBODY for what is neither."""
    if data[at] == 0:
        return NOBODY, at + 1
    word = data[at + 1]
    good = data[at] == 2 and not word & 1 and word < 2 * words
    return (int(word >> 1) if good else NOBODY - 1), at + 2
