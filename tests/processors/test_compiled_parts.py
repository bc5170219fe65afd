"""The small compiled parts against plain whole numbers: Avro in and out, sums over many counts, buckets of ids."""

import numba
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.outputs.avro import put_bytes, put_id, put_long
from processors.windows.avro import LONG_MAX, long
from processors.windows.layout import Array
from processors.windows.memory import PADDING
from processors.windows.names import is_same, names_of
from processors.windows.state import Names
from processors.windows.vectors import INT16_END, LANES, add_cells, add_counts, dot, sum_of_ten, total_of

compiled = settings(deadline=None)  # the first call compiles
longs = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 62).flatmap(lambda bits: st.sampled_from([1 << bits, (1 << bits) - 1, -(1 << bits), ~(1 << bits)])),
)


def avro_long(value: int) -> bytes:
    """By the words of the specification."""
    rest, data = value << 1 if value >= 0 else ~value << 1 | 1, bytearray()
    while rest > 0x7F:
        data.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*data, rest])


@numba.njit  # type: ignore[untyped-decorator]  # no types there
def write_long(data: Array, value: int) -> int:
    return put_long(data, 1, value)


@numba.njit  # type: ignore[untyped-decorator]
def read_long(data: Array, at: int) -> tuple[int, int]:
    value, behind = long(data, at)
    return int(value), int(behind)


@numba.njit  # type: ignore[untyped-decorator]
def write_bytes(data: Array, source: Array, begin: int, end: int) -> int:
    return put_bytes(data, 1, source, begin, end)


@numba.njit  # type: ignore[untyped-decorator]
def sums(counts: Array, others: Array, begin: int, lanes: int, ones: Array) -> tuple[int, int]:
    return total_of(counts, begin, counts.shape[0], ones), int(dot(counts, begin, others, 0, lanes))


@numba.njit  # type: ignore[untyped-decorator]
def added(total: Array, at: int, counts: Array, begin: int, end: int) -> None:
    add_counts(total, at, counts, begin, end)


@numba.njit  # type: ignore[untyped-decorator]
def sums_of_cells(cells: Array, first: int, total: Array) -> tuple[int, int]:
    add_cells(total, cells)
    one, other = sum_of_ten(cells, first)
    return int(one), int(other)


@compiled
@given(longs)
def test_long_is_written_and_read_as_avro_has_it(value: int) -> None:
    expected = avro_long(value)
    data = np.full(1 + LONG_MAX + PADDING, 0xAA, np.uint8)
    assert write_long(data, value) == 1 + len(expected)
    assert bytes(data[1 : 1 + len(expected)]) == expected
    assert read_long(data, 1) == (value, 1 + len(expected))


def test_long_without_an_end_is_none() -> None:
    assert read_long(np.full(PADDING, 0xFF, np.uint8), 3)[0] == -1


@compiled
@given(st.binary(max_size=40), st.integers(0, 8))
def test_bytes_are_copied_and_the_place_behind_them_is_told(text: bytes, begin: int) -> None:
    source, data = np.frombuffer(bytes(begin) + text + bytes(8), np.uint8), np.zeros(64, np.uint8)
    assert write_bytes(data, source, begin, begin + len(text)) == 1 + len(text)
    assert bytes(data[1 : 1 + len(text)]) == text


@numba.njit  # type: ignore[untyped-decorator]
def write_id(data: Array, data_of: Array, ends: Array, table: Array, by_name: Array, first: int, second: int) -> int:
    return put_id(data, 0, 1, Names(data_of, ends, table, by_name), first, second)


@compiled
@given(st.integers(0, 2**63 - 1), st.one_of(st.just(-1), st.integers(0, 10**9)), st.integers(0, 18))
def test_id_is_the_decimal_text(first: int, second: int, digits: int) -> None:
    names = names_of(["AB", "BTCUSD-PERP"])
    for number in (first, 10**digits, 10**digits - 1):
        data = np.zeros(128, np.uint8)
        end = write_id(data, names.data, names.ends, names.table, names.by_name, number, second)
        text = f"BTCUSD-PERP:{number}" + (f":{second}" if second >= 0 else "")
        assert bytes(data[:end]) == avro_long(len(text)) + text.encode()


@numba.njit  # type: ignore[untyped-decorator]
def same(known: Array, start: int, data: Array, begin: int, end: int) -> bool:
    return is_same(known, start, data, begin, end)


@compiled
@given(st.binary(max_size=20), st.binary(max_size=20), st.integers(0, 5))
def test_bytes_are_compared_to_their_end(one: bytes, other: bytes, start: int) -> None:
    size = min(len(one), len(other))
    for second in (other, one):
        known = np.frombuffer(bytes(start) + one + bytes(PADDING), np.uint8)
        data = np.frombuffer(second + b"\xff" * PADDING, np.uint8)
        assert same(known, start, data, 0, size) == (one[:size] == second[:size])


@compiled
@given(st.integers(1, 90), st.integers(0, 20), st.integers(0, 2**32 - 1), st.sampled_from((np.int16, np.int32)))
def test_sums_over_counts(count: int, begin: int, seed: int, kind: type[np.signedinteger]) -> None:
    rng = np.random.default_rng(seed)
    high = INT16_END // 100 if kind is np.int16 else 1 << 24  # so that the sums stay below what the lanes hold
    counts, others = (rng.integers(0, high, begin + count + LANES).astype(kind) for _ in range(2))
    lanes, ones = count // LANES * LANES, np.ones(len(counts), kind)
    total, product = sums(counts, others, begin, lanes, ones)
    assert total == counts[begin:].sum(dtype=np.int64)
    assert product == (counts[begin : begin + lanes].astype(np.int64) * others[:lanes]).sum()
    series, raw = np.zeros(len(counts) + 3, kind), counts.astype(np.uint16)
    added(series, 3, raw, begin, begin + count)
    assert series[3 : 3 + count].tolist() == raw[begin : begin + count].astype(kind).tolist()
    assert not series[3 + count :].any()


@compiled
@given(st.integers(0, 8), st.integers(0, 2**32 - 1))
def test_sums_over_cells(first: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells, total = (rng.integers(-(2**40), 2**40, (18, 2)) for _ in range(2))
    expected = total + cells
    assert sums_of_cells(cells, first, total) == tuple(cells[first : first + 10].sum(axis=0))
    assert (total == expected).all()
