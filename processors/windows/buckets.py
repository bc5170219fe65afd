"""An index of records by id in buckets of one cache line each, so that a look at it waits for memory once.

A bucket is sixteen uint32. The first says in which second of the log (+ 1; 0: never) an entry last found no room in it
and went to the next bucket, which is then looked at too. The others are entries: 0, or a tag of the id (never 0) above
the record's number in the log, both in part. Nothing is taken out: an entry whose record is older than the oldest that
is kept is as good as empty. One whose number has come round may look as if it were not, which costs room, never truth:
the id stands in the ring."""

from typing import Any, Final

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from processors.jit import leaf
from processors.windows.layout import Array

ENTRIES: Final = 16  # of a bucket, its first word among them
NUMBER_BITS: Final = 23  # four times as many numbers as records that are kept at most
NUMBERS: Final = (1 << NUMBER_BITS) - 1
ALL: Final = (1 << ENTRIES) - 2  # lanes of entries
_TAG_BITS: Final = 32 - NUMBER_BITS
_LINE: Final = 64
_BUCKET = ir.VectorType(ir.IntType(32), ENTRIES)


def new_buckets(entries: int) -> Array:
    """Empty buckets, a power of two, for so many entries, half of them full at most; on the lines of the cache."""
    buckets = 1 << (max(entries - 1, 1) // (ENTRIES // 2)).bit_length()
    room = np.zeros(ENTRIES * (buckets + 1), np.uint32)
    begin = -room.ctypes.data % _LINE // room.itemsize
    aligned: Array = room[begin : begin + ENTRIES * buckets]
    return aligned


@leaf
def bucket_of(id_: int, buckets: Array) -> int:
    """Where the bucket begins that an id belongs to."""
    return int(np.int64(id_ * ENTRIES & (buckets.shape[0] - 1)))


@leaf
def next_bucket(at: int, buckets: Array) -> int:
    """The one behind it."""
    return int(at + ENTRIES & (buckets.shape[0] - 1))


@leaf
def entry_of(id_: int, number: int) -> int:
    """The entry of a record."""
    tag = np.uint64(id_) >> np.uint64(64 - _TAG_BITS)
    return int(np.int64(max(tag, np.uint64(1)))) << NUMBER_BITS | (number & NUMBERS)


@intrinsic  # type: ignore[untyped-decorator]
def look(typing: Any, buckets: Any, at: Any, entry: Any, kept: Any) -> Any:
    """Lanes of the bucket at `at`, as bits: those of a kept record with the tag of `entry`, and, shifted by ENTRIES,
    those without a kept record. `entry` is the next record's, `kept` how many before it are."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), _BUCKET.as_pointer())
        found = builder.load(place, align=4)
        given, kept = (_spread(builder, argument) for argument in arguments[2:])
        shift = ir.Constant(_BUCKET, [NUMBER_BITS] * ENTRIES)
        alike = builder.icmp_unsigned("==", builder.lshr(found, shift), builder.lshr(given, shift))
        numbers, one, zero = (ir.Constant(_BUCKET, [value] * ENTRIES) for value in (NUMBERS, 1, 0))
        age = builder.and_(builder.sub(given, found), numbers)
        gone = builder.icmp_unsigned(">=", builder.sub(age, one), kept)
        gone = builder.or_(gone, builder.icmp_unsigned("==", found, zero))
        alike = builder.and_(alike, builder.not_(gone))
        long, bits = ir.IntType(64), ir.IntType(ENTRIES)
        alike, gone = (builder.zext(builder.bitcast(lanes, bits), long) for lanes in (alike, gone))
        return builder.or_(alike, builder.shl(gone, ir.Constant(long, ENTRIES)))

    return types.int64(buckets, types.intp, types.intp, types.intp), generate


def _spread(builder: Any, number: Any) -> Any:
    none = ir.Constant(_BUCKET, ir.Undefined)
    first = builder.insert_element(none, builder.trunc(number, ir.IntType(32)), ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, none, ir.Constant(_BUCKET, [0] * ENTRIES))
