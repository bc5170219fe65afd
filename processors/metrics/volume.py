"""Volume: USD liquidated per second in one window."""

from processors.metrics.metric import Metric, ratio


def volume(micro_usd: int, size_ms: int) -> float:
    """USD per second, from a sum in micro-USD.

    >>> volume(3_000_000_000, 2_000)
    1500.0"""
    return ratio(micro_usd, size_ms * 1_000)


METRIC = Metric(name="volume", unit="USD/s", field="notional_usd_per_s", compute=volume)
