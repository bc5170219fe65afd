"""How much an exchange may be asked by REST: a sliding window of weight for all its calls, and waits after refusals.

Pure: time is an argument, any clock in ms that does not go back."""

from collections import deque
from collections.abc import Mapping
from typing import Final

from producers.exchange import Budget

SHARE: Final = 0.5  # of what the exchange allows: other programs of this machine's address are counted with us
BAN_MS_MIN: Final = 1_000  # whatever the header says: an immediate repetition is what gets an address banned
BAN_MS_MAX: Final = 259_200_000  # 3 days, the longest ban that an exchange threatens with
DOUBLINGS_MAX: Final = 5  # of the default wait, refusal after refusal: 60 s to 32 min
EPOCH_S_MIN: Final = 1_000_000_000  # a number this large is a time (s since 1970), no wait: 30 years
EPOCH_MS_MIN: Final = 1_000_000_000_000


class RateBudget:
    """Reserve before each call, in the order of the calls; `refused` and `answered` say what came of it."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.weight_max = max(1, int(budget.weight_max * SHARE))
        self.window_ms = budget.window_ms
        self._spent: deque[tuple[int, int]] = deque()  # (at_ms, weight), oldest first, some in the future
        self._banned_until_ms = 0
        self._refusals = 0

    def reserve(self, weight: int, now_ms: int) -> int:
        """When a call of this weight may be made: `now_ms`, or later. A weight above the whole budget counts as it.

        >>> budget = RateBudget(Budget(weight_max=4, window_ms=1_000))
        >>> [budget.reserve(1, now_ms) for now_ms in (0, 10, 20, 30)]
        [0, 10, 1000, 1010]
        """
        weight = min(weight, self.weight_max)
        while self._spent and self._spent[0][0] <= now_ms - self.window_ms:
            self._spent.popleft()
        at_ms = max(now_ms, self._banned_until_ms, self._spent[-1][0] if self._spent else now_ms)
        used = 0
        for spent_ms, spent in reversed(self._spent):
            used += spent
            if used + weight > self.weight_max:
                at_ms = max(at_ms, spent_ms + self.window_ms)
                break
        self._spent.append((at_ms, weight))
        return at_ms

    def is_banned(self, now_ms: int) -> bool:
        """True while the exchange has told us to wait."""
        return now_ms < self._banned_until_ms

    def is_refusal(self, status: int) -> bool:
        """True for the HTTP statuses by which this exchange says "too much"."""
        return status in self._budget.banned_statuses

    def refused(self, headers: Mapping[str, str], *, now_ms: int, wall_ms: int) -> int:
        """The exchange said "too much": how many ms to wait, by its header, else doubled with every refusal in a row.

        `wall_ms` is ms since 1970, for headers that name a time."""
        named = [_wait_ms(headers[name], wall_ms) for name in self._budget.retry_after_headers if name in headers]
        waits = [wait for wait in named if wait is not None]
        default = self._budget.ban_ms_default * 2 ** min(self._refusals, DOUBLINGS_MAX)
        wait_ms = min(BAN_MS_MAX, max(BAN_MS_MIN, max(waits) if waits else default))
        self._refusals += 1
        self._banned_until_ms = max(self._banned_until_ms, now_ms + wait_ms)
        self._spent = deque(each for each in self._spent if each[0] <= now_ms)
        return wait_ms

    def answered(self) -> None:
        """The exchange answered: the next refusal is the first one again."""
        self._refusals = 0

    def interval_ms(self, calls: int, weight: int, wanted_ms: int, *, share: float = 0.5) -> int:
        """How long a round of `calls` calls takes, at least: `wanted_ms`, or longer where it would need more than
        `share` of the budget, because the other calls need the rest.

        >>> RateBudget(Budget(weight_max=2_400, window_ms=60_000)).interval_ms(700, 1, 60_000)
        70000
        """
        return max(wanted_ms, round(calls * min(weight, self.weight_max) * self.window_ms / (self.weight_max * share)))


def _wait_ms(text: str, wall_ms: int) -> int | None:
    """What a header says: seconds, or a time in s or ms since 1970; None for anything else (a date in words)."""
    try:
        value = float(text)
    except ValueError:
        return None
    if not 0 <= value < EPOCH_MS_MIN * 10:
        return None
    if value >= EPOCH_MS_MIN:
        return round(value) - wall_ms
    if value >= EPOCH_S_MIN:
        return round(value * 1_000) - wall_ms
    return round(value * 1_000)
