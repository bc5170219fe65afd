"""Velocity: liquidations per second in one window."""

from processors.metrics.metric import Metric, ratio


def velocity(events: int, size_ms: int) -> float:
    """Events per second.

    >>> velocity(5, 100)
    50.0"""
    return ratio(events * 1_000, size_ms)


METRIC = Metric(name="velocity", unit="events/s", field="events_per_s", compute=velocity)
