"""Named tuples by their address: compiled code sees the arrays that are held, also those in a tuple in the tuple."""

from typing import Annotated, NamedTuple

import numpy as np
import pytest
from numba import from_dtype, types

from processors.jit import jit
from processors.windows.layout import SIZE, Array
from processors.windows.reference import Holder, reader_of


class Inner(NamedTuple):
    table: Annotated[Array, types.int32[:, ::1]]
    sizes: Annotated[Array, from_dtype(SIZE)[::1]]


class Outer(NamedTuple):
    first: Annotated[Array, types.int64[::1]]
    inner: Inner
    last: Annotated[Array, types.uint8[:, :, ::1]]


outer_at = reader_of(Outer)


@jit
def look_and_write(at: int) -> tuple[int, int, int, int]:
    outer = outer_at(at)
    inner = outer.inner
    inner.table[1, -1] += 10
    row = outer.last[outer.last.shape[0] - 1]
    return outer.first.shape[0], inner.table[1, 2], inner.sizes[1].pane_ms, row[1, 1]


def outer(rows: int) -> Outer:
    table, sizes = np.arange(3 * rows, dtype=np.int32).reshape(rows, 3), np.zeros(rows, SIZE)
    sizes["pane_ms"] = 7 * np.arange(rows)
    return Outer(np.zeros(rows, np.int64), Inner(table, sizes), np.full((rows, 2, 2), rows, np.uint8))


def test_compiled_code_sees_the_arrays_that_are_held_and_their_successors() -> None:
    holder, small, large = Holder(Outer), outer(2), outer(200)
    address = holder.hold(small)
    assert look_and_write(address) == (2, 15, 7, 2)
    assert small.inner.table[1, 2] == 15
    assert holder.hold(large) == address
    assert look_and_write(address) == (200, 15, 7, 200)
    assert holder.hold(large._replace(inner=small.inner)) == address
    assert look_and_write(address) == (200, 25, 7, 200)


@pytest.mark.parametrize(
    "first", [np.zeros(2, np.int32), np.zeros((2, 2), np.int64), np.zeros(4, np.int64)[::2]], ids=str
)
def test_another_kind_of_array_is_a_fault_of_ours(first: Array) -> None:
    with pytest.raises(AssertionError, match=r"first must be array\(int64, 1d, C\), was int"):
        Holder(Outer).hold(outer(2)._replace(first=first))
