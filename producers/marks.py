"""What one exchange's market data say of its instruments, for decoders that need it: mark prices, funding intervals."""

from collections import deque
from decimal import Decimal
from typing import Final

# A liquidation comes up to 3.3 s late and is held against the marks of the 2 s before it.
KEPT_MS: Final = 10_000
BACK_MS_MAX: Final = 60_000  # no answer is a minute late: then the newest time was wrong, or the clock was set right
STEP_MS: Final = 1_000  # of those kept, but for the newest; some exchanges state ten a second

_Mark = tuple[Decimal, int]


class Marks:
    """The mark prices of each instrument in the last 10 s, USD per coin, with their times; at least the last one.

    `interval_hours`: hours between settlements of funding, by instrument, as the exchange's data say."""

    def __init__(self) -> None:
        self._marks: dict[str, deque[_Mark]] = {}
        self.interval_hours: dict[str, float] = {}

    def get(self, instrument: str) -> Decimal | None:
        """The last mark price, or None."""
        marks = self._marks.get(instrument)
        return marks[-1][0] if marks else None

    def between(self, instrument: str, from_ms: int, to_ms: int) -> tuple[Decimal, Decimal] | None:
        """The lowest and the highest mark price of that time, both ends within it; None when there was none.

        >>> marks = Marks()
        >>> for price, time_ms in ((60_000, 1_000), (59_000, 2_000), (61_000, 3_000)):
        ...     marks.set("BTCUSDT", Decimal(price), time_ms)
        >>> marks.between("BTCUSDT", 0, 2_999)
        (Decimal('59000'), Decimal('60000'))
        """
        prices = [price for price, time_ms in self._marks.get(instrument, ()) if from_ms <= time_ms <= to_ms]
        return (min(prices), max(prices)) if prices else None

    def set(self, instrument: str, price: Decimal, time_ms: int) -> None:
        """Take a mark price; a somewhat older one than what is known changes nothing.

        >>> marks = Marks()
        >>> marks.set("BTCUSDT", Decimal("60000"), 2_000)
        >>> marks.set("BTCUSDT", Decimal("59000"), 1_000)
        >>> marks.get("BTCUSDT")
        Decimal('60000')
        """
        marks = self._marks.setdefault(instrument, deque())
        if marks and time_ms < marks[-1][1]:
            if marks[-1][1] - time_ms <= BACK_MS_MAX:
                return
            marks.clear()
        if len(marks) > 1 and time_ms - marks[-2][1] < STEP_MS:
            marks.pop()
        marks.append((price, time_ms))
        while marks[0][1] < time_ms - KEPT_MS:
            marks.popleft()
