"""Avro, written by compiled code (avro.apache.org/docs/1.12.0/specification, "Binary Encoding").

Every function puts something to data[at] and returns the place behind it; the caller has seen to the room."""

from typing import Final

import numpy as np

from processors.jit import jit, leaf, part
from processors.windows.layout import Array
from processors.windows.memory import load64, store64
from processors.windows.names import begin_of
from processors.windows.state import Names

NULL: Final = 0  # of a union of null and something, as encoded
SOME: Final = 2
LONG_MAX: Final = 10  # bytes
DIGITS_MAX: Final = 19  # of an int64
_TEN: Final = np.uint64(10)
_SEVEN_BITS: Final = np.uint64(0x7F)
_EXACT: Final = 1 << 50  # an estimate of a quotient below it is wrong by less than one


@leaf
def put_byte(data: Array, at: int, byte: int) -> int:
    """A byte as it is."""
    data[at] = byte
    return at + 1


@part
def put_long(data: Array, at: int, value: int) -> int:
    """An int, a long, an enum's symbol, or the length of something."""
    rest = np.uint64((value << 1) ^ (value >> 63))
    while rest > _SEVEN_BITS:
        data[at] = np.uint8(rest & _SEVEN_BITS) | 0x80
        at += 1
        rest >>= np.uint64(7)
    data[at] = np.uint8(rest)
    return at + 1


@leaf
def put_double(data: Array, at: int, value: float) -> int:
    """A double."""
    store64(data, at, np.float64(value).view(np.int64))
    return at + 8


@leaf
def put_some_long(data: Array, at: int, value: int) -> int:
    """A long where there may be null."""
    return put_long(data, put_byte(data, at, SOME), value)


@leaf
def put_some_double(data: Array, at: int, value: float) -> int:
    """A double where there may be null."""
    return put_double(data, put_byte(data, at, SOME), value)


@part
def put_piece(data: Array, at: int, piece: Array, end: int) -> int:
    """What is encoded already: piece[:end]."""
    return put_bytes(data, at, piece, 0, end)


@part
def put_bytes(data: Array, at: int, source: Array, begin: int, end: int) -> int:
    """source[begin:end]."""
    while begin + 8 <= end:
        store64(data, at, load64(source, begin))
        at, begin = at + 8, begin + 8
    while begin < end:
        data[at] = source[begin]
        at, begin = at + 1, begin + 1
    return at


@part
def put_name(data: Array, at: int, a: int, names: Names) -> int:
    """The name of an asset, a string."""
    begin, end = begin_of(a, names), names.ends[a]
    return put_bytes(data, put_long(data, at, end - begin), names.data, begin, end)


@part
def put_id(data: Array, at: int, a: int, names: Names, first: int, second: int) -> int:
    """The string "asset:first", or "asset:first:second" unless that is negative."""
    begin, end = begin_of(a, names), names.ends[a]
    of_first, of_second = digits(first), digits(second) if second >= 0 else 0
    length = end - begin + 1 + of_first + (1 + of_second if second >= 0 else 0)
    at = put_bytes(data, put_long(data, at, length), names.data, begin, end)
    at = _put_digits(data, at, first, of_first)
    return _put_digits(data, at, second, of_second) if second >= 0 else at


@part
def digits(value: int) -> int:
    """Decimal digits of a number that is not negative."""
    count, above = 1, 10
    while value >= above and count < DIGITS_MAX:
        above *= 10
        count += 1
    return count


@part
def _put_digits(data: Array, at: int, value: int, count: int) -> int:
    """A colon and the number, of so many digits."""
    data[at] = ord(":")
    rest = np.uint64(value)
    for place in range(at + count, at, -1):
        data[place] = np.uint64(ord("0")) + rest % _TEN
        rest //= _TEN
    return at + 1 + count


@jit
def ratio(numerator: int, denominator: int) -> float:
    """`processors.metrics.metric.ratio`: numerator / denominator rounded half-even to 6 decimals.

    An estimate by floats, put right by the whole rest, as long as that fits: |numerator| below 2**53 and denominator
    below 2**61. Beyond a billion units the last decimal may differ."""
    millionths = np.rint(numerator / denominator * 1e6)
    if abs(millionths) < _EXACT:
        whole = np.int64(millionths)
        rest = numerator * 1_000_000 - whole * denominator  # what overflows on the way comes back
        for _ in range(2):
            if 2 * rest > denominator or (2 * rest == denominator and whole & 1):
                whole, rest = whole + 1, rest - denominator
            elif 2 * rest < -denominator or (2 * rest == -denominator and whole & 1):
                whole, rest = whole - 1, rest + denominator
        millionths = float(whole)
    return float(millionths / 1e6)


@leaf
def rounded(value: float) -> float:
    """A float rounded to 6 decimals."""
    return float(np.rint(value * 1e6) / 1e6)
