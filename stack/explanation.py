"""An alert in words and numbers: why it was raised, on what it rests, what is missing. Pure; from the record alone."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from schemas.records import CascadeAlert, WindowFigures
from schemas.topics import LIQUIDATIONS, MARKET, STATE
from schemas.words import LEVEL_RANKS, AlertKind, Completeness, FeedState, Level, Profile, Side

RULE_FLAG: Final = "rule:"
MUTED_FLAG: Final = "muted"
KINDS: Final = {
    AlertKind.RAISED: "{subject} rose from {before} to {level}",
    AlertKind.UPDATED: "{subject} stays at {level}, with new liquidations",
    AlertKind.LOWERED: "{subject} fell from {before} to {level}: nothing justified more within the hold",
    AlertKind.ENDED: "The cascade of {subject} is over: nothing justified a level within the hold",
}
SMALL: Final = 0.001  # below it three digits would need an exponent
DECIDING: Final = {
    Profile.ABSOLUTE: "the absolute thresholds",
    Profile.RELATIVE: "the asset's own week",
    Profile.EITHER: "the higher of both profiles",
}
SEEN: Final = frozenset({FeedState.LIVE, FeedState.SUBSCRIBED, FeedState.UNKNOWN})
STATES: Final = {
    FeedState.UNKNOWN: "nothing is known of the feed",
    FeedState.CONNECTED: "connected, not subscribed yet",
    FeedState.SUBSCRIBED: "subscribed, nothing came yet",
    FeedState.SILENT: "silent for longer than usual",
    FeedState.GAP: "records are missing",
    FeedState.STALE: "data are stale",
    FeedState.RECONNECTING: "reconnecting",
    FeedState.DRIFT: "signs that the exchange has changed its format",
    FeedState.DOWN: "down",
}
TAPES: Final = {
    Completeness.PARTIAL: "shows a part of its liquidations",
    Completeness.LARGEST_PER_SECOND: "shows the largest of each second",
    Completeness.LATEST_PER_SECOND: "shows the latest of each second",
    Completeness.INFERRED: "its liquidations are inferred",
}


def explain(alert: CascadeAlert) -> dict[str, Any]:
    """What `explain --json` prints: the alert, its sentences, and sums that a program may check."""
    contributions = msgspec.structs.asdict(alert.contributions)
    return {
        "alert": msgspec.to_builtins(alert),
        "sentences": list(sentences(alert)),
        "probability_before_boost": round(sum(contributions.values()), 6),
        "unseen": {name: one.state for name, one in sorted(alert.coverage.items()) if one.state not in SEEN},
    }


def sentences(alert: CascadeAlert) -> Iterator[str]:
    """One statement a line."""
    subject = "the market" if alert.asset == MARKET else alert.asset
    what = KINDS.get(alert.kind, "{subject} has level {level}")
    what = what.format(subject=subject, before=alert.previous_level, level=alert.level)
    yield f"{what[0].upper()}{what[1:]}, at {_time(alert.append_time_ms)} (alert {alert.sequence} of its episode)."
    began_ms = alert.episode_id.rsplit(":", 1)[-1]
    if began_ms.isdigit():
        since_s = (alert.append_time_ms - int(began_ms)) / 1_000
        began = _time(int(began_ms))
        yield f"The episode began at {began}, {since_s:.1f} s before; its highest level is {alert.peak_level}."
    if alert.asset == MARKET:
        yield from _of_market(alert)
    else:
        yield from _of_levels(alert)
        yield from _of_score(alert)
    yield from _of_windows(alert)
    yield from _of_exchanges(alert)
    yield from _of_context(alert)
    yield from _of_coverage(alert)
    if alert.source_offset is not None:
        log = STATE.name if alert.asset == MARKET else LIQUIDATIONS.name
        yield f"It rests on {log}, partition {alert.source_partition}, up to offset {alert.source_offset}."


def _of_market(alert: CascadeAlert) -> Iterator[str]:
    many = "No asset is" if not alert.market_breadth else _count(alert.market_breadth, "asset is", "assets are")
    yield f"{many} in WATCH or above, or was exceptional shortly before."
    for flag in alert.flags:
        kind, _, rest = flag.partition(":")
        if kind == "led_by":
            yield f"{rest} was the first of them."
        elif kind == "contagion":
            pair, _, lag = rest.rpartition(":")
            leader, _, follower = pair.partition(">")
            when = "at the same time" if lag == "0s" else f"{lag.removesuffix('s')} s later"
            yield f"USD/s of {follower} move as those of {leader} do, {when}."
        elif kind == "blind":
            yield f"Blind in partitions {rest}: they make no progress, their assets are not counted."


def _of_levels(alert: CascadeAlert) -> Iterator[str]:
    week = f"the asset's own week says {alert.relative_level}"
    if alert.relative_level is Level.UNKNOWN:
        week = "of the asset's own week too little is known yet"
    elif alert.relative_ratio is not None:
        week += f" ({_number(alert.relative_ratio)} times its baseline)"
    yield (
        f"The level follows {DECIDING.get(alert.profile, alert.profile)}: by what is judged now, absolute thresholds"
        f" say {alert.absolute_level}, {week}."
    )
    rules = [flag.removeprefix(RULE_FLAG) for flag in alert.flags if flag.startswith(RULE_FLAG)]
    is_more = _rank(alert.level) > _judged(alert)
    if rules and alert.kind is AlertKind.RAISED and is_more:
        yield f"A custom rule raised it; met are: {', '.join(rules)}."
    elif rules:
        yield f"Custom rules that were met within the hold: {', '.join(rules)}."
    if is_more and alert.kind is not AlertKind.RAISED:
        yield f"{alert.level} stands because it was justified within the hold."
    if MUTED_FLAG in alert.flags:
        yield "The settings mute the asset: whatever is judged, its level is NONE."
    flags = [flag for flag in alert.flags if not flag.startswith(RULE_FLAG) and flag != MUTED_FLAG]
    if flags:
        yield f"Flags of single sizes: {', '.join(flags)}."


def _rank(level: Level) -> int:
    return LEVEL_RANKS[level]


def _judged(alert: CascadeAlert) -> int:
    """Rank that the profile in charge gives to what is judged now."""
    absolute, relative = _rank(alert.absolute_level), _rank(alert.relative_level)
    return {Profile.ABSOLUTE: absolute, Profile.RELATIVE: relative}.get(alert.profile, max(absolute, relative))


def _of_score(alert: CascadeAlert) -> Iterator[str]:
    terms = msgspec.structs.asdict(alert.contributions)
    parts = " + ".join(f"{name.replace('_', ' ')} {value:.6f}" for name, value in terms.items() if value)
    total = sum(terms.values())
    if not parts:
        yield "Probability 0: no term of the score has a part."
        return
    boosted = f", times {alert.boost:g} for the acceleration, at most 1" if alert.boost != 1 else ""
    yield f"Probability {alert.probability:.6f} = {parts} = {total:.6f}{boosted}."
    without = [name.replace("_", " ") for name, value in terms.items() if not value]
    if without:
        yield f"Nothing came from {', '.join(without)}."


def _of_windows(alert: CascadeAlert) -> Iterator[str]:
    empty = [f"{window.size_ms / 1_000:g} s" for window in alert.windows if not window.events]
    if empty:
        yield f"Nothing was liquidated in {', '.join(empty)}."
    for window in alert.windows:
        if window.events:
            yield _window(window)


def _window(window: WindowFigures) -> str:
    share = "" if window.long_share is None else f", {window.long_share:.0%} of the USD longs"
    rise = window.acceleration_events_per_s2
    return (
        f"In {window.size_ms / 1_000:g} s: {_count(window.events, 'liquidation', 'liquidations')},"
        f" {_number(window.events_per_s)}/s ({'+' if rise > 0 else ''}{_number(rise)}/s²),"
        f" {_usd(window.notional_usd_per_s)}/s{share}."
    )


def _of_exchanges(alert: CascadeAlert) -> Iterator[str]:
    active = sorted(
        ((name, one) for name, one in alert.exchanges.items() if one.active), key=lambda pair: -pair[1].share
    )
    if active and alert.side is not Side.UNKNOWN:
        yield f"Liquidated in the judged window were mostly {alert.side} positions; by exchange:"
    for name, one in active:
        yield f"{name}: {one.share:.0%} of the USD, {_number(one.events_per_s)}/s, {_usd(one.notional_usd_per_s)}/s."
    if alert.first_mover is not None:
        yield f"First in the episode was {alert.first_mover}."
    if alert.correlation is not None:
        yield f"Correlation of the exchanges' counts: {alert.correlation:.2f} (0 independent, 1 in step)."
    if alert.correlation_lag_ms is not None and alert.leading_exchange is not None:
        lag_ms, leader = alert.correlation_lag_ms, alert.leading_exchange
        when = "at the same time as" if not lag_ms else f"{abs(lag_ms)} ms {'after' if lag_ms > 0 else 'before'}"
        yield f"The others move {when} {leader}, which has most of the USD."


def _of_context(alert: CascadeAlert) -> Iterator[str]:
    changes = {
        "1 min": alert.open_interest_change_1m_pct,
        "5 min": alert.open_interest_change_5m_pct,
        "1 h": alert.open_interest_change_1h_pct,
    }
    known = [f"{value:+.2f} % in {span}" for span, value in changes.items() if value is not None]
    if known:
        yield f"Open interest, in coins: {', '.join(known)}."
    if alert.funding_rate_8h is not None:
        rate = alert.funding_rate_8h
        payer = "longs pay" if rate > 0 else "shorts pay" if rate < 0 else "nobody pays"
        yield f"Funding {alert.funding_rate_8h * 100:+.4f} % per 8 h: {payer}."


def _of_coverage(alert: CascadeAlert) -> Iterator[str]:
    by_state: dict[FeedState, list[str]] = {}
    for name, one in sorted(alert.coverage.items()):
        by_state.setdefault(one.state, []).append(name)
    live = by_state.pop(FeedState.LIVE, [])
    if live:
        yield f"Live: {', '.join(live)}."
    for state, names in sorted(by_state.items()):
        yield f"{', '.join(names)}: {STATES.get(state, str(state))}."
    for name, one in sorted(alert.coverage.items()):
        if one.completeness in TAPES:
            yield f"{name} {TAPES[one.completeness]}: its part is larger than what is counted."
    yield f"Confidence {alert.confidence:.2f}: how much of the market the figures rest on, not how likely the alert is."


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _number(value: float) -> str:
    """Three digits that count, without an exponent; figures are published with six decimals."""
    if abs(value) >= 100:
        return f"{value:,.1f}".removesuffix(".0")
    return f"{value:.3g}" if not value or abs(value) >= SMALL else f"{value:.6f}".rstrip("0")


def _usd(amount: float) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if amount >= size:
            return f"${amount / size:.3g}{unit}"
    return f"${amount:.3g}"


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
