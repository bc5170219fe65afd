"""Sums over counts, eight at a time, as LLVM vectors: Numba's own vectorising would take as long to compile again.

Whole numbers only, so that the order of adding changes nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from processors.jit import part
from processors.windows.layout import Array

LANES: Final = 8
WIDEST: Final = 16
INT32_END: Final = 1 << 31
_NARROW, _WIDE, _LONG = (ir.VectorType(ir.IntType(bits), LANES) for bits in (16, 32, 64))

_WIDEST = ir.VectorType(ir.IntType(32), WIDEST)


@intrinsic  # type: ignore[untyped-decorator]
def dot(typing: Any, x: Any, y: Any, y_from: Any, count: Any) -> Any:
    """Sum of x[k] * y[y_from + k] for k in range(count), int32 arrays; `count` is a multiple of LANES."""
    return types.int64(x, y, types.intp, types.intp), _sum_of_products(_LONG)


@intrinsic  # type: ignore[untyped-decorator]
def dot_narrow(typing: Any, x: Any, y: Any, y_from: Any, count: Any) -> Any:
    """The same where all are positive and the sum is below INT32_END."""
    return types.int64(x, y, types.intp, types.intp), _sum_of_products(_WIDE)


def _sum_of_products(lanes: Any) -> Any:
    """Code that adds up in these lanes, none of which may overflow."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, y = (context.make_array(kind)(context, builder, given).data for kind, given in
                zip(signature.args[:2], arguments[:2], strict=True))  # fmt: skip
        total = cgutils.alloca_once_value(builder, ir.Constant(lanes, [0] * LANES))
        with _steps(builder, arguments[3]) as k:
            left, right = _load(builder, x, k, _WIDE), _load(builder, y, builder.add(arguments[2], k), _WIDE)
            if lanes is not _WIDE:
                left, right = builder.sext(left, lanes), builder.sext(right, lanes)
            builder.store(builder.add(builder.load(total), builder.mul(left, right)), total)
        found = _sum(builder, builder.load(total))
        return builder.zext(found, ir.IntType(64)) if lanes is _WIDE else found

    return generate


@intrinsic  # type: ignore[untyped-decorator]
def raise_counts(typing: Any, counts: Any, begin: Any, count: Any) -> Any:
    """Add 1 to counts[begin:begin + count] (int32), at most WIDEST; the highest of them. No loop, whose end the
    processor would guess wrong. It looks at WIDEST counts, which must be there."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = _place(builder, data, arguments[1], _WIDEST)
        lanes = ir.Constant(_WIDEST, list(range(WIDEST)))
        many = builder.trunc(arguments[2], _WIDEST.element)
        all_ = builder.shuffle_vector(
            builder.insert_element(ir.Constant(_WIDEST, ir.Undefined), many, ir.Constant(ir.IntType(32), 0)),
            ir.Constant(_WIDEST, ir.Undefined),
            ir.Constant(_WIDEST, [0] * WIDEST),
        )
        among = builder.icmp_signed("<", lanes, all_)
        raised = builder.add(builder.load(place, align=4), builder.zext(among, _WIDEST))
        builder.store(raised, place, align=4)
        highest = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_WIDEST.element, [_WIDEST]), f"llvm.vector.reduce.smax.v{WIDEST}i32"
        )
        zeros = ir.Constant(_WIDEST, [0] * WIDEST)
        return builder.sext(builder.call(highest, [builder.select(among, raised, zeros)]), ir.IntType(64))

    return types.int64(counts, types.intp, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def _sum_lanes(typing: Any, x: Any, count: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        total = cgutils.alloca_once_value(builder, ir.Constant(_LONG, [0] * LANES))
        with _steps(builder, arguments[1]) as k:
            builder.store(builder.add(builder.load(total), builder.sext(_load(builder, x, k, _WIDE), _LONG)), total)
        return _sum(builder, builder.load(total))

    return types.int64(x, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def _add_lanes(typing: Any, total: Any, at: Any, counts: Any, begin: Any, count: Any) -> Any:
    kind = _NARROW if counts.dtype == types.uint16 else _WIDE

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        counts = context.make_array(signature.args[2])(context, builder, arguments[2]).data
        with _steps(builder, arguments[4]) as k:
            more = _load(builder, counts, builder.add(arguments[3], k), kind)
            if kind is _NARROW:
                more = builder.zext(more, _WIDE)
            place = _place(builder, total, builder.add(arguments[1], k), _WIDE)
            builder.store(builder.add(builder.load(place, align=4), more), place, align=4)
        return context.get_dummy_value()

    return types.void(total, types.intp, counts, types.intp, types.intp), generate


@part
def add_counts(total: Array, at: int, counts: Array, begin: int, end: int) -> None:
    """Add counts[begin:end] (uint16) to total[at:] (int32)."""
    lanes = (end - begin) // LANES * LANES
    _add_lanes(total, at, counts, begin, lanes)
    for k in range(lanes, end - begin):
        total[at + k] += counts[begin + k]


@part
def total_of(counts: Array) -> int:
    """Sum of counts (int32)."""
    lanes = counts.shape[0] // LANES * LANES
    total = _sum_lanes(counts, lanes)
    for k in range(lanes, counts.shape[0]):
        total += counts[k]
    return int(total)


@part
def add_all(total: Array, at: int, counts: Array) -> None:
    """Add counts (int32) to total[at:] (int32)."""
    lanes = counts.shape[0] // LANES * LANES
    _add_lanes(total, at, counts, 0, lanes)
    for k in range(lanes, counts.shape[0]):
        total[at + k] += counts[k]


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
    for lane in range(1, LANES):
        total = builder.add(total, builder.extract_element(vector, ir.Constant(ir.IntType(32), lane)))
    return total
