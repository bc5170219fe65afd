"""First mover: the exchange whose liquidations of the episode came first by event time."""

import numpy as np

from processors.jit import jit
from processors.metrics.metric import NOBODY, Metric
from processors.windows.layout import NEVER, Array


@jit
def first_slot(first_ms: Array) -> int:
    """Slot with the earliest first event (ms; NEVER: none), of equals the first slot. NOBODY without events."""
    first, earliest_ms = NOBODY, NEVER
    for slot in range(first_ms.shape[0]):
        if first_ms[slot] < earliest_ms:
            first, earliest_ms = slot, first_ms[slot]
    return first


def first_mover(first_ms: Array) -> int | None:
    """The same for a reader: None without events.

    >>> first_mover(np.array([NEVER, 1_000, 990]))
    2"""
    slot = first_slot(first_ms)
    return None if slot == NOBODY else slot


METRIC = Metric(
    name="first mover", unit="exchange", field="first_mover", compute=first_mover, without_data=(np.full(2, NEVER),)
)
