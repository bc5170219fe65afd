"""State of the detector <-> rows of detector.snapshots. Only panes that hold an event are written."""

from typing import Final

import msgspec
import numpy as np

from processors.settings import DetectorSettings
from processors.windows.context import NOBODY
from processors.windows.layout import LONG_AGO, SIDES, Array
from processors.windows.panes import add_up
from processors.windows.sources import Sources
from processors.windows.store import Store
from schemas.errors import SchemaError
from schemas.records import DetectorSnapshot
from schemas.words import EXCHANGE_SLOTS, EXCHANGES_MAX, FeedState

FORMAT: Final = 4  # a change of these structs, of a row of scalars or of the order of cells makes it 5
PARTITION_ROW: Final = ""  # in place of the asset
CELLS_MAX: Final = EXCHANGES_MAX * SIDES  # places are numbered as if all exchanges were there that may ever be


class PartitionState(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs to no asset."""

    now_ms: int
    epoch: int
    progress_s: int
    tapes: list[int]
    feeds: dict[str, tuple[FeedState, int]]
    settings: bytes  # in force, as JSON


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
    cell_events: bytes  # int64
    cell_micro_usd: bytes  # int64
    bins: bytes  # uint32
    bin_events: bytes  # uint16
    totals: Ring
    sources: list[SourceState]
    week: bytes  # a row of the relative profile


def write_asset(store: Store, row: int) -> bytes:
    """State of one asset."""
    panes = store.panes.cells[row]
    places, cells = np.nonzero(panes[:, :, 0])
    found = panes[places, cells]
    slots, bins = np.nonzero(store.bins[row])
    return msgspec.msgpack.encode(
        AssetRow(
            sizes_ms=_sizes(store),
            scalars=store.assets[row].tobytes(),
            cells=(places * CELLS_MAX + cells).astype(np.uint32).tobytes(),
            cell_events=found[:, 0].tobytes(),
            cell_micro_usd=found[:, 1].tobytes(),
            bins=(bins * EXCHANGES_MAX + slots).astype(np.uint32).tobytes(),
            bin_events=store.bins[row][slots, bins].tobytes(),
            totals=_ring(store.sources.context.totals[row].reshape(-1)),
            sources=_sources(store.sources, row),
            week=store.weeks[row].tobytes(),
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
        places, cells = np.divmod(np.frombuffer(state.cells, np.uint32), CELLS_MAX)
        store.panes.cells[row][places, cells, 0] = np.frombuffer(state.cell_events, np.int64)
        store.panes.cells[row][places, cells, 1] = np.frombuffer(state.cell_micro_usd, np.int64)
        bins, slots = np.divmod(np.frombuffer(state.bins, np.uint32), EXCHANGES_MAX)
        store.bins[row][slots, bins] = np.frombuffer(state.bin_events, np.uint16)
        _fill(store.sources.context.totals[row].reshape(-1), state.totals)
        for source in state.sources:
            _put_source(store.sources, row, source)
        store.assets[row] = np.frombuffer(state.scalars, store.assets.dtype)[0]
        store.weeks[row] = np.frombuffer(state.week, store.weeks.dtype)[0]
    except (msgspec.MsgspecError, ValueError, IndexError) as exc:
        raise SchemaError(f"restoring {snapshot.asset}: {exc}; begin from the log") from exc
    scalars = store.scalars(row)
    add_up(store.panes, row, store.sizes, scalars["heads"])
    scalars["next_offset"], scalars["next_sequence"] = snapshot.next_offset, snapshot.next_sequence
    scalars["events"] = 0  # the last ones are not kept
    store.due_ms[row] = LONG_AGO  # to be found


def read_partition(snapshot: DetectorSnapshot) -> PartitionState:
    """State of the partition's own row. Raises SchemaError when it is not of this format."""
    check_format(snapshot)
    try:
        return msgspec.msgpack.decode(snapshot.state, type=PartitionState)
    except msgspec.MsgspecError as exc:
        raise SchemaError(f"restoring partition {snapshot.partition}: {exc}; begin from the log") from exc


def settings_of(snapshot: DetectorSnapshot, state: PartitionState, own: DetectorSettings) -> DetectorSettings:
    """Settings that were in force. Raises SchemaError when they do not fit into memory laid out by `own`."""
    try:
        settings = DetectorSettings.model_validate_json(state.settings)
    except ValueError as exc:
        raise SchemaError(f"restoring partition {snapshot.partition}: {exc}; begin from the log") from exc
    if settings.shared() != own.shared():
        raise SchemaError(
            f"restoring partition {snapshot.partition}: its snapshot has other windows than the settings;"
            " begin from the log"
        )
    return settings


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
