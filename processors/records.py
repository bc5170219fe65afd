"""Figures of an asset -> the records that are published. Floats are rounded half-even to 6 decimals."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from processors.cascade.episode import episode_id
from processors.cascade.level import NONE
from processors.cascade.score import published_terms
from processors.metrics.acceleration import acceleration
from processors.metrics.leading_exchange import share
from processors.metrics.long_share import long_share
from processors.metrics.metric import NOBODY, ratio
from processors.metrics.velocity import velocity
from processors.metrics.volume import volume
from processors.windows.figures import DECIMALS, NO_DATA, Figures, WindowSums
from processors.windows.layout import LONG_AGO, MICRO, NANO, SIDES
from schemas.records import (
    AssetState,
    CascadeAlert,
    Contributions,
    ExchangeCoverage,
    ExchangeFigures,
    WindowAggregate,
    WindowExchange,
    WindowFigures,
)
from schemas.words import EXCHANGE_SLOTS, LEVELS, AlertKind, Exchange, Level, Profile, Side, StateKind

EXCHANGES: Final = tuple(Exchange)
CONTEXT_FIELDS: Final = (
    "open_interest_change_1m_pct",
    "open_interest_change_5m_pct",
    "open_interest_change_1h_pct",
    "open_interest_usd_per_s",
    "funding_rate_8h",
    "funding_trend",
    "funding_max_24h",
    "funding_velocity_per_h",
    "funding_acceleration_per_h2",
)
SILENT: Final = ExchangeFigures(events_per_s=0.0, notional_usd_per_s=0.0, share=0.0, active=False)
NO_CONTRIBUTIONS: Final = Contributions(
    velocity=0.0, acceleration=0.0, volume=0.0, correlation=0.0, funding=0.0, open_interest=0.0
)


class Position(NamedTuple):
    """Where in the log something was decided; partition None: in a fold over a file."""

    partition: int | None
    offset: int
    now_ms: int

    def fields(self) -> dict[str, Any]:
        """The fields of the records that say so."""
        return {
            "source_partition": self.partition,
            "source_offset": None if self.partition is None else self.offset,
            "append_time_ms": self.now_ms,
        }


class View(NamedTuple):
    """What is known of an asset where a record is published."""

    asset: str
    figures: Figures
    boost: float  # factor where it applies
    flags: tuple[str, ...]
    coverage: dict[str, ExchangeCoverage]
    confidence: float
    position: Position


def alert_of(view: View, kind: AlertKind, *, sequence: int, previous: int) -> CascadeAlert:
    """Alert `sequence` of the asset's episode; `previous`: rank before it."""
    episode = episode_id(view.asset, view.figures.episode_ms)
    return CascadeAlert(
        alert_id=f"{episode}:{sequence}",
        sequence=sequence,
        kind=kind,
        **(_common(view) | {"episode_id": episode, "previous_level": LEVELS[previous]}),
    )


def state_of(view: View) -> AssetState:
    """The state of the asset."""
    return AssetState(kind=StateKind.ASSET, **_common(view))


def progress_of(position: Position) -> AssetState:
    """How far a partition has been folded."""
    return AssetState(
        kind=StateKind.PROGRESS,
        asset="",
        profile=Profile.ABSOLUTE,
        level=Level.NONE,
        previous_level=Level.NONE,
        peak_level=Level.NONE,
        absolute_level=Level.NONE,
        relative_level=Level.UNKNOWN,
        side=Side.UNKNOWN,
        probability=0.0,
        boost=1.0,
        contributions=NO_CONTRIBUTIONS,
        windows=(),
        exchanges={},
        flags=(),
        coverage={},
        confidence=0.0,
        event_time_ms=position.now_ms,
        **position.fields(),
    )


