"""The packed state of all assets of one partition, by name and by row."""

from collections.abc import Sequence
from math import isfinite
from operator import is_
from typing import Final, NamedTuple

import numpy as np

from processors.cascade.relative import new_weeks, put_in_force, relative_rule_of
from processors.metrics.metric import NOBODY
from processors.outputs.words import OUTPUTS_FIRST, new_out, with_rules, words_of
from processors.rules import Rules
from processors.settings import DetectorSettings
from processors.windows.figures import NUMBERS, WINDOW
from processors.windows.layout import (
    CELLS,
    CLOCK,
    EVENT,
    LAST,
    LAST_EVENTS,
    LONG_AGO,
    NEVER,
    NO_PARTITION,
    SLOTS,
    Array,
    Row,
    bins_kept,
    new_assets,
    rules_of,
    sizes_of,
)
from processors.windows.names import names_of
from processors.windows.panes import Panes, new_panes
from processors.windows.reference import Holder
from processors.windows.sources import Sources
from processors.windows.state import State
from processors.windows.tumbling import new_tumbling
from schemas.records import Liquidation
from schemas.topics import PROGRESS_KEY
from schemas.words import Side

ASSETS_FIRST: Final = 4  # rows made at once in the beginning; then doubled
NOTIONAL_USD_MAX: Final = 1e9  # of one liquidation; 9e15 micro-USD would lose the last digit as a float


class Delivered(NamedTuple):
    """One liquidation as it stands in the log."""

    offset: int
    append_time_ms: int
    liquidation: Liquidation


