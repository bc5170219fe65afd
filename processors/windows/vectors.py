"""Sums over counts, sixteen at a time, as LLVM vectors: Numba's own vectorising would take as long to compile again.

Whole numbers only, so that the order of adding changes nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from processors.jit import leaf, part
from processors.windows.layout import Array

LANES: Final = 16  # counts at once
INT16_END: Final = 1 << 15
_NARROW, _WIDE, _LONG = (ir.VectorType(ir.IntType(bits), LANES) for bits in (16, 32, 64))
_VECTORS: Final = {types.int16: _NARROW, types.uint16: _NARROW, types.int32: _WIDE}
_CELL_PAIR = ir.VectorType(ir.IntType(64), 4)


@intrinsic  # type: ignore[untyped-decorator]
def dot(typing: Any, x: Any, x_from: Any, y: Any, y_from: Any, count: Any) -> Any:
    """Sum of x[x_from + k] * y[y_from + k] for k in range(count), both int16 or both int32; `count` is a multiple of
    LANES.

    The sum of int16 must fit an int32, which it does where the sums of x and of y are below INT16_END."""
    kind = _VECTORS[x.dtype]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, right = (context.make_array(signature.args[k])(context, builder, arguments[k]).data for k in (0, 2))
        lanes = ir.VectorType(ir.IntType(32), LANES // 2) if kind is _NARROW else _LONG
        total = cgutils.alloca_once_value(builder, ir.Constant(lanes, [0] * lanes.count))
        with _steps(builder, arguments[4]) as k:
            a = _load(builder, left, builder.add(arguments[1], k), kind)
            b = _load(builder, right, builder.add(arguments[3], k), kind)
            products = _pairs(builder, a, b) if kind is _NARROW else _products(builder, a, b, _LONG)
            builder.store(builder.add(builder.load(total), products), total)
        found = _sum(builder, builder.load(total))
        return builder.sext(found, ir.IntType(64)) if kind is _NARROW else found

    return types.int64(x, types.intp, y, types.intp, types.intp), generate


def _products(builder: Any, a: Any, b: Any, wide: Any) -> Any:
    return builder.mul(builder.sext(a, wide), builder.sext(b, wide))


def _pairs(builder: Any, a: Any, b: Any) -> Any:
    """Sums of two neighbours' products each: one instruction of the processors that have it."""
    products = _products(builder, a, b, _WIDE)
    none = ir.Constant(_WIDE, ir.Undefined)
    even, odd = (ir.Constant(ir.VectorType(ir.IntType(32), LANES // 2), list(range(k, LANES, 2))) for k in (0, 1))
    return builder.add(builder.shuffle_vector(products, none, even), builder.shuffle_vector(products, none, odd))


@intrinsic  # type: ignore[untyped-decorator]
def raise_counts(typing: Any, counts: Any, begin: Any, count: Any) -> Any:
    """Add 1 to counts[begin:begin + count] (int32), at most LANES; the highest of them. No loop, whose end the
    processor would guess wrong. It looks at LANES counts, which must be there."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = _place(builder, data, arguments[1], _WIDE)
        lanes = ir.Constant(_WIDE, list(range(LANES)))
        many = builder.trunc(arguments[2], _WIDE.element)
        all_ = builder.shuffle_vector(
            builder.insert_element(ir.Constant(_WIDE, ir.Undefined), many, ir.Constant(ir.IntType(32), 0)),
            ir.Constant(_WIDE, ir.Undefined),
            ir.Constant(_WIDE, [0] * LANES),
        )
        among = builder.icmp_signed("<", lanes, all_)
        raised = builder.add(builder.load(place, align=4), builder.zext(among, _WIDE))
        builder.store(raised, place, align=4)
        highest = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_WIDE.element, [_WIDE]), f"llvm.vector.reduce.smax.v{LANES}i32"
        )
        zeros = ir.Constant(_WIDE, [0] * LANES)
        return builder.sext(builder.call(highest, [builder.select(among, raised, zeros)]), ir.IntType(64))

    return types.int64(counts, types.intp, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def _add_lanes(typing: Any, total: Any, at: Any, counts: Any, begin: Any, count: Any) -> Any:
    to, of = _VECTORS[total.dtype], _VECTORS[counts.dtype]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        counts = context.make_array(signature.args[2])(context, builder, arguments[2]).data
        with _steps(builder, arguments[4]) as k:
            more = _load(builder, counts, builder.add(arguments[3], k), of)
            if to is not of:
                more = builder.zext(more, to)
            place = _place(builder, total, builder.add(arguments[1], k), to)
            builder.store(builder.add(builder.load(place, align=2), more), place, align=2)
        return context.get_dummy_value()

    return types.void(total, types.intp, counts, types.intp, types.intp), generate


@leaf
def in_lanes(count: int) -> int:
    """So many, and as many more as fill the last LANES."""
    return (count + LANES - 1) // LANES * LANES


@part
def add_counts(total: Array, at: int, counts: Array, begin: int, end: int) -> None:
    """Add counts[begin:end] to total[at:]; uint16 or the same kind to int16 or int32, none of them negative."""
    lanes = (end - begin) // LANES * LANES
    _add_lanes(total, at, counts, begin, lanes)
    for k in range(lanes, end - begin):
        total[at + k] += counts[begin + k]


@part
def total_of(counts: Array, begin: int, end: int, ones: Array) -> int:
    """Sum of counts[begin:end]; `ones`: as many ones of the same kind."""
    lanes = (end - begin) // LANES * LANES
    total = dot(counts, begin, ones, 0, lanes)
    for k in range(begin + lanes, end):
        total += counts[k]
    return int(total)


@intrinsic  # type: ignore[untyped-decorator]
def sum_of_ten(typing: Any, pairs: Any, first: Any) -> Any:
    """Sums of the first and of the second number of ten pairs [pair, 2] (int64) from `first` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        begin = builder.shl(arguments[1], ir.Constant(arguments[1].type, 1))
        total = _load(builder, data, begin, _CELL_PAIR)
        for k in range(4, 2 * 10, 4):
            total = builder.add(total, _load(builder, data, builder.add(begin, ir.Constant(begin.type, k)), _CELL_PAIR))
        lanes = [builder.extract_element(total, ir.Constant(ir.IntType(32), lane)) for lane in range(4)]
        sums = builder.add(lanes[0], lanes[2]), builder.add(lanes[1], lanes[3])
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(types.int64, 2)(pairs, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def add_cells(typing: Any, total: Any, cells: Any) -> Any:
    """Add cells [cell, 2] (int64) to as many others; an even number of cells."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, of = (context.make_array(signature.args[k])(context, builder, arguments[k]) for k in range(2))
        count = builder.extract_value(of.shape, 0)
        with cgutils.for_range(builder, builder.sdiv(count, ir.Constant(count.type, 2))) as loop:
            at = builder.shl(loop.index, ir.Constant(count.type, 2))
            more = _load(builder, of.data, at, _CELL_PAIR)
            place = _place(builder, to.data, at, _CELL_PAIR)
            builder.store(builder.add(builder.load(place, align=8), more), place, align=8)
        return context.get_dummy_value()

    return types.void(total, cells), generate


@contextmanager
def _steps(builder: Any, count: Any) -> Iterator[Any]:
    """A loop over 0, LANES ... below `count`."""
    with cgutils.for_range(builder, builder.sdiv(count, ir.Constant(count.type, LANES))) as loop:
        yield builder.mul(loop.index, ir.Constant(count.type, LANES))


def _place(builder: Any, data: Any, at: Any, kind: Any) -> Any:
    return builder.bitcast(builder.gep(data, [at]), kind.as_pointer())


def _load(builder: Any, data: Any, at: Any, kind: Any) -> Any:
    return builder.load(_place(builder, data, at, kind), align=kind.element.width // 8)


def _sum(builder: Any, vector: Any) -> Any:
    total = builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))
    for lane in range(1, vector.type.count):
        total = builder.add(total, builder.extract_element(vector, ir.Constant(ir.IntType(32), lane)))
    return total
