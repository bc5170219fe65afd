"""An alert in words and numbers: why it was raised, on what it rests, what is missing. Pure; from the record alone."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from schemas.records import CascadeAlert, WindowFigures
from schemas.words import AlertKind, Completeness, FeedState, Level, Side

MARKET: Final = "*"
RULE_FLAG: Final = "rule:"
KINDS: Final = {
    AlertKind.RAISED: "rose from {before} to {level}",
    AlertKind.UPDATED: "stays at {level}, with new liquidations",
    AlertKind.LOWERED: "fell from {before} to {level}: nothing justified more for the hold",
    AlertKind.ENDED: "is over: nothing justified {before} any more for the hold",
}
SEEN: Final = frozenset({FeedState.LIVE, FeedState.SUBSCRIBED, FeedState.UNKNOWN})
STATES: Final = {
    FeedState.UNKNOWN: "nothing is known of its feed",
    FeedState.CONNECTED: "connected, not subscribed yet",
    FeedState.SUBSCRIBED: "subscribed, nothing came yet",
    FeedState.SILENT: "silent for longer than usual",
    FeedState.GAP: "records of it are missing",
    FeedState.STALE: "its data are stale",
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
    what = KINDS.get(alert.kind, "has level {level}").format(before=alert.previous_level, level=alert.level)
    subject = "The market" if alert.asset == MARKET else alert.asset
    yield f"{subject} {what}, at {_time(alert.append_time_ms)} (alert {alert.sequence} of its episode)."
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


def _of_market(alert: CascadeAlert) -> Iterator[str]:
    yield f"{alert.market_breadth} assets were exceptional within the span of the breadth."
    for flag in alert.flags:
        kind, _, rest = flag.partition(":")
        if kind == "led_by":
            yield f"{rest} was the first of them."
        elif kind == "contagion":
            pair, _, lag = rest.rpartition(":")
            leader, _, follower = pair.partition(">")
            yield f"USD/s of {follower} follow those of {leader} by {lag}."
        elif kind == "blind":
            yield f"Blind in partitions {rest}: they make no progress, their assets are not counted."


def _of_levels(alert: CascadeAlert) -> Iterator[str]:
    relative = "not known yet" if alert.relative_level is Level.UNKNOWN else str(alert.relative_level)
    ratio = "" if alert.relative_ratio is None else f" (R = {alert.relative_ratio:g} times its own baseline)"
    yield (
        f"The level follows the profile {alert.profile}: absolute thresholds say {alert.absolute_level},"
        f" the asset's own week says {relative}{ratio}."
    )
    rules = [flag.removeprefix(RULE_FLAG) for flag in alert.flags if flag.startswith(RULE_FLAG)]
    if rules:
        yield f"Custom rules that are met: {', '.join(rules)}."
    flags = [flag for flag in alert.flags if not flag.startswith(RULE_FLAG)]
    if flags:
        yield f"Flags of single sizes: {', '.join(flags)}."


def _of_score(alert: CascadeAlert) -> Iterator[str]:
    terms = msgspec.structs.asdict(alert.contributions)
    parts = " + ".join(f"{name.replace('_', ' ')} {value:.6f}" for name, value in terms.items() if value)
    total = sum(terms.values())
    boosted = f", times {alert.boost:g} for the acceleration, at most 1" if alert.boost != 1 else ""
    yield f"Probability {alert.probability:.6f} = {parts or '0'} = {total:.6f}{boosted}."
    without = [name.replace("_", " ") for name, value in terms.items() if not value]
    if without and parts:
        yield f"Nothing came from {', '.join(without)}."


def _of_windows(alert: CascadeAlert) -> Iterator[str]:
    for window in alert.windows:
        if window.events:
            yield _window(window)


def _window(window: WindowFigures) -> str:
    share = "" if window.long_share is None else f", {window.long_share:.0%} of the USD longs"
    return (
        f"In {window.size_ms / 1_000:g} s: {window.events} liquidations, {window.events_per_s:g}/s"
        f" ({window.acceleration_events_per_s2:+g}/s²), {_usd(window.notional_usd_per_s)}/s{share}."
    )


def _of_exchanges(alert: CascadeAlert) -> Iterator[str]:
    if alert.side is not Side.UNKNOWN:
        yield f"Positions that were liquidated: mostly {alert.side}."
    active = sorted(
        ((name, one) for name, one in alert.exchanges.items() if one.active), key=lambda pair: -pair[1].share
    )
    for name, one in active:
        yield f"{name}: {one.share:.0%} of the USD, {one.events_per_s:g}/s, {_usd(one.notional_usd_per_s)}/s."
    if alert.first_mover is not None:
        yield f"First in the episode was {alert.first_mover}."
    if alert.correlation is not None:
        lag = alert.correlation_lag_ms
        told = "" if lag is None else f", highest at a lag of {lag} ms of the others behind the leading exchange"
        yield f"Exchanges move together: correlation {alert.correlation:.2f}{told}."


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
    for name, one in sorted(alert.coverage.items()):
        if one.state is not FeedState.LIVE:
            yield f"{name}: {STATES.get(one.state, str(one.state))}."
        if one.completeness in TAPES:
            yield f"{name} {TAPES[one.completeness]}: its part is larger than what is counted."
    yield f"Confidence {alert.confidence:.2f}: how much of the market the figures rest on, not how likely the alert is."


def _usd(amount: float) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if amount >= size:
            return f"${amount / size:.3g}{unit}"
    return f"${amount:.3g}"


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
