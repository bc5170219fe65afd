"""A run of the log -> EVENT rows: the Avro values of market.liquidations decoded by compiled code.

It reads exactly what `Codec` with the newest schema writes. Whatever else there may be (another version of the schema,
letters beyond ASCII, a value that the fold refuses) is left to the codec, so that there is one place that says why."""

from collections.abc import Callable, Sequence
from struct import pack
from typing import Final, NamedTuple, Protocol

import numpy as np

from processors.jit import inlined, jit, leaf, part
from processors.metrics.metric import NOBODY
from processors.windows.layout import EVENT, MICRO, Array, Row
from processors.windows.memory import PADDING, load64
from processors.windows.names import row_of
from processors.windows.seen import hash_of, id_of
from processors.windows.state import Names, state_at
from processors.windows.store import NOTIONAL_USD_MAX, Store, why_refused
from schemas.errors import LiqcascadeError, RecordRefused, SchemaError
from schemas.records import Liquidation
from schemas.words import EXCHANGE_SLOTS, Completeness, Exchange, Market, PriceKind, Side

SIDE_INDEX: Final = {Side.LONG: 0, Side.SHORT: 1}
TAPE_INDEX: Final = {completeness: index for index, completeness in enumerate(Completeness)}
READ, NEW_ASSET, LEFT = range(3)  # of a record: read; of an asset without a row; left to the codec
_WORDS: Final = tuple(len(words) for words in (Exchange, Market, Side, PriceKind, Completeness))
_LONG: Final = tuple(Side).index(Side.LONG)
_HEADER: Final = 5
_ONE: Final = np.uint64(1)
_SEVEN_BITS: Final = np.uint64(0x7F)
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_VARINT_MAX: Final = 10


class Consumed(Protocol):
    """One record of the log, as the group's consumer or a `LogReader` gives it."""

    @property
    def offset(self) -> int:
        """Offset in the partition."""

    @property
    def timestamp(self) -> int:
        """Append time, ms."""

    @property
    def value(self) -> bytes | None:
        """The value, as encoded."""


class Refused(NamedTuple):
    """A record that the fold cannot take."""

    offset: int
    reason: LiqcascadeError


class Run(NamedTuple):
    """A run as the kernel takes it; refused records are not in it."""

    events: Array  # EVENT
    data: Array  # uint8: the values one behind the other
    refused: list[Refused]


def read_run(run: Sequence[Consumed], store: Store, header: bytes, decode: Callable[[bytes], Liquidation]) -> Run:
    """Read records in the order of their offsets. `header`: what stands before a value of the newest schema."""
    values = [record.value or b"" for record in run]
    data = np.frombuffer(b"".join([*values, bytes(PADDING)]), np.uint8)
    numbers = [record.timestamp for record in run]
    numbers += map(len, values)
    given = np.frombuffer(pack(f"{len(numbers)}q", *numbers), np.int64)
    events = np.empty(len(run), EVENT)
    events["offset"] = _offsets(run)
    before = int.from_bytes(header, "little")
    refused: list[Refused] = []
    at = 0
    while True:
        at, how, begin, end = read_values(given, data, at, before, events, store.state)
        if at == len(run):
            break
        if how == NEW_ASSET:
            store.row(data[begin:end].tobytes().decode())
            continue
        try:
            liquidation = decode(values[at])
            reason = why_refused(liquidation)
            if reason:
                raise RecordRefused(
                    f"folding {liquidation.event_id} at offset {run[at].offset}: {reason}; send it to dead-letters"
                )
        except (SchemaError, RecordRefused) as exc:
            refused.append(Refused(run[at].offset, exc))
            events["asset"][at] = NOBODY
        else:
            _fill(events[at], liquidation, store.row(liquidation.asset))
        at += 1
    return Run(events[events["asset"] != NOBODY] if refused else events, data, refused)


def _offsets(run: Sequence[Consumed]) -> Array:
    """Offsets, which are seldom looked at one by one: mostly none is missing between the first and the last."""
    if run and run[-1].offset - run[0].offset + 1 == len(run):
        return np.arange(run[0].offset, run[-1].offset + 1)
    offsets = np.array([record.offset for record in run], np.int64)
    assert (np.diff(offsets) > 0).all(), "a run stands in the order of its offsets"
    return offsets


def _fill(event: Row, liquidation: Liquidation, row: int) -> None:
    event["id"] = id_of(liquidation.event_id)
    event["event_ms"] = liquidation.event_time_ms
    event["micro_usd"] = round(liquidation.notional_usd * MICRO)
    event["price"], event["notional_usd"] = liquidation.price, liquidation.notional_usd
    event["asset"] = row
    event["slot"] = EXCHANGE_SLOTS[liquidation.exchange]
    event["side"] = SIDE_INDEX[liquidation.side]
    event["tape"] = TAPE_INDEX[liquidation.completeness]
    event["backlog"] = liquidation.backlog


