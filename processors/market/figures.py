"""The figures of all assets that are not quiet, added up. Whole numbers, so the order of the assets does not matter."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from processors.market.layout import (
    ACCELERATION_EVENTS,
    ACCELERATION_USD,
    EVENTS,
    LONG_USD,
    NOBODY,
    OF_LONGS,
    USD,
    State,
)
from processors.metrics.metric import ratio
from processors.metrics.velocity import velocity
from processors.metrics.volume import volume
from processors.windows.layout import MICRO, Array
from schemas.records import ExchangeCoverage, ExchangeFigures, WindowFigures
from schemas.words import Completeness, Exchange, FeedState, Side

FIGURES_MS_MAX: Final = 5_000  # an asset that is not quiet tells its state every 200 ms; older ones are not added up
COVERAGE_MS_MAX: Final = 120_000  # twice what a feed takes to repeat its state; what was told before is not known
_HALF: Final = 32  # bits: sums of halves cannot overflow
_EXCHANGES: Final = tuple(Exchange)
_FEEDS, _TAPES = tuple(FeedState), tuple(Completeness)


class Figures:
    """Sums over the assets that told a state in the last FIGURES_MS_MAX."""

    def __init__(self, state: State) -> None:
        time, assets = state.clock[0], state.assets
        count = int(time["rows"])
        rows = np.flatnonzero(assets.heard_ms[:count] > time["now_ms"] - FIGURES_MS_MAX)
        self._sizes = {int(size_ms): s for s, size_ms in enumerate(state.sizes) if size_ms}
        self._there = assets.there[rows]
        self._windows = assets.windows[rows] * self._there[:, :, None]
        self._exchanges = _total(assets.exchanges[rows])
        self.event_ms = int(assets.event_ms[rows].max()) if len(rows) else None
        leader = int(time["leader"])
        mover = int(assets.mover[leader]) if leader in rows else NOBODY
        self.first_mover = None if mover == NOBODY else _EXCHANGES[mover]
        known = np.flatnonzero(state.covered_ms > time["now_ms"] - COVERAGE_MS_MAX)
        slots = sorted(known.tolist(), key=lambda slot: _EXCHANGES[slot].value)
        self.coverage = {
            _EXCHANGES[slot].value: ExchangeCoverage(
                state=_FEEDS[state.coverage[slot, 0]], completeness=_TAPES[state.coverage[slot, 1]]
            )
            for slot in slots
        }

    def windows(self) -> tuple[WindowFigures, ...]:
        """Each size added up over the assets, smallest first."""
        totals = _total(self._windows)
        sizes_ms = sorted(size_ms for size_ms, s in self._sizes.items() if self._there[:, s].any())
        return tuple(_window(size_ms, totals[self._sizes[size_ms]]) for size_ms in sizes_ms)

    def exchanges(self) -> dict[str, ExchangeFigures]:
        """Each exchange whose coverage is known, added up over the assets."""
        totals = {name: self._exchanges[_EXCHANGES.index(Exchange(name))] for name in self.coverage}
        total_usd = sum(usd for _, usd in totals.values())
        return {
            name: ExchangeFigures(
                events_per_s=events / MICRO,
                notional_usd_per_s=usd / MICRO,
                share=ratio(usd, total_usd) if total_usd else 0.0,
                active=events > 0,
            )
            for name, (events, usd) in totals.items()
        }

    def side(self, judged_size_ms: int) -> Side:
        """The side with more USD in the judged windows."""
        s = self._sizes.get(judged_size_ms)
        longs, total = (0, 0) if s is None else _total(self._windows[:, s, [OF_LONGS, USD]])
        balance = 2 * longs - total
        return Side.UNKNOWN if not balance else Side.LONG if balance > 0 else Side.SHORT


def leading(exchanges: Mapping[str, ExchangeFigures]) -> Exchange | None:
    """The exchange with most USD/s, of equal ones that with more events, then the first."""
    active = [Exchange(name) for name, figures in exchanges.items() if figures.active]
    if not active:
        return None
    return min(
        active,
        key=lambda one: (-exchanges[one].notional_usd_per_s, -exchanges[one].events_per_s, _EXCHANGES.index(one)),
    )


def _window(size_ms: int, sums: list[int]) -> WindowFigures:
    micro_usd = sums[USD] * size_ms // 1_000
    long_micro_usd = sums[LONG_USD] * size_ms // 1_000
    return WindowFigures(
        size_ms=size_ms,
        events=sums[EVENTS],
        events_per_s=velocity(sums[EVENTS], size_ms),
        notional_usd_per_s=volume(micro_usd, size_ms),
        acceleration_events_per_s2=sums[ACCELERATION_EVENTS] / MICRO,
        acceleration_usd_per_s2=sums[ACCELERATION_USD] / MICRO,
        long_share=ratio(min(long_micro_usd, micro_usd), micro_usd) if micro_usd else None,
    )


def _total(figures: Array) -> Any:
    """Sums over the rows as lists of whole numbers, however large."""
    high, low = (figures >> _HALF).sum(axis=0), (figures & ((1 << _HALF) - 1)).sum(axis=0)
    return ((high.astype(object) << _HALF) + low).tolist()
