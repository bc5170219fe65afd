"""State of the detector <-> rows of detector.snapshots. Only panes that hold an event are written."""

from typing import Final

import msgspec
import numpy as np

from processors.windows.context import NOBODY
from processors.windows.layout import SIDES, Array
from processors.windows.sources import Sources
from processors.windows.store import Store
from schemas.errors import SchemaError
from schemas.records import DetectorSnapshot
from schemas.words import EXCHANGE_SLOTS, FeedState

FORMAT: Final = 2  # a change of these structs, of a row of scalars or of the order of cells makes it 3
PARTITION_ROW: Final = ""  # in place of the asset
NO_PARTITION: Final = -1  # of a fold over a file


class PartitionState(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs to no asset."""

    now_ms: int
    epoch: int
    progress_s: int
    tapes: list[int]
    feeds: dict[str, FeedState]


class Ring(msgspec.Struct, frozen=True, array_like=True):
    """The places of a ring that hold a value (little-endian)."""

    places: bytes  # uint16
    values: bytes  # float64


class SourceState(msgspec.Struct, frozen=True, array_like=True):
    """Open interest and funding of one contract."""

    exchange: str
    instrument: str
    scalars: bytes
    coins: Ring
    usd: Ring


class AssetRow(msgspec.Struct, frozen=True, kw_only=True):
    """One asset: its scalars as they lie in memory, and its cells that are not 0 by their places (little-endian)."""

    sizes_ms: list[tuple[int, int]]  # size and grace, for the rings depend on both
    scalars: bytes
    cells: bytes  # uint32
    cell_events: bytes  # int32
    cell_micro_usd: bytes  # int64
    bins: bytes  # uint32
    bin_events: bytes  # int32
    totals: Ring
    sources: list[SourceState]


def write_asset(store: Store, row: int) -> bytes:
    """State of one asset."""
    events = store.panes.cell_events[row].reshape(-1)
    micro_usd = store.panes.cell_micro_usd[row].reshape(-1)
    bins = store.bins[row].reshape(-1)
    cells, places = np.flatnonzero(events), np.flatnonzero(bins)
    return msgspec.msgpack.encode(
        AssetRow(
            sizes_ms=_sizes(store),
            scalars=store.assets[row].tobytes(),
            cells=cells.astype(np.uint32).tobytes(),
            cell_events=events[cells].tobytes(),
            cell_micro_usd=micro_usd[cells].tobytes(),
            bins=places.astype(np.uint32).tobytes(),
            bin_events=bins[places].tobytes(),
            totals=_ring(store.sources.context.totals[row].reshape(-1)),
            sources=_sources(store.sources, row),
        )
    )


def read_asset(store: Store, snapshot: DetectorSnapshot) -> None:
    """Put one asset back. Raises SchemaError when the state is not of this format or of other sizes of window."""
    check_format(snapshot)
    try:
        state = msgspec.msgpack.decode(snapshot.state, type=AssetRow)
        if state.sizes_ms != _sizes(store):
            raise SchemaError(
                f"restoring {snapshot.asset}: its snapshot has windows (size, grace) of {state.sizes_ms} ms, the"
                f" settings {_sizes(store)}; begin from the log"
            )
        row = store.row(snapshot.asset)
        cells = np.frombuffer(state.cells, np.uint32)
        store.panes.cell_events[row].reshape(-1)[cells] = np.frombuffer(state.cell_events, np.int32)
        store.panes.cell_micro_usd[row].reshape(-1)[cells] = np.frombuffer(state.cell_micro_usd, np.int64)
        store.bins[row].reshape(-1)[np.frombuffer(state.bins, np.uint32)] = np.frombuffer(state.bin_events, np.int32)
        _fill(store.sources.context.totals[row].reshape(-1), state.totals)
        for source in state.sources:
            _put_source(store.sources, row, source)
        store.assets[row] = np.frombuffer(state.scalars, store.assets.dtype)[0]
    except (msgspec.MsgspecError, ValueError, IndexError) as exc:
        raise SchemaError(f"restoring {snapshot.asset}: {exc}; begin from the log") from exc
    _add_up(store.panes.events[row], store.panes.cell_events[row])
    _add_up(store.panes.micro_usd[row], store.panes.cell_micro_usd[row])
    cells = store.panes.cell_micro_usd[row]
    store.panes.balance[row] = cells[:, ::SIDES].sum(axis=1) - cells[:, 1::SIDES].sum(axis=1)
    scalars = store.scalars(row)
    scalars["next_offset"], scalars["next_sequence"] = snapshot.next_offset, snapshot.next_sequence


def read_partition(snapshot: DetectorSnapshot) -> PartitionState:
    """State of the partition's own row. Raises SchemaError when it is not of this format."""
    check_format(snapshot)
    try:
        return msgspec.msgpack.decode(snapshot.state, type=PartitionState)
    except msgspec.MsgspecError as exc:
        raise SchemaError(f"restoring partition {snapshot.partition}: {exc}; begin from the log") from exc


def check_format(snapshot: DetectorSnapshot) -> None:
    """Raises SchemaError for a format that this version does not know."""
    if snapshot.format != FORMAT:
        raise SchemaError(
            f"restoring {snapshot.asset or 'partition'} of partition {snapshot.partition}: its snapshot has format"
            f" {snapshot.format}, this version knows {FORMAT}; begin from the log"
        )


def _sources(sources: Sources, row: int) -> list[SourceState]:
    context = sources.context
    return [
        SourceState(exchange, instrument, context.sources[s].tobytes(), _ring(context.coins[s]), _ring(context.usd[s]))
        for (exchange, instrument), s in zip(sources.names(row), sources.rows(row).tolist(), strict=True)
    ]


def _put_source(sources: Sources, row: int, state: SourceState) -> None:
    if state.exchange not in EXCHANGE_SLOTS:
        raise ValueError(f"exchange {state.exchange} is not known")
    s = sources.add(row, (state.exchange, state.instrument), 0)
    if s == NOBODY:
        raise ValueError("it has too many sources")
    context = sources.context
    context.sources[s] = np.frombuffer(state.scalars, context.sources.dtype)[0]
    _fill(context.coins[s], state.coins)
    _fill(context.usd[s], state.usd)


def _ring(values: Array) -> Ring:
    places = np.flatnonzero(~np.isnan(values))
    return Ring(places.astype(np.uint16).tobytes(), values[places].tobytes())


def _fill(values: Array, ring: Ring) -> None:
    values[np.frombuffer(ring.places, np.uint16)] = np.frombuffer(ring.values, np.float64)


def _sizes(store: Store) -> list[tuple[int, int]]:
    return [(int(size["size_ms"]), int(size["grace_ms"])) for size in store.sizes]


def _add_up(totals: Array, cells: Array) -> None:
    totals[:] = cells.sum(axis=1)
