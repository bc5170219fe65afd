"""Sees lag without progress. Pure: the time is an argument."""

from enum import Enum
from typing import Final

HANGS_S: Final = 30.0


class Verdict(Enum):
    """MOVES: nothing is wrong. WAITS: records lie ready and have not come yet. HANGS: that for HANGS_S."""

    MOVES = "moves"
    WAITS = "waits"
    HANGS = "hangs"


class Watchdog:
    """Is told now and then where each partition is; `waits_s`: from when on it counts as waiting."""

    def __init__(self, *, waits_s: float) -> None:
        self._waits_s = waits_s
        self._since: dict[int, tuple[int, float]] = {}  # partition -> position, and when it was first seen there

    def see(self, partition: int, *, position: int, end: int, now_s: float) -> Verdict:
        """Judge a partition; after HANGS it has as long again."""
        at, since_s = self._since.get(partition, (-1, now_s))
        if position >= end or position != at:
            self._since[partition] = position, now_s
            return Verdict.MOVES
        if now_s - since_s >= HANGS_S:
            self._since[partition] = position, now_s
            return Verdict.HANGS
        return Verdict.WAITS if now_s - since_s >= self._waits_s else Verdict.MOVES
