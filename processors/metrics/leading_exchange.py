"""Leading exchange: the one with the largest share of the USD in the judged window."""

from collections.abc import Sequence

from processors.metrics.metric import Metric


def shares(micro_usd: Sequence[int]) -> list[float]:
    """Share of each exchange, by slot; all 0 when nothing was liquidated.

    >>> shares([0, 300, 100])
    [0.0, 0.75, 0.25]"""
    total = sum(micro_usd)
    return [part / total if total else 0.0 for part in micro_usd]


def leading_exchange(micro_usd: Sequence[int], events: Sequence[int]) -> int | None:
    """Slot of the exchange that leads: most USD, of equals most events, of equals the first slot. None without events.

    >>> leading_exchange([0, 100, 300], [0, 9, 1])
    2"""
    if not any(events):
        return None
    return max(range(len(events)), key=lambda slot: (micro_usd[slot], events[slot], -slot))


METRIC = Metric(
    name="leading exchange", unit="exchange", field="leading_exchange", compute=leading_exchange,
    without_data=([0, 0], [0, 0]),
)  # fmt: skip