class Store:
    """Rows of assets: scalars, panes of all sizes, bins of the correlation, context, last events."""

    def __init__(self, settings: DetectorSettings, *, partition: int | None, headers: Sequence[bytes]) -> None:
        self.sizes = sizes_of(settings)
        places = {window.size_ms: place for place, window in enumerate(settings.relative.windows)}
        self.relative_of = np.array([places.get(window.size_ms, NOBODY) for window in settings.windows], np.int64)
        self.names: list[str] = []
        self.names_table = names_of(self.names)
        self.name_max = 0  # bytes of the longest
        self.keys = [f"{PROGRESS_KEY}/{partition or 0}"]  # of outputs, by row; that of no asset, NOBODY, is the last
        self.words = words_of(settings, headers)
        self.out = new_out(OUTPUTS_FIRST)
        self.clock = np.zeros(1, CLOCK)
        self.clock["progress_s"] = LONG_AGO
        self.clock["offset"] = -1
        self.clock["partition"] = NO_PARTITION if partition is None else partition
        self._rows: dict[str, int] = {}
        self._bins_kept = bins_kept(settings)
        self.judged = next(s for s, one in enumerate(settings.windows) if one.size_ms == settings.judged_size_ms)
        self._ends = np.zeros(len(self.sizes), np.int64)
        self._numbers = np.zeros(NUMBERS + WINDOW * len(self.sizes), np.int64)
        self._cells = np.zeros((CELLS, 2), np.int64)
        self._holder = Holder(State)
        self._held: tuple[object, ...] = (None,) * 6
        self._address = 0
        self.events: Array = np.empty(0, EVENT)
        self.assets: Array = new_assets(0)
        self.due_ms: Array = np.zeros(0, np.int64)
        self.panes: Panes = self._new_panes(0)
        self.tumbling: Array = self._new_tumbling(0)
        self.bins: Array = self._new_bins(0)
        self.last: Array = np.zeros((0, LAST_EVENTS), LAST)
        self.weeks: Array = new_weeks(0)
        self.checks: Array = np.zeros(0, np.int64)
        self.sources = Sources()
        self._grow(ASSETS_FIRST)
        self.use(settings)

    def use(self, settings: DetectorSettings) -> None:
        """Put settings in force from here on, whose `shared` are the same."""
        trees = [settings.model_copy(update={"assets": {}})]
        known, self._rule_of = {trees[0].model_dump_json(): 0}, dict[str, int]()
        for asset in settings.assets:
            tree = settings.of(asset)
            row = self._rule_of[asset] = known.setdefault(tree.model_dump_json(), len(trees))
            if row == len(trees):
                trees.append(tree)
        self.rules = np.concatenate([rules_of(tree) for tree in trees])
        self.relative = np.concatenate([relative_rule_of(tree.relative) for tree in trees])
        self.custom = [Rules(tree) for tree in trees]
        self.words = with_rules(self.words, [[rule.name for rule in tree.rules] for tree in trees])
        for row in range(len(self.names)):
            self._follow(row)

    def _follow(self, row: int) -> None:
        """Let an asset follow the settings that are in force for it."""
        rule = self.assets[row]["rule"] = self._rule_of.get(self.names[row], 0)
        put_in_force(self.weeks[row], self.weeks[row]["in_force"].copy(), self.relative[rule])
        self.due_ms[row] = LONG_AGO  # to be found
        self.clock["alarm_ms"] = 0

    def row(self, asset: str) -> int:
        """Row of an asset, made when it is new."""
        row = self._rows.get(asset)
        if row is None:
            row = self._rows[asset] = len(self.names)
            if row == len(self.assets):
                self._grow(2 * row)
            self.names.append(asset)
            self.keys.insert(row, asset)
            self.name_max = max(self.name_max, len(asset.encode()))
            self.names_table = names_of(self.names)
            self.clock["count"] = len(self.names)
            self.assets[row]["rule"] = self._rule_of.get(asset, 0)
        return row

    @property
    def state(self) -> int:
        """What compiled functions take: the address of a `State` as it is now, for arrays are replaced when they grow.
        Nothing may be replaced before they return."""
        held, now = self._held, (self.events, self.assets, self.rules, self.names_table, self.out, self.sources.context)
        if all(map(is_, held, now)):  # whatever else is replaced, is replaced together with one of these
            return self._address
        state = State(
            self.events, self.clock, self.assets, self.due_ms, self.panes, self.tumbling, self.bins, self.last,
            self.sources.context, self.sizes, self.rules, self.relative, self.relative_of, self.weeks, self.checks,
            self.names_table, self.words, self.out, self._ends, self._numbers,
            self._cells,
        )  # fmt: skip
        self._held, self._address = now, self._holder.hold(state)
        return self._address

    def room_for(self, events: int) -> Array:
        """Rows for the events of a run; what stood there is of no use any more."""
        if len(self.events) < events:
            self.events = np.empty(2 * events, EVENT)
        return self.events[:events]

    def scalars(self, row: int) -> Row:
        """Scalars of an asset; writing to a field changes the state."""
        return self.assets[row]

    def last_events(self, asset: str) -> Array:
        """The last events of an asset that counted, LAST rows, oldest first."""
        if asset not in self._rows:
            return np.zeros(0, LAST)
        row = self._rows[asset]
        count = int(self.assets["events"][row])
        kept = min(count, LAST_EVENTS)
        events: Array = self.last[row][np.arange(count - kept, count) % LAST_EVENTS]
        return events

    def nbytes(self) -> int:
        """Bytes of the rows in use."""
        arrays = (self.assets, self.due_ms, self.bins, self.last, self.weeks, self.tumbling, *self.panes)
        count = len(self.names)
        return sum(array[:count].nbytes for array in arrays) + self.sources.nbytes(count)

    def _grow(self, rows: int) -> None:
        kept = len(self.assets)
        assets, bins = new_assets(rows), self._new_bins(rows)
        panes, tumbling = self._new_panes(rows), self._new_tumbling(rows)
        due_ms, last = np.full(rows, NEVER, np.int64), np.zeros((rows, LAST_EVENTS), LAST)
        weeks, self.checks = new_weeks(rows), np.zeros(rows, np.int64)
        for new, old in (
            (assets, self.assets), (due_ms, self.due_ms), (bins, self.bins), (last, self.last), (weeks, self.weeks),
            (tumbling, self.tumbling), *zip(panes, self.panes, strict=True),
        ):  # fmt: skip
            new[:kept] = old
        self.assets, self.due_ms, self.bins, self.last, self.panes = assets, due_ms, bins, last, panes
        self.weeks, self.tumbling = weeks, tumbling
        self.sources.grow(rows)

    def _new_panes(self, rows: int) -> Panes:
        panes = self.sizes["panes"]
        return new_panes(rows, int(panes.sum()), int(panes[0]), int(panes[self.judged]))

    def _new_tumbling(self, rows: int) -> Array:
        return new_tumbling(rows, int(self.sizes["windows"].sum()))

    def _new_bins(self, rows: int) -> Array:
        return np.zeros((rows, SLOTS, self._bins_kept), np.uint16)


def why_refused(liquidation: Liquidation) -> str | None:
    """What keeps a liquidation out of the fold, or None: no sum can hold it, or nobody knows which side it was."""
    if liquidation.side not in (Side.LONG, Side.SHORT):
        return f"side is {liquidation.side}, must be LONG or SHORT"
    notional_usd = liquidation.notional_usd
    if not (isfinite(notional_usd) and 0 <= notional_usd <= NOTIONAL_USD_MAX):
        return f"notional_usd is {notional_usd}, must be 0 to {NOTIONAL_USD_MAX:.0f}"
    if liquidation.event_time_ms < 0:
        return f"event_time_ms is {liquidation.event_time_ms}, must not be negative"
    return None
