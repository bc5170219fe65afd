"""What one exchange's market data say of its instruments, for decoders that need it: mark prices, funding intervals."""

from decimal import Decimal


class Marks:
    """The last mark price of each instrument, USD per coin, with its time.

    `interval_hours`: hours between settlements of funding, by instrument, as the exchange's data say."""

    def __init__(self) -> None:
        self._marks: dict[str, tuple[Decimal, int]] = {}
        self.interval_hours: dict[str, float] = {}

    def get(self, instrument: str) -> Decimal | None:
        """The last mark price, or None."""
        mark = self._marks.get(instrument)
        return None if mark is None else mark[0]

    def time_ms(self, instrument: str) -> int | None:
        """Time of the last mark price, ms since 1970, or None."""
        mark = self._marks.get(instrument)
        return None if mark is None else mark[1]

    def set(self, instrument: str, price: Decimal, time_ms: int) -> None:
        """Take a mark price; an older one than what is known changes nothing.

        >>> marks = Marks()
        >>> marks.set("BTCUSDT", Decimal("60000"), 2_000)
        >>> marks.set("BTCUSDT", Decimal("59000"), 1_000)
        >>> marks.get("BTCUSDT")
        Decimal('60000')
        """
        known = self._marks.get(instrument)
        if known is None or time_ms >= known[1]:
            self._marks[instrument] = (price, time_ms)
