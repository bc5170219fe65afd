"""The packed state of all assets of one partition, by name and by row."""

from collections.abc import Sequence
from math import isfinite
from typing import Final, NamedTuple

import numpy as np

from processors.settings import DetectorSettings, panes_kept
from processors.windows.context import Context
from processors.windows.layout import EVENT, MICRO, Array, Row, bins_kept, new_assets, sizes_of
from processors.windows.panes import Panes, new_panes
from processors.windows.seen import id_of
from processors.windows.sources import Sources
from schemas.errors import RecordRefused
from schemas.records import Liquidation
from schemas.words import EXCHANGE_SLOTS, EXCHANGES_MAX, Completeness, Side

ASSETS_FIRST: Final = 4  # rows made at once in the beginning; then doubled
NOTIONAL_USD_MAX: Final = 1e9  # of one liquidation; 9e15 micro-USD would lose the last digit as a float
SIDE_INDEX: Final = {Side.LONG: 0, Side.SHORT: 1}
TAPE_INDEX: Final = {completeness: index for index, completeness in enumerate(Completeness)}


class Delivered(NamedTuple):
    """One liquidation as it stands in the log."""

    offset: int
    append_time_ms: int
    liquidation: Liquidation


class Store:
    """Rows of assets: scalars, panes of all sizes, and bins of the correlation."""

    def __init__(self, settings: DetectorSettings) -> None:
        self.sizes = sizes_of(settings)
        self.sizes_ms = [window.size_ms for window in settings.windows]
        self.judged = self.sizes_ms.index(settings.judged_size_ms)
        self.names: list[str] = []
        self._rows: dict[str, int] = {}
        self._bins_kept = bins_kept(settings)
        self._panes_kept = sum(panes_kept(window) for window in settings.windows)
        self.assets: Array = new_assets(0, len(self.sizes))
        self.panes: Panes = new_panes(0, self._panes_kept)
        self.bins: Array = self._new_bins(0)
        self.sources = Sources()
        self._grow(ASSETS_FIRST)

    def row(self, asset: str) -> int:
        """Row of an asset, made when it is new."""
        row = self._rows.get(asset)
        if row is None:
            row = self._rows[asset] = len(self.names)
            if row == len(self.assets):
                self._grow(2 * row)
            self.names.append(asset)
        return row

    @property
    def arrays(self) -> tuple[Array, Panes, Array, Context, Array]:
        """What compiled functions take: scalars, panes, bins, context, sizes."""
        return self.assets, self.panes, self.bins, self.sources.context, self.sizes

    def scalars(self, row: int) -> Row:
        """Scalars of an asset; writing to a field changes the state."""
        return self.assets[row]

    def nbytes(self) -> int:
        """Bytes of the rows in use."""
        arrays = (self.assets, self.bins, *self.panes)
        count = len(self.names)
        return sum(array[:count].nbytes for array in arrays) + self.sources.nbytes(count)

    def _grow(self, rows: int) -> None:
        kept = len(self.assets)
        assets, bins = new_assets(rows, len(self.sizes)), self._new_bins(rows)
        panes = new_panes(rows, self._panes_kept)
        for new, old in zip((assets, bins, *panes), (self.assets, self.bins, *self.panes), strict=True):
            new[:kept] = old
        self.assets, self.bins, self.panes = assets, bins, panes
        self.sources.grow(rows)

    def _new_bins(self, rows: int) -> Array:
        return np.zeros((rows, self._bins_kept, EXCHANGES_MAX), np.int32)


def why_refused(liquidation: Liquidation) -> str | None:
    """What keeps a liquidation out of the fold, or None: no sum can hold it, or nobody knows which side it was."""
    if liquidation.side not in SIDE_INDEX:
        return f"side is {liquidation.side}, must be LONG or SHORT"
    notional_usd = liquidation.notional_usd
    if not (isfinite(notional_usd) and 0 <= notional_usd <= NOTIONAL_USD_MAX):
        return f"notional_usd is {notional_usd}, must be 0 to {NOTIONAL_USD_MAX:.0f}"
    if liquidation.event_time_ms < 0:
        return f"event_time_ms is {liquidation.event_time_ms}, must not be negative"
    return None


def pack(run: Sequence[Delivered], store: Store) -> Array:
    """A run as EVENT rows. Raises RecordRefused, before anything has changed, naming the first offset that is."""
    for offset, _, liquidation in run:
        reason = why_refused(liquidation)
        if reason:
            raise RecordRefused(f"folding {liquidation.event_id} at offset {offset}: {reason}; send it to dead-letters")
    events = [delivered.liquidation for delivered in run]
    packed = np.zeros(len(run), EVENT)
    rows = [store.row(event.asset) for event in events]
    packed["offset"] = [delivered.offset for delivered in run]
    packed["id"] = [id_of(event.event_id) for event in events]
    packed["append_ms"] = [delivered.append_time_ms for delivered in run]
    packed["event_ms"] = [event.event_time_ms for event in events]
    packed["micro_usd"] = [round(event.notional_usd * MICRO) for event in events]
    packed["asset"] = rows
    packed["slot"] = [EXCHANGE_SLOTS[event.exchange] for event in events]
    packed["side"] = [SIDE_INDEX[event.side] for event in events]
    packed["tape"] = [TAPE_INDEX[event.completeness] for event in events]
    packed["backlog"] = [event.backlog for event in events]
    packed["seen"] = packed["offset"] < store.assets["next_offset"][rows]
    return packed
