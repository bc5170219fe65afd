"""State of the detector <-> rows of detector.snapshots. Only panes and windows that hold an event are written."""

from typing import Final

import msgspec
import numpy as np

from processors.settings import DetectorSettings
from processors.windows.context import NOBODY
from processors.windows.layout import LONG_AGO, SIDES, Array
from processors.windows.panes import count_windows
from processors.windows.sources import Sources
from processors.windows.store import Store
from schemas.errors import SchemaError
from schemas.records import DetectorSnapshot
from schemas.words import EXCHANGE_SLOTS, EXCHANGES_MAX, FeedState

FORMAT: Final = 5  # a change of these structs, of a row of scalars or of what lies where in a ring makes it 6
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


class Cells(msgspec.Struct, frozen=True, array_like=True):
    """The cells of a ring that are not 0 (little-endian)."""

    places: bytes  # uint32
    events: bytes  # int64
    micro_usd: bytes  # int64


class SourceState(msgspec.Struct, frozen=True, array_like=True):
    """Open interest and funding of one contract."""

    exchange: str
    instrument: str
    scalars: bytes
    coins: Ring
    usd: Ring


class AssetRow(msgspec.Struct, frozen=True, kw_only=True):
    """One asset: its scalars as they lie in memory, and what is not 0 by its places (little-endian)."""

    sizes_ms: list[tuple[int, int]]  # size and grace, for the rings depend on both
    scalars: bytes
    panes: bytes  # uint32
    pane_sums: bytes  # int64 [pane, (events, micro-USD, balance)]
    exchanges: bytes  # uint32, of the smallest size
    cells: Cells  # of the judged size
    tumbling: Cells
    bins: bytes  # uint32
    bin_events: bytes  # uint16
    totals: Ring
    sources: list[SourceState]
    week: bytes  # a row of the relative profile


def write_asset(store: Store, row: int) -> bytes:
    """State of one asset."""
    panes = store.panes
    places = np.flatnonzero(panes.events[row])
    slots, bins = np.nonzero(store.bins[row])
    return msgspec.msgpack.encode(
        AssetRow(
            sizes_ms=_sizes(store),
            scalars=store.assets[row].tobytes(),
            panes=places.astype(np.uint32).tobytes(),
            pane_sums=np.column_stack((panes.events[row][places], panes.sums[row][places])).tobytes(),
            exchanges=panes.exchanges[row][places[places < panes.exchanges.shape[1]]].tobytes(),
            cells=_cells(panes.cells[row]),
            tumbling=_cells(store.tumbling[row]),
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
        panes, places = store.panes, np.frombuffer(state.panes, np.uint32)
        sums = np.frombuffer(state.pane_sums, np.int64).reshape(-1, 3)
        panes.events[row][places], panes.sums[row][places] = sums[:, 0], sums[:, 1:]
        smallest = places[places < panes.exchanges.shape[1]]
        panes.exchanges[row][smallest] = np.frombuffer(state.exchanges, np.uint32)
        _fill_cells(panes.cells[row], state.cells)
        _fill_cells(store.tumbling[row], state.tumbling)
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
    count_windows(panes.events[row], panes.counts[row], store.sizes, scalars["heads"])
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


def _cells(ring: Array) -> Cells:
    places, cells = np.nonzero(ring[:, :, 0])
    found = ring[places, cells]
    numbers = (places * CELLS_MAX + cells).astype(np.uint32)
    return Cells(numbers.tobytes(), found[:, 0].tobytes(), found[:, 1].tobytes())


def _fill_cells(ring: Array, state: Cells) -> None:
    places, cells = np.divmod(np.frombuffer(state.places, np.uint32), CELLS_MAX)
    ring[places, cells, 0] = np.frombuffer(state.events, np.int64)
    ring[places, cells, 1] = np.frombuffer(state.micro_usd, np.int64)


def _ring(values: Array) -> Ring:
    places = np.flatnonzero(~np.isnan(values))
    return Ring(places.astype(np.uint16).tobytes(), values[places].tobytes())


def _fill(values: Array, ring: Ring) -> None:
    values[np.frombuffer(ring.places, np.uint16)] = np.frombuffer(ring.values, np.float64)


def _sizes(store: Store) -> list[tuple[int, int]]:
    return [(int(size["size_ms"]), int(size["grace_ms"])) for size in store.sizes]
