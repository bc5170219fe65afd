"""First mover: the exchange whose liquidations of the episode came first by event time."""

from collections.abc import Sequence

from processors.metrics.metric import Metric
from processors.windows.layout import NEVER


def first_mover(first_ms: Sequence[int]) -> int | None:
    """Slot with the earliest first event (ms; NEVER: none), of equals the first slot. None without events.

    >>> first_mover([NEVER, 1_000, 990])
    2"""
    slot = min(range(len(first_ms)), key=first_ms.__getitem__)
    return slot if first_ms[slot] < NEVER else None


METRIC = Metric(
    name="first mover", unit="exchange", field="first_mover", compute=first_mover, without_data=([NEVER, NEVER],)
)
