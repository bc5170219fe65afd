"""A run of the log -> EVENT rows: the Avro values of market.liquidations decoded by compiled code.

It reads exactly what `Codec` with the newest schema writes. Whatever else there may be (another version of the schema,
letters beyond ASCII, a value that the fold refuses) is left to the codec, so that there is one place that says why."""

from collections.abc import Callable
from secrets import token_bytes
from typing import Final, NamedTuple

import numpy as np

from processors.jit import inlined, jit, part
from processors.metrics.metric import NOBODY
from processors.windows.avro import HEADER, double, long, short, string
from processors.windows.layout import MICRO, Array, Row
from processors.windows.memory import PADDING, load64
from processors.windows.names import row_of
from processors.windows.run import LogRun
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
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
MARK: Final = token_bytes(8)  # behind each value: no record can know it, so none is taken for two, or two for one
_MARK_BYTES: Final = len(MARK)
_MARK: Final = int.from_bytes(MARK, "little", signed=True)


class Refused(NamedTuple):
    """A record that the fold cannot take."""

    offset: int
    reason: LiqcascadeError


class Read(NamedTuple):
    """A run as the kernel takes it; refused records are not in it."""

    events: Array  # EVENT: the first ones of the store's
    data: Array  # uint8: the values one behind the other, each with MARK behind it
    refused: list[Refused]


def read_run(run: LogRun, store: Store, header: bytes, decode: Callable[[bytes], Liquidation]) -> Read:
    """Read records in the order of their offsets. `header`: what stands before a value of the newest schema."""
    data = np.frombuffer(_joined(run.values), np.uint8)
    times_ms = np.fromiter(run.timestamps, np.int64, len(run))
    events = store.room_for(len(run))
    events["offset"] = _offsets(run.offsets)
    before = int.from_bytes(header, "little")
    refused: list[Refused] = []
    at = begin = 0
    while True:
        at, how, name_begin, name_end = read_values(times_ms, data, at, begin, before, _MARK, store.state)
        if at == len(run):
            break
        event = events[at]
        begin = int(event["begin"])
        if how == NEW_ASSET:
            store.row(data[name_begin:name_end].tobytes().decode())
            continue
        value = run.values[at] or b""
        event["end"] = begin + len(value)
        try:
            liquidation = decode(value)
            reason = why_refused(liquidation)
            if reason:
                raise RecordRefused(
                    f"folding {liquidation.event_id} at offset {run.offsets[at]}: {reason}; send it to dead-letters"
                )
        except (SchemaError, RecordRefused) as exc:
            refused.append(Refused(run.offsets[at], exc))
            event["asset"] = NOBODY
        else:
            _fill(event, liquidation, store.row(liquidation.asset))
        at, begin = at + 1, begin + len(value) + len(MARK)
    if refused:
        kept = events[events["asset"] != NOBODY]
        events = store.room_for(len(kept))
        events[:] = kept
    return Read(events, data, refused)


def _joined(values: list[bytes | None]) -> bytes:
    try:
        return MARK.join([*values, bytes(PADDING)])  # type: ignore[list-item]  # seldom one is None
    except TypeError:
        return MARK.join([*(value or b"" for value in values), bytes(PADDING)])


def _offsets(offsets: list[int]) -> Array:
    """Offsets, which are seldom looked at one by one: mostly none is missing between the first and the last."""
    if offsets and offsets[-1] - offsets[0] + 1 == len(offsets):
        return np.arange(offsets[0], offsets[-1] + 1)
    found = np.array(offsets, np.int64)
    assert (np.diff(found) > 0).all(), "a run stands in the order of its offsets"
    return found


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
    times_ms: Array, data: Array, start: int, begin: int, before: int, mark: int, at: int
) -> tuple[int, int, int, int]:
    """Read values from record `start`, which begins at data[begin], on until one needs help: (record, why, begin and
    end of the asset's name). `at`: address of the `State`."""
    names, events, count = state_at(at).names, state_at(at).events, times_ms.shape[0]
    for i in range(start, count):
        event = events[i]
        event.append_ms, event.begin, event.double = times_ms[i], begin, 0
        how, name_begin, name_end = _read(data, before, mark, names, event)
        if how != READ:
            return i, how, name_begin, name_end
        begin = event.end + _MARK_BYTES
    return count, READ, 0, 0


@inlined
def _read(data: Array, before: int, mark: int, names: Names, event: Row) -> tuple[int, int, int]:
    """Read one value: (READ, NEW_ASSET or LEFT, begin and end of the asset's name).

    Where it ends is not known before: whatever is not a whole value with the mark behind it is left. Looks at most 7
    longs, 3 doubles and a word past the end of `data` before it checks where it is, which PADDING allows."""
    at, end = event.begin, data.shape[0] - PADDING
    if load64(data, at) & 0xFFFFFFFFFF != before:
        return LEFT, 0, 0
    id_begin, id_end = string(data, at + HEADER, end)
    slot, at = short(data, id_end)
    asset_begin, asset_end = string(data, at, end)
    instrument_begin, at = string(data, asset_end, end)
    if at > end:
        return LEFT, 0, 0
    instrument_end = at
    market, at = short(data, at)
    side, at = short(data, at)
    event.price = double(data, at)
    event.notional_usd = double(data, at + 16)
    price_kind, at = short(data, at + 24)
    tape, at = short(data, at)
    event.event_ms, at = long(data, at)
    _, at = long(data, at)
    event.backlog = data[at]
    event.end = at + 1
    if at >= end or load64(data, at + 1) != mark or data[at] > 1:
        return LEFT, 0, 0
    if not (_ascii(data, id_begin, id_end) and _ascii(data, asset_begin, asset_end)):
        return LEFT, 0, 0
    if not _ascii(data, instrument_begin, instrument_end):
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


@part
def _ascii(data: Array, begin: int, end: int) -> bool:
    high, at = np.uint64(0), begin
    while at + 8 <= end:
        high |= np.uint64(load64(data, at))
        at += 8
    if at < end:
        high |= np.uint64(load64(data, at)) << np.uint64(8 * (8 - (end - at)))
    return bool((high & _HIGH_BITS) == np.uint64(0))