@jit
def read_values(
    given: Array, data: Array, start: int, before: int, events: Array, at: int
) -> tuple[int, int, int, int]:
    """Read values from record `start` on until one needs help: (record, why, begin and end of the asset's name).

    `given`: the append times, then the lengths; `at`: address of the `State`."""
    names, count = state_at(at).names, events.shape[0]
    for i in range(start, count):
        event = events[i]
        event.append_ms = given[i]
        event.begin = events[i - 1].end if i else 0
        event.double = 0
        event.end = event.begin + given[count + i]
        how, begin, end = _read(data, before, names, event)
        if how != READ:
            return i, how, begin, end
    return count, READ, 0, 0


@inlined
def _read(data: Array, before: int, names: Names, event: Row) -> tuple[int, int, int]:
    """Read one value: (READ, NEW_ASSET or LEFT, begin and end of the asset's name).

    Looks at most 7 longs, 3 doubles and a word past the end before it checks where it is, which PADDING allows."""
    at, end = event.begin, event.end
    if end - at < _HEADER or load64(data, at) & 0xFFFFFFFFFF != before:
        return LEFT, 0, 0
    id_begin, id_end = _string(data, at + _HEADER, end)
    slot, at = _short(data, id_end)
    asset_begin, asset_end = _string(data, at, end)
    instrument_begin, at = _string(data, asset_end, end)
    if at > end or not (_ascii(data, id_begin, id_end) and _ascii(data, asset_begin, asset_end)):
        return LEFT, 0, 0
    if not _ascii(data, instrument_begin, at):
        return LEFT, 0, 0
    market, at = _short(data, at)
    side, at = _short(data, at)
    event.price = double(data, at)
    event.notional_usd = double(data, at + 16)
    price_kind, at = _short(data, at + 24)
    tape, at = _short(data, at)
    event.event_ms, at = _long(data, at)
    _, at = _long(data, at)
    event.backlog = data[at]
    if at + 1 != end or data[at] > 1:
        return LEFT, 0, 0
    words = 0 <= slot < _WORDS[0] and 0 <= market < _WORDS[1] and _LONG <= side < _WORDS[2]
    if not (words and 0 <= price_kind < _WORDS[3] and 0 <= tape < _WORDS[4]):
        return LEFT, 0, 0
    if not (0 <= event.notional_usd <= NOTIONAL_USD_MAX) or event.event_ms < 0:  # NaN is neither
        return LEFT, 0, 0
    event.id = hash_of(data, id_begin, id_end)
    event.micro_usd = round(event.notional_usd * MICRO)
    event.slot, event.side, event.tape = slot, side - _LONG, tape
    event.asset = row_of(data, asset_begin, asset_end, names)
    return NEW_ASSET if event.asset == NOBODY else READ, asset_begin, asset_end


@jit
def double(data: Array, at: int) -> float:
    """The double at data[at]."""
    return float(np.int64(load64(data, at)).view(np.float64))


@leaf
def _short(data: Array, at: int) -> tuple[int, int]:
    """The same as `_long`, for what mostly is one byte: enums and lengths."""
    if data[at] > _SEVEN_BITS:
        return _long(data, at)
    byte = np.int64(data[at])
    return int((byte >> 1) ^ -(byte & 1)), at + 1


@part
def _long(data: Array, at: int) -> tuple[int, int]:
    """A zigzag variable-length integer and the place behind it; one that is too long is -1."""
    value, shift = np.uint64(0), np.uint64(0)
    for _ in range(_VARINT_MAX):
        byte = np.uint64(data[at])
        at += 1
        value |= (byte & _SEVEN_BITS) << shift
        if byte <= _SEVEN_BITS:
            return int(np.int64(value >> _ONE) ^ -np.int64(value & _ONE)), at
        shift += np.uint64(7)
    return -1, at


@leaf
def _string(data: Array, at: int, end: int) -> tuple[int, int]:
    """Begin and end of a string; both behind `end` when it does not fit before it."""
    if at >= end:
        return end + 1, end + 1
    length, at = _short(data, at)
    return (at, at + length) if 0 <= length <= end - at else (end + 1, end + 1)


@part
def _ascii(data: Array, begin: int, end: int) -> bool:
    high, at = np.uint64(0), begin
    while at + 8 <= end:
        high |= np.uint64(load64(data, at))
        at += 8
    if at < end:
        high |= np.uint64(load64(data, at)) << np.uint64(8 * (8 - (end - at)))
    return bool((high & _HIGH_BITS) == np.uint64(0))
