"""The usual longest gap between the data of one connection, learned from it. Pure: time is an argument."""

from collections import deque
from typing import Final

SLOT_MS: Final = 60_000
SLOTS_MAX: Final = 240  # with data: four hours of a busy channel, some days of a quiet one
SLOTS_MIN: Final = 10
QUANTILE: Final = 0.9
FACTOR: Final = 3  # a gap of an hour's calm beside the longest ones of its minutes


class GapLearner:
    """Longest gaps by minute, so that the thousands of short gaps of one cascade do not make a calm hour a silence."""

    def __init__(self) -> None:
        self.last_ms: int | None = None
        self.usual_ms: int | None = None
        self._longest_ms: deque[int] = deque(maxlen=SLOTS_MAX)
        self._slot, self._slot_longest_ms = -1, 0

    def add(self, now_ms: int) -> None:
        """Data came at `now_ms`."""
        slot = now_ms // SLOT_MS
        if self.last_ms is not None:
            gap_ms = now_ms - self.last_ms
            if slot != self._slot:
                self._close_slot()
            if gap_ms > self._slot_longest_ms:
                self._slot_longest_ms = gap_ms
        self._slot, self.last_ms = slot, now_ms

    def restart(self) -> None:
        """The connection was lost: the gap until the next data says nothing of the exchange."""
        self.last_ms = None

    def _close_slot(self) -> None:
        if self._slot_longest_ms:
            self._longest_ms.append(self._slot_longest_ms)
            self._slot_longest_ms = 0
        if len(self._longest_ms) >= SLOTS_MIN:
            ordered = sorted(self._longest_ms)
            self.usual_ms = FACTOR * ordered[int(QUANTILE * (len(ordered) - 1))]
