"""An alert as one sentence for people: a chat, a console, a phone."""

from datetime import UTC, datetime
from typing import Final

from schemas.records import CascadeAlert
from schemas.words import AlertKind, Level, Side

WORDS: Final = {
    AlertKind.RAISED: "rose{before} to {level}",
    AlertKind.UPDATED: "stays at {level}",
    AlertKind.LOWERED: "fell{before} to {level}",
    AlertKind.ENDED: "cascade is over; it was {peak}",
}
JUDGED_MS: Final = 2_000  # the window that a trader compares
SIDES: Final = {Side.LONG: "longs", Side.SHORT: "shorts"}


def sentence_of(alert: CascadeAlert) -> str:
    """Who, what, how fast, on which exchanges, how sure, when. One line of printable text."""
    before = f" from {alert.previous_level}" if alert.previous_level not in (Level.NONE, Level.UNKNOWN) else ""
    words = WORDS.get(alert.kind, "{level}").format(before=before, level=alert.level, peak=alert.peak_level)
    figures = [] if alert.kind is AlertKind.ENDED else _figures(alert)
    time = f"{datetime.fromtimestamp(alert.event_time_ms / 1_000, UTC):%H:%M:%S} UTC"
    parts = [f"{'Market' if alert.asset == '*' else alert.asset} {words}", *figures, time]
    text = "; ".join(part for part in parts if part)
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _figures(alert: CascadeAlert) -> list[str]:
    judged = next((window for window in alert.windows if window.size_ms == JUDGED_MS), None)
    active = [name for name, figures in sorted(alert.exchanges.items()) if figures.active]
    return [
        f"{SIDES.get(alert.side, 'both sides')} liquidated",
        f"{judged.events_per_s:.0f}/s, {_usd(judged.notional_usd_per_s)}/s in {judged.size_ms / 1_000:g} s"
        if judged
        else "",
        f"on {', '.join(active)}" if active else "",
        f"probability {alert.probability:.2f}, confidence {alert.confidence:.2f}",
    ]


def _usd(usd: float) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if usd >= size:
            return f"${usd / size:.1f}{unit}"
    return f"${usd:.0f}"
