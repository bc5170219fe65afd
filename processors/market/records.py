"""The market's figures -> its states and alerts. The six terms of the score are an asset's: here they stand at 0."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from processors.cascade.coverage import told
from processors.cascade.level import NONE
from processors.market.contagion import Follower
from processors.market.figures import Figures, leading
from schemas.records import AssetState, CascadeAlert, Contributions
from schemas.topics import MARKET
from schemas.words import LEVELS, AlertKind, Level, Profile, Side, StateKind

PARTITION: Final = 0  # of signals.state
FOLLOWERS_NAMED_MAX: Final = 5
BLIND_NAMED_MAX: Final = 10
NO_CONTRIBUTIONS: Final = Contributions(
    velocity=0.0, acceleration=0.0, volume=0.0, correlation=0.0, funding=0.0, open_interest=0.0
)


class Market(NamedTuple):
    """What is known of the market where a record is published; `rank`: level that the breadth justifies now."""

    figures: Figures
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
    return AssetState(
        kind=StateKind.PROGRESS,
        asset=MARKET,
        profile=Profile.RELATIVE,
        level=Level.NONE,
        previous_level=Level.NONE,
        peak_level=Level.NONE,
        absolute_level=Level.UNKNOWN,
        relative_level=Level.NONE,
        side=Side.UNKNOWN,
        probability=0.0,
        boost=1.0,
        contributions=NO_CONTRIBUTIONS,
        windows=(),
        exchanges={},
        flags=(),
        coverage={},
        confidence=0.0,
        market_breadth=0,
        source_partition=PARTITION,
        source_offset=offset,
        event_time_ms=now_ms,
        append_time_ms=now_ms,
    )


def _common(market: Market) -> dict[str, Any]:
    level, figures = LEVELS[market.level], market.figures
    exchanges = figures.exchanges()
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
        "side": figures.side(market.judged_size_ms),
        "probability": 0.0,
        "boost": 1.0,
        "contributions": NO_CONTRIBUTIONS,
        "windows": figures.windows(),
        "exchanges": exchanges,
        "leading_exchange": leading(exchanges),
        "first_mover": figures.first_mover,
        "flags": _flags(market),
        "coverage": figures.coverage,
        "confidence": round(told(figures.coverage) * seen / market.partitions, 6),
        "market_breadth": market.breadth,
        "source_partition": PARTITION,
        "source_offset": market.offset,
        "event_time_ms": market.now_ms if figures.event_ms is None else figures.event_ms,
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
