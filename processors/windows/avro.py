"""Avro, read by compiled code (avro.apache.org/docs/1.12.0/specification, "Binary Encoding").

Every function returns the place behind what it has read. It looks up to ten bytes behind it, so PADDING must lie behind
the data; that the place is within the record, the caller checks."""

from typing import Final

import numpy as np

from processors.jit import leaf, part
from processors.windows.layout import Array
from processors.windows.memory import load8, load64, trailing_zeros

HEADER: Final = 5  # bytes before a value
LONG_MAX: Final = 10  # bytes of a long
_ONE: Final = np.uint64(1)
_SEVEN_BITS: Final = np.uint64(0x7F)
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_WORD: Final = np.uint64(64)


@leaf
def double(data: Array, at: int) -> float:
    """The double at data[at], eight bytes."""
    return float(np.int64(load64(data, at)).view(np.float64))


@leaf
def short(data: Array, at: int) -> tuple[int, int]:
    """The same as `long`, for what mostly is one byte: enums and lengths."""
    byte = load8(data, at)
    if byte > 0x7F:
        return long(data, at)
    return int((byte >> 1) ^ -(byte & 1)), at + 1


@part
def long(data: Array, at: int) -> tuple[int, int]:
    """A zigzag variable-length integer and the place behind it; one that is too long is -1.

    Up to eight bytes are put together at once: a loop would end at a place that no processor can guess."""
    word = np.uint64(load64(data, at))
    last = ~word & _HIGH_BITS
    if last == np.uint64(0):
        return _longest(data, at)
    bits = trailing_zeros(np.int64(last)) + 1
    word = word << (_WORD - np.uint64(bits)) >> (_WORD - np.uint64(bits))
    word = (word & np.uint64(0x007F007F007F007F)) | (word & np.uint64(0x7F007F007F007F00)) >> np.uint64(1)
    word = (word & np.uint64(0x00003FFF00003FFF)) | (word & np.uint64(0x3FFF00003FFF0000)) >> np.uint64(2)
    word = (word & np.uint64(0x0FFFFFFF)) | (word & np.uint64(0x0FFFFFFF00000000)) >> np.uint64(4)
    return int(np.int64(word >> _ONE) ^ -np.int64(word & _ONE)), at + (bits >> 3)


@part
def _longest(data: Array, at: int) -> tuple[int, int]:
    value, shift = np.uint64(0), np.uint64(0)
    for _ in range(LONG_MAX):
        byte = np.uint64(data[at])
        at += 1
        value |= (byte & _SEVEN_BITS) << shift
        if byte <= _SEVEN_BITS:
            return int(np.int64(value >> _ONE) ^ -np.int64(value & _ONE)), at
        shift += np.uint64(7)
    return -1, at


@leaf
def string(data: Array, at: int, end: int) -> tuple[int, int]:
    """Begin and end of a string; both behind `end` when it does not fit before it."""
    if at >= end:
        return end + 1, end + 1
    length, at = short(data, at)
    return (at, at + length) if 0 <= length <= end - at else (end + 1, end + 1)
