"""Acceleration: how fast velocity or volume changes from one window to the next."""

from processors.metrics.metric import Metric, ratio


def acceleration(now: int, before: int, size_ms: int, *, per_unit: int = 1) -> float:
    """(rate in this window - rate in the window before) / size, per s².

    `now`, `before`: sums in the two windows, in units of which `per_unit` make one (1,000,000 for micro-USD).

    >>> acceleration(100, 20, 2_000)
    20.0
    >>> acceleration(8_000_000, 0, 2_000, per_unit=1_000_000)
    2.0"""
    return ratio((now - before) * 1_000_000, size_ms * size_ms * per_unit)


METRIC = Metric(
    name="acceleration", unit="events/s² or USD/s²", field="acceleration_events_per_s2", compute=acceleration
)
