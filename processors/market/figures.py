"""The figures of all assets that are not quiet, added up. Whole numbers, so the order of the assets does not matter."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np

from processors.market.layout import (
    ACCELERATION_EVENTS,
    ACCELERATION_USD,
    ASSETS_MAX,
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
from schemas.words import EXCHANGE_SLOTS, Completeness, Exchange, FeedState, Side

FIGURES_MS_MAX: Final = 5_000  # an asset that is not quiet tells its state every 200 ms; older ones are not added up
COVERAGE_MS_MAX: Final = 120_000  # twice what a feed takes to repeat its state; what was told before is not known
EXACT_MAX: Final = (1 << 63) // ASSETS_MAX  # below it no sum over all assets overflows
COVERAGES_MAX: Final = 64  # kept as records; it changes every few seconds at most
_HALF: Final = 32  # bits: sums of halves cannot overflow
_EXCHANGES: Final = tuple(Exchange)
_FEEDS, _TAPES = tuple(FeedState), tuple(Completeness)


class Figures:
    """Sums over the assets that told a state in the last FIGURES_MS_MAX."""

    def __init__(self, state: State) -> None:
        time, assets = state.clock[0], state.assets
        rows = np.flatnonzero(assets.heard_ms[: time["rows"]] > time["now_ms"] - FIGURES_MS_MAX)
        self._sizes_ms = state.sizes[: np.count_nonzero(state.sizes)].tolist()
        there = assets.there[rows, : len(self._sizes_ms)]
        self._there = np.asarray(there.any(axis=0)).tolist()
        self._windows = assets.windows[rows, : len(self._sizes_ms)] * there[:, :, None]
        self._exchanges = _total(assets.exchanges[rows])
        self.event_ms = int(assets.event_ms[rows].max()) if len(rows) else None
        leader = int(time["leader"])
        mover = int(assets.mover[leader]) if leader in rows else NOBODY
        self.first_mover = None if mover == NOBODY else _EXCHANGES[mover]
        known = state.covered_ms > time["now_ms"] - COVERAGE_MS_MAX
        self.coverage = dict(_coverage(np.where(known[:, None], state.coverage, NOBODY).tobytes()))

    def windows(self) -> tuple[WindowFigures, ...]:
        """Each size added up over the assets, smallest first."""
        totals = _total(self._windows)
        sized = zip(self._sizes_ms, self._there, totals, strict=True)
        return tuple(_window(size_ms, sums) for size_ms, there, sums in sorted(sized) if there)

    def exchanges(self) -> dict[str, ExchangeFigures]:
        """Each exchange whose coverage is known, added up over the assets."""
        totals = {name: self._exchanges[EXCHANGE_SLOTS[name]] for name in self.coverage}
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
        if judged_size_ms not in self._sizes_ms:
            return Side.UNKNOWN
        sums = _total(self._windows[:, self._sizes_ms.index(judged_size_ms)])
        balance = 2 * sums[OF_LONGS] - sums[USD]
        return Side.UNKNOWN if not balance else Side.LONG if balance > 0 else Side.SHORT


def leading(exchanges: Mapping[str, ExchangeFigures]) -> Exchange | None:
    """The exchange with most USD/s, of equal ones that with more events, then the first."""
    active = [Exchange(name) for name, figures in exchanges.items() if figures.active]
    if not active:
        return None
    return min(
        active,
        key=lambda one: (-exchanges[one].notional_usd_per_s, -exchanges[one].events_per_s, EXCHANGE_SLOTS[one]),
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


@lru_cache(maxsize=COVERAGES_MAX)
def _coverage(told: bytes) -> tuple[tuple[str, ExchangeCoverage], ...]:
    """What is known of the exchanges, by name, from the bytes of `State.coverage`."""
    return tuple(
        (exchange.value, ExchangeCoverage(state=_FEEDS[feed], completeness=_TAPES[tape]))
        for exchange, (feed, tape) in sorted(zip(_EXCHANGES, np.frombuffer(told, np.int64).reshape(-1, 2), strict=True))
        if feed != NOBODY
    )


def _total(figures: Array) -> Any:
    """Sums over the rows as lists of whole numbers, however large."""
    if not figures.size or np.abs(figures).max() < EXACT_MAX:
        return figures.sum(axis=0).tolist()
    high, low = (figures >> _HALF).sum(axis=0), (figures & ((1 << _HALF) - 1)).sum(axis=0)
    return ((high.astype(object) << _HALF) + low).tolist()
