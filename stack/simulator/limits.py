"""REST limits of a simulated exchange: weight in a sliding window, and the answer to a client that exceeds it.

Pure: time is an argument."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

BAN_EXCEEDED_MAX: Final = 10  # refusals in one window that turn a slow-down into a ban


class Refusal(NamedTuple):
    """Status, headers and body of the answer to a client that asks too much."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RestLimit:
    """weight_max in window_ms, for each path apart where `by_path`. `header` says when to come back, in the unit of
    `header_unit`: s (from now), epoch_s or epoch_ms."""

    weight_max: int
    window_ms: int
    status: int = 429
    ban_status: int = 429
    header: str | None = None
    header_unit: str = "s"
    by_path: bool = False
    body: Any = field(default_factory=lambda: {"msg": "Too many requests"})

    def refusal(self, wait_ms: int, now_ms: int, *, banned: bool = False) -> Refusal:
        """Come back after `wait_ms`."""
        wait_s = -(-wait_ms // 1000)
        values = {"s": wait_s, "epoch_s": now_ms // 1000 + wait_s, "epoch_ms": now_ms + wait_ms}
        headers = {self.header: str(values[self.header_unit])} if self.header else {}
        return Refusal(self.ban_status if banned else self.status, headers, self.body)


class RestMeter:
    """What one client has asked of one exchange lately. `exceeded` counts its refusals."""

    def __init__(self, limit: RestLimit) -> None:
        self._limit = limit
        self._asked: dict[str, deque[tuple[int, int]]] = {}  # (time_ms, weight) by path, or under ""
        self._refused_ms: deque[int] = deque(maxlen=BAN_EXCEEDED_MAX)
        self.exceeded = 0

    def ask(self, path: str, weight: int, now_ms: int) -> Refusal | None:
        """None when the call fits into the limit; then it counts."""
        asked = self._asked.setdefault(path if self._limit.by_path else "", deque())
        while asked and asked[0][0] <= now_ms - self._limit.window_ms:
            asked.popleft()
        if sum(each for _, each in asked) + weight <= self._limit.weight_max:
            asked.append((now_ms, weight))
            return None
        self.exceeded += 1
        self._refused_ms.append(now_ms)
        persistent = len(self._refused_ms) == BAN_EXCEEDED_MAX
        banned = persistent and now_ms - self._refused_ms[0] < self._limit.window_ms
        wait_ms = asked[0][0] + self._limit.window_ms - now_ms if asked else self._limit.window_ms
        return self._limit.refusal(wait_ms, now_ms, banned=banned)