def aggregate_of(
    asset: str, size_ms: int, end_ms: int, grace_ms: int, events: list[int], micro_usd: list[int], position: Position
) -> WindowAggregate:
    """A final tumbling window from its cells. It becomes final at its end + grace, whenever that is noticed."""
    start_ms = end_ms - size_ms
    longs, shorts = sum(events[::SIDES]), sum(events[1::SIDES])
    long_micro_usd, short_micro_usd = sum(micro_usd[::SIDES]), sum(micro_usd[1::SIDES])
    exchanges = {}
    for slot in range(len(EXCHANGES)):
        cell = slot * SIDES
        count = events[cell] + events[cell + 1]
        if count:
            exchanges[EXCHANGES[slot].value] = WindowExchange(
                events=count,
                notional_usd=(micro_usd[cell] + micro_usd[cell + 1]) / MICRO,
                long_notional_usd=micro_usd[cell] / MICRO,
            )
    return WindowAggregate(
        window_id=f"{asset}:{size_ms}:{start_ms}",
        asset=asset,
        size_ms=size_ms,
        window_start_ms=start_ms,
        window_end_ms=end_ms,
        events=longs + shorts,
        long_events=longs,
        short_events=shorts,
        notional_usd=(long_micro_usd + short_micro_usd) / MICRO,
        long_notional_usd=long_micro_usd / MICRO,
        short_notional_usd=short_micro_usd / MICRO,
        exchanges=exchanges,
        **(position.fields() | {"append_time_ms": end_ms + grace_ms}),
    )


def _common(view: View) -> dict[str, Any]:
    """Fields that states and alerts share."""
    figures = view.figures
    level = LEVELS[figures.level]
    return {
        "asset": view.asset,
        "episode_id": episode_id(view.asset, figures.episode_ms) if figures.level > NONE else None,
        "profile": Profile.ABSOLUTE,
        "level": level,
        "previous_level": level,
        "peak_level": LEVELS[figures.peak],
        "absolute_level": LEVELS[figures.rank],
        "relative_level": Level.UNKNOWN,
        "side": _side(figures.judged),
        "probability": ratio(figures.probability_nano, NANO),
        "boost": view.boost if figures.boosted else 1.0,
        "contributions": _contributions(published_terms(figures.terms)),
        "windows": tuple([_window(window) for window in figures.windows]),
        "exchanges": _exchanges(figures, view.coverage),
        "leading_exchange": None if figures.leader == NOBODY else EXCHANGES[figures.leader],
        "first_mover": None if figures.mover == NOBODY else EXCHANGES[figures.mover],
        "correlation": None if figures.correlation == NO_DATA else figures.correlation / 1_000_000,
        "correlation_lag_ms": None if figures.lag_ms == LONG_AGO else figures.lag_ms,
        **dict(zip(CONTEXT_FIELDS, figures.context, strict=True)),
        "flags": view.flags,
        "coverage": view.coverage,
        "confidence": round(view.confidence, DECIMALS),
        "event_time_ms": figures.newest_ms,
        **view.position.fields(),
    }


def _side(window: WindowSums) -> Side:
    shorts = window.micro_usd - window.long_micro_usd
    if window.long_micro_usd == shorts:
        return Side.UNKNOWN
    return Side.LONG if window.long_micro_usd > shorts else Side.SHORT


def _contributions(terms: list[float]) -> Contributions:
    velocity_term, acceleration_term, volume_term, correlation, funding, open_interest = terms
    return Contributions(
        velocity=velocity_term,
        acceleration=acceleration_term,
        volume=volume_term,
        correlation=correlation,
        funding=funding,
        open_interest=open_interest,
    )


def _window(sums: WindowSums) -> WindowFigures:
    size_ms = sums.size_ms
    return WindowFigures(
        size_ms=size_ms,
        events=sums.events,
        events_per_s=velocity(sums.events, size_ms),
        notional_usd_per_s=volume(sums.micro_usd, size_ms),
        acceleration_events_per_s2=acceleration(sums.events, sums.before, size_ms),
        acceleration_usd_per_s2=acceleration(sums.micro_usd, sums.before_micro_usd, size_ms, per_unit=MICRO),
        long_share=long_share(sums.long_micro_usd, sums.micro_usd),
    )


def _exchanges(figures: Figures, coverage: Mapping[str, ExchangeCoverage]) -> dict[str, ExchangeFigures]:
    size_ms, total = figures.judged.size_ms, figures.judged.micro_usd
    exchanges = {}
    for name in coverage:
        slot = EXCHANGE_SLOTS[name]
        events, micro_usd = figures.events[slot], figures.micro_usd[slot]
        exchanges[name] = (
            SILENT
            if not events
            else ExchangeFigures(
                events_per_s=velocity(events, size_ms),
                notional_usd_per_s=volume(micro_usd, size_ms),
                share=share(micro_usd, total),
                active=True,
            )
        )
    return exchanges
