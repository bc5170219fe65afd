"""Avro, written by compiled code (avro.apache.org/docs/1.12.0/specification, "Binary Encoding").

Every function puts something to data[at] and returns the place behind it; the caller has seen to the room: of a long
LONG_MAX bytes, whatever it takes."""

from typing import Final

import numpy as np

from processors.jit import jit, leaf, part
from processors.windows.layout import Array
from processors.windows.memory import leading_zeros, load64, store8, store64
from processors.windows.names import begin_of
from processors.windows.state import Names

NULL: Final = 0  # of a union of null and something, as encoded
SOME: Final = 2
DIGITS_MAX: Final = 19  # of an int64
_ONE: Final = np.uint64(1)
_TEN: Final = np.uint64(10)
_TEN_TO_8: Final = np.uint64(100_000_000)
_ZEROS: Final = np.uint64(0x3030303030303030)
_BITS: Final = 64
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_LONG_OF_EIGHT: Final = np.uint64(1 << 56)
_SEVEN_BITS: Final = np.uint64(0x7F)
_HIGH_BIT: Final = np.uint64(0x80)
_EXACT: Final = 1 << 50  # an estimate of a quotient below it is wrong by less than one


@leaf
def put_byte(data: Array, at: int, byte: int) -> int:
    """A byte as it is."""
    store8(data, at, byte)
    return at + 1


@part
def put_long(data: Array, at: int, value: int) -> int:
    """An int, a long, an enum's symbol, or the length of something.

    Nearly all fit eight bytes, which are made at once: a loop would end at a place that no processor can guess."""
    rest = np.uint64((value << 1) ^ (value >> 63))
    if rest >= _LONG_OF_EIGHT:
        return _put_longest(data, at, value)
    bytes_ = (_BITS - leading_zeros(rest | _ONE) + 6) // 7
    rest = (rest & np.uint64(0x0FFFFFFF)) | (rest & np.uint64(0x00FFFFFFF0000000)) << np.uint64(4)
    rest = (rest & np.uint64(0x00003FFF00003FFF)) | (rest & np.uint64(0x0FFFC0000FFFC000)) << np.uint64(2)
    rest = (rest & np.uint64(0x007F007F007F007F)) | (rest & np.uint64(0x3F803F803F803F80)) << np.uint64(1)
    more = _HIGH_BITS & ((_ONE << np.uint64(8 * (bytes_ - 1))) - _ONE)
    store64(data, at, np.int64(rest | more))
    return int(at + bytes_)


@part
def _put_longest(data: Array, at: int, value: int) -> int:
    rest = np.uint64((value << 1) ^ (value >> 63))
    while rest > _SEVEN_BITS:
        store8(data, at, np.int64(rest & _SEVEN_BITS | _HIGH_BIT))
        at += 1
        rest >>= np.uint64(7)
    store8(data, at, np.int64(rest))
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
    """source[begin:end], and up to 7 bytes behind it, which what comes next is written over."""
    behind = at + end - begin
    while begin < end:
        store64(data, at, load64(source, begin))
        at, begin = at + 8, begin + 8
    return behind


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
    if value >= 100_000_000:
        return 8 + digits_of_eleven(value // 100_000_000)
    return digits_of_eleven(value)


@leaf
def digits_of_eleven(value: int) -> int:
    """The same for a number of at most eleven digits."""
    count, above = 1, 10
    while value >= above and count < DIGITS_MAX:
        above *= 10
        count += 1
    return count


@part
def _put_digits(data: Array, at: int, value: int, count: int) -> int:
    """A colon and the number, of so many digits."""
    store8(data, at, ord(":"))
    place, rest = at + count, np.uint64(value)
    while place - at >= 8:
        store64(data, place - 7, _eight_digits(int(np.int64(rest % _TEN_TO_8))))
        rest //= _TEN_TO_8
        place -= 8
    while place > at:
        store8(data, place, np.int64(np.uint64(ord("0")) + rest % _TEN))
        rest //= _TEN
        place -= 1
    return at + 1 + count


@leaf
def _eight_digits(value: int) -> int:
    """A number below 10^8 as eight characters: halves, quarters and digits are parted in one word each.

    The factors divide by 100 and by 10: exact below 10^4 and 100."""
    halves = np.uint64(value) // np.uint64(10_000) | (np.uint64(value) % np.uint64(10_000)) << np.uint64(32)
    upper = (halves * np.uint64(10_486)) >> np.uint64(20) & np.uint64(0x0000007F0000007F)
    quarters = upper | (halves - upper * np.uint64(100)) << np.uint64(16)
    upper = (quarters * np.uint64(103)) >> np.uint64(10) & np.uint64(0x000F000F000F000F)
    return int(np.int64(upper | (quarters - upper * _TEN) << np.uint64(8) | _ZEROS))


@jit
def ratio(numerator: int, denominator: int) -> float:
    """`processors.metrics.metric.ratio`: numerator / denominator rounded half-even to 6 decimals.

    An estimate by floats, put right by the whole rest, as long as that fits: |numerator| below 2**53 and denominator
    below 2**61. Beyond a billion units the last decimal may differ."""
    if numerator == 0:
        return 0.0
    millionths = np.rint(numerator / denominator * 1e6)
    if abs(millionths) < _EXACT:
        rest = numerator * 1_000_000 - np.int64(millionths) * denominator  # what overflows on the way comes back
        if 2 * abs(rest) >= denominator:
            return _corrected(int(np.int64(millionths)), int(rest), denominator)
    return float(millionths / 1e6)


@part
def _corrected(whole: int, rest: int, denominator: int) -> float:
    for _ in range(2):
        if 2 * rest > denominator or (2 * rest == denominator and whole & 1):
            whole, rest = whole + 1, rest - denominator
        elif 2 * rest < -denominator or (2 * rest == -denominator and whole & 1):
            whole, rest = whole - 1, rest + denominator
    return float(float(whole) / 1e6)


@leaf
def rounded(value: float) -> float:
    """A float rounded to 6 decimals."""
    return float(np.rint(value * 1e6) / 1e6)
