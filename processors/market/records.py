"""The market's figures -> its states and alerts. The six terms of the score are an asset's: here they stand at 0."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from processors.cascade.coverage import told
from processors.cascade.level import NONE
from processors.market.contagion import Follower
from processors.metrics.metric import ratio
from processors.metrics.velocity import velocity
from processors.metrics.volume import volume
from schemas.records import AssetState, CascadeAlert, Contributions, ExchangeCoverage, ExchangeFigures, WindowFigures
from schemas.words import LEVELS, AlertKind, Exchange, Level, Profile, Side, StateKind

MARKET: Final = "*"
PARTITION: Final = 0  # of signals.state
MICRO: Final = 1_000_000
FOLLOWERS_NAMED_MAX: Final = 5
BLIND_NAMED_MAX: Final = 10
NO_CONTRIBUTIONS: Final = Contributions(
    velocity=0.0, acceleration=0.0, volume=0.0, correlation=0.0, funding=0.0, open_interest=0.0
)
SLOTS: Final = {exchange.value: slot for slot, exchange in enumerate(Exchange)}


class Market(NamedTuple):
    """What is known of the market where a record is published; `rank`: level that the breadth justifies now."""

    states: Sequence[AssetState]
    coverage: dict[str, ExchangeCoverage]
    breadth: int
    rank: int
    level: int
    peak: int
    episode_ms: int
    leader: str | None
    followers: Sequence[Follower]
    blind: Sequence[int]
    partitions: int
    judged_size_ms: int
    offset: int
    now_ms: int


def alert_of(market: Market, kind: AlertKind, *, sequence: int, previous: int) -> CascadeAlert:
    """Alert `sequence` of the market's episode; `previous`: rank before it."""
    episode = f"{MARKET}:{market.episode_ms}"
    common = _common(market) | {"episode_id": episode, "previous_level": LEVELS[previous]}
    return CascadeAlert(alert_id=f"{episode}:{sequence}", sequence=sequence, kind=kind, **common)


def state_of(market: Market) -> AssetState:
    """The state of the market."""
    return AssetState(kind=StateKind.ASSET, **_common(market))


def progress_of(now_ms: int, offset: int) -> AssetState:
    """How far the market has been folded."""
    nothing = Market((), {}, 0, NONE, NONE, NONE, 0, None, (), (), 1, 0, offset, now_ms)
    return AssetState(kind=StateKind.PROGRESS, **_common(nothing))


def _common(market: Market) -> dict[str, Any]:
    level = LEVELS[market.level]
    longs, shorts = _by_side(market.states, market.judged_size_ms)
    exchanges = _exchanges(market.states, market.coverage)
    leader = next((state for state in market.states if state.asset == market.leader), None)
    seen = market.partitions - len(market.blind)
    return {
        "asset": MARKET,
        "episode_id": f"{MARKET}:{market.episode_ms}" if market.level > NONE else None,
        "profile": Profile.RELATIVE,
        "level": level,
        "previous_level": level,
        "peak_level": LEVELS[market.peak],
        "absolute_level": Level.UNKNOWN,
        "relative_level": LEVELS[market.rank],
        "side": Side.UNKNOWN if longs == shorts else Side.LONG if longs > shorts else Side.SHORT,
        "probability": 0.0,
        "boost": 1.0,
        "contributions": NO_CONTRIBUTIONS,
        "windows": _windows(market.states),
        "exchanges": exchanges,
        "leading_exchange": _leading(exchanges),
        "first_mover": None if leader is None else leader.first_mover,
        "flags": _flags(market),
        "coverage": market.coverage,
        "confidence": round(told(market.coverage) * seen / market.partitions, 6),
        "market_breadth": market.breadth,
        "source_partition": PARTITION,
        "source_offset": market.offset,
        "event_time_ms": max((state.event_time_ms for state in market.states), default=market.now_ms),
        "append_time_ms": market.now_ms,
    }


def _flags(market: Market) -> tuple[str, ...]:
    """Who led, who follows whom by how much, and which partitions are not seen."""
    flags = [] if market.leader is None else [f"led_by:{market.leader}"]
    flags += [f"contagion:{market.leader}>{one.asset}:{one.lag_s}s" for one in market.followers[:FOLLOWERS_NAMED_MAX]]
    if market.blind:
        named = ",".join(map(str, market.blind[:BLIND_NAMED_MAX]))
        flags.append(f"blind:{named}" + (",…" if len(market.blind) > BLIND_NAMED_MAX else ""))
    return tuple(flags)


def _windows(states: Sequence[AssetState]) -> tuple[WindowFigures, ...]:
    """Each size added up over the assets, in whole micro-USD."""
    sizes_ms = sorted({window.size_ms for state in states for window in state.windows})
    found = []
    for size_ms in sizes_ms:
        parts = [window for state in states for window in state.windows if window.size_ms == size_ms]
        micro_usd = sum(_micro(one.notional_usd_per_s) for one in parts) * size_ms // 1_000
        long_micro_usd = (
            sum(_micro(one.notional_usd_per_s * (one.long_share or 0.0)) for one in parts) * size_ms // 1_000
        )
        events = sum(one.events for one in parts)
        found.append(
            WindowFigures(
                size_ms=size_ms,
                events=events,
                events_per_s=velocity(events, size_ms),
                notional_usd_per_s=volume(micro_usd, size_ms),
                acceleration_events_per_s2=sum(_micro(one.acceleration_events_per_s2) for one in parts) / MICRO,
                acceleration_usd_per_s2=sum(_micro(one.acceleration_usd_per_s2) for one in parts) / MICRO,
                long_share=ratio(min(long_micro_usd, micro_usd), micro_usd) if micro_usd else None,
            )
        )
    return tuple(found)


def _exchanges(states: Sequence[AssetState], coverage: dict[str, ExchangeCoverage]) -> dict[str, ExchangeFigures]:
    events, micro_usd = dict.fromkeys(coverage, 0), dict.fromkeys(coverage, 0)
    for state in states:
        for name, figures in state.exchanges.items():
            if figures.active and name in events:
                events[name] += _micro(figures.events_per_s)
                micro_usd[name] += _micro(figures.notional_usd_per_s)
    total = sum(micro_usd.values())
    return {
        name: ExchangeFigures(
            events_per_s=events[name] / MICRO,
            notional_usd_per_s=micro_usd[name] / MICRO,
            share=ratio(micro_usd[name], total) if total else 0.0,
            active=events[name] > 0,
        )
        for name in coverage
    }


def _leading(exchanges: dict[str, ExchangeFigures]) -> Exchange | None:
    """The exchange with most USD/s, of equal ones that with more events, then the first."""
    active = [name for name, figures in exchanges.items() if figures.active]
    if not active:
        return None
    return Exchange(
        min(active, key=lambda one: (-exchanges[one].notional_usd_per_s, -exchanges[one].events_per_s, SLOTS[one]))
    )


def _by_side(states: Sequence[AssetState], judged_size_ms: int) -> tuple[int, int]:
    """Micro-USD/s of liquidated longs and shorts in the judged windows."""
    longs = shorts = 0
    for state in states:
        for window in state.windows:
            if window.size_ms == judged_size_ms and window.long_share is not None:
                total = _micro(window.notional_usd_per_s)
                of_longs = round(total * window.long_share)
                longs, shorts = longs + of_longs, shorts + total - of_longs
    return longs, shorts


def _micro(number: float) -> int:
    return round(number * MICRO)
