"""Long share: which side is being liquidated."""

from processors.metrics.metric import Metric, ratio


def long_share(long_micro_usd: int, micro_usd: int) -> float | None:
    """USD of liquidated longs / USD, 0 to 1; None when nothing was liquidated.

    >>> long_share(750_000, 1_000_000)
    0.75"""
    return ratio(long_micro_usd, micro_usd) if micro_usd else None


METRIC = Metric(name="long share", unit="1", field="long_share", compute=long_share, without_data=(0, 0))
