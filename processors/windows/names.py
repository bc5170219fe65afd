"""Names of assets for compiled code: a hash table from name to row, and the rows in the order of the names."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from processors.jit import jit, part
from processors.metrics.metric import NOBODY
from processors.windows.layout import Array
from processors.windows.memory import PADDING, load64
from processors.windows.seen import hash_of
from processors.windows.state import Names

_ONE: Final = np.uint64(1)


def names_of(assets: Sequence[str]) -> Names:
    """The table of these assets, each in the row that is its place."""
    encoded = [asset.encode() for asset in assets]
    data = np.frombuffer(b"".join([*encoded, bytes(PADDING)]), np.uint8)
    ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
    table = np.zeros(1 << (2 * len(assets) + 1).bit_length(), np.int32)
    by_name = np.array(sorted(range(len(assets)), key=encoded.__getitem__), np.int64)
    names = Names(data, ends, table, by_name)
    for row in range(len(assets)):
        enter(row, names)
    return names


@jit
def begin_of(row: int, names: Names) -> int:
    """Where the name of a row begins."""
    return int(names.ends[row - 1]) if row else 0


@jit
def enter(row: int, names: Names) -> None:
    """Put a row into the table."""
    mask = names.table.shape[0] - 1
    slot = hash_of(names.data, begin_of(row, names), names.ends[row]) & mask
    while names.table[slot]:
        slot = (slot + 1) & mask
    names.table[slot] = row + 1


@part
def is_same(known: Array, start: int, data: Array, begin: int, end: int) -> bool:
    """Whether data[begin:end] is what lies at known[start:]; PADDING must lie behind both."""
    while begin + 8 <= end:
        if load64(known, start) != load64(data, begin):
            return False
        start, begin = start + 8, begin + 8
    differ = np.uint64(load64(known, start) ^ load64(data, begin))
    return bool(differ & ((_ONE << np.uint64(8 * (end - begin))) - _ONE) == np.uint64(0))


@jit
def row_of(data: Array, begin: int, end: int, names: Names) -> int:
    """Row of the asset whose name is data[begin:end], or NOBODY."""
    mask = names.table.shape[0] - 1
    slot = hash_of(data, begin, end) & mask
    while names.table[slot]:
        row = int(names.table[slot]) - 1
        start = begin_of(row, names)
        if names.ends[row] - start == end - begin and is_same(names.data, start, data, begin, end):
            return row
        slot = (slot + 1) & mask
    return NOBODY
