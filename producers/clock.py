"""Lag from an exchange to us, and how far its clock is from ours. Pure: times are arguments, ms since 1970."""

from collections import deque
from typing import Final

LAGS_MAX: Final = 1_024  # the latest ones, 8 kB: a quiet channel's last hours, in a cascade its last seconds
CLOCK_MS_MAX: Final = 600_000  # what bounds the offset is forgotten after ten minutes: clocks drift and are set
BOUNDS_MAX: Final = 600  # one a second at most in ten minutes


class Lags:
    """Received minus event time of the latest events."""

    def __init__(self) -> None:
        self._lags_ms: deque[float] = deque(maxlen=LAGS_MAX)

    def add(self, lag_ms: float) -> None:
        """Take the lag of one event."""
        self._lags_ms.append(lag_ms)

    def quantile(self, share: float) -> float | None:
        """The lag in ms that this share of the events stays within; None before the first.

        >>> lags = Lags()
        >>> for lag_ms in range(1, 101):
        ...     lags.add(lag_ms)
        >>> lags.quantile(0.5), lags.quantile(0.99)
        (50, 99)
        """
        if not self._lags_ms:
            return None
        ordered = sorted(self._lags_ms)
        return ordered[max(0, -(-round(share * 1_000) * len(ordered) // 1_000) - 1)]


class ClockOffset:
    """The exchange's clock minus ours, between two bounds that calls and events narrow.

    An answer that says "it is s" (in steps of `step_ms`) to a call sent at a and received at b, by our clock, means an
    offset between s − b and s + step − a. An event of time e that was received at b means at least e − b. So calls
    narrow it from both sides, and events from one: the least lag of any event is what remains of it."""

    def __init__(self) -> None:
        self._lower: deque[tuple[int, float]] = deque(maxlen=BOUNDS_MAX)  # (at, bound): rising times, falling bounds
        self._upper: deque[tuple[int, float]] = deque(maxlen=BOUNDS_MAX)

    def answered(self, *, sent_ms: float, received_ms: float, server_ms: float, step_ms: float) -> None:
        """Take the time that an answer gives, which may be cut down to whole steps of `step_ms`."""
        lower, upper = server_ms - received_ms, server_ms + step_ms - sent_ms
        if self._upper and lower > self._upper[0][1]:
            self._upper.clear()  # their clock was set forward: what was known no longer holds
        if self._lower and upper < -self._lower[0][1]:
            self._lower.clear()  # or back
        _keep(self._lower, int(received_ms), -lower)
        _keep(self._upper, int(received_ms), upper)

    def event(self, *, event_ms: float, received_ms: float) -> None:
        """Take an event: it cannot have been received before it happened."""
        _keep(self._lower, int(received_ms), -(event_ms - received_ms))

    def get(self) -> float | None:
        """Estimate in ms: the middle of the bounds, the one bound there is, or None.

        >>> clock = ClockOffset()
        >>> clock.event(event_ms=1_000, received_ms=1_080)
        >>> clock.get()
        -80.0
        >>> clock.answered(sent_ms=1_500, received_ms=1_520, server_ms=1_000, step_ms=1_000)
        >>> clock.get()
        210.0
        """
        lower = -self._lower[0][1] if self._lower else None
        upper = self._upper[0][1] if self._upper else None
        if lower is None:
            return None
        if upper is None:
            return float(lower)
        return (min(lower, upper) + upper) / 2  # an event that claims to come from the future proves nothing


def _keep(bounds: deque[tuple[int, float]], at_ms: int, bound: float) -> None:
    """Keep the least bound of the last ten minutes in front, and behind it those that may follow it."""
    while bounds and bounds[0][0] < at_ms - CLOCK_MS_MAX:
        bounds.popleft()
    while bounds and bounds[-1][1] >= bound:
        bounds.pop()
    bounds.append((at_ms, bound))
