"""Leading exchange: the one with the largest share of the USD in the judged window."""

import numpy as np

from processors.jit import jit
from processors.metrics.metric import NOBODY, Metric, ratio
from processors.windows.layout import Array


def share(micro_usd: int, total_micro_usd: int) -> float:
    """Share of one exchange, 0 when nothing was liquidated.

    >>> share(300, 400)
    0.75"""
    return ratio(micro_usd, total_micro_usd) if total_micro_usd else 0.0


@jit
def leading_slot(micro_usd: Array, events: Array) -> int:
    """Slot of the exchange that leads: most USD, of equals most events, of equals the first slot. NOBODY without."""
    best = NOBODY
    for slot in range(events.shape[0]):
        if events[slot] and (
            best == NOBODY
            or micro_usd[slot] > micro_usd[best]
            or (micro_usd[slot] == micro_usd[best] and events[slot] > events[best])
        ):
            best = slot
    return best


def leading_exchange(micro_usd: Array, events: Array) -> int | None:
    """The same for a reader: None without events.

    >>> leading_exchange(np.array([0, 100, 300]), np.array([0, 9, 1]))
    2"""
    slot = leading_slot(micro_usd, events)
    return None if slot == NOBODY else slot


METRIC = Metric(
    name="leading exchange",
    unit="exchange",
    field="leading_exchange",
    compute=leading_exchange,
    without_data=(np.zeros(3, np.int64), np.zeros(3, np.int64)),
)
