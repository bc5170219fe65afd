"""Bytes, one or eight at once, from and to any place in an array of bytes. Little-endian, as Avro.

Nothing is checked, nor is a place counted from the end: the caller knows that the bytes are there."""

from typing import Any, Final

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from processors.jit import leaf

WRITE, NEAREST, DATA = 1, 3, 1  # of llvm.prefetch (llvm.org/docs/LangRef.html)
LINE: Final = 64  # bytes of the cache's lines
PADDING: Final = 128  # bytes behind what is read, so that a reader may look first and check its place afterwards


@leaf
def unsigned(index: int) -> int:
    """An index that is not negative: one that may be takes three instructions more at every array."""
    return int(np.uintp(index))


@intrinsic  # type: ignore[untyped-decorator]
def load8(typing: Any, data: Any, at: Any) -> Any:
    """The byte at data[at]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.zext(builder.load(builder.gep(array.data, [arguments[1]])), ir.IntType(64))

    return types.int64(data, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def store8(typing: Any, data: Any, at: Any, value: Any) -> Any:
    """Put a byte to data[at]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        builder.store(builder.trunc(arguments[2], ir.IntType(8)), builder.gep(array.data, [arguments[1]]))
        return context.get_dummy_value()

    return types.void(data, types.intp, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def load64(typing: Any, data: Any, at: Any) -> Any:
    """The int64 at data[at]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_address(context, builder, signature, arguments), align=1)

    return types.int64(data, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def store64(typing: Any, data: Any, at: Any, value: Any) -> Any:
    """Put an int64 to data[at]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _address(context, builder, signature, arguments), align=1)
        return context.get_dummy_value()

    return types.void(data, types.intp, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def leading_zeros(typing: Any, word: Any) -> Any:
    """Bits above the highest that is set, of a uint64 that is not 0."""
    return types.int64(types.uint64), _counting("llvm.ctlz.i64")


@intrinsic  # type: ignore[untyped-decorator]
def trailing_zeros(typing: Any, word: Any) -> Any:
    """Bits below the lowest that is set, of an int64 that is not 0."""
    return types.int64(types.int64), _counting("llvm.cttz.i64")


def _counting(name: str) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(64), [ir.IntType(64), ir.IntType(1)])
        count = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(count, [arguments[0], ir.Constant(ir.IntType(1), 1)])

    return generate


@intrinsic  # type: ignore[untyped-decorator]
def fetch(typing: Any, data: Any, at: Any) -> Any:
    """Have the cache line of data[at] (of any type, one axis) brought near; nothing waits for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _fetch(builder, _bytes_from(context, builder, signature, arguments), 1)
        return context.get_dummy_value()

    return types.void(data, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def fetch_whole(typing: Any, data: Any, at: Any) -> Any:
    """The same for all lines of data[at], a row of a structured array."""
    size = data.dtype.size

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _fetch(builder, _bytes_from(context, builder, signature, arguments), -(-size // LINE))
        return context.get_dummy_value()

    return types.void(data, types.intp), generate


def _bytes_from(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(8).as_pointer())


def _fetch(builder: Any, place: Any, lines: int) -> None:
    word = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [place.type, word, word, word])
    hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    for line in range(lines):
        at = builder.gep(place, [ir.Constant(word, line * LINE)])
        builder.call(hint, [at, *(ir.Constant(word, number) for number in (WRITE, NEAREST, DATA))])


def _address(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
