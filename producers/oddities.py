"""What an exchange does that spoils nothing here, and is still to be told: frames that come again, rows out of order, a
clock that is wrong. Pure: time is an argument, ms since 1970."""

from collections import deque
from collections.abc import Iterator
from typing import Final

from producers.recent import RecentIds

FRAMES_MAX: Final = 1_024  # the latest ones, by hash: some seconds of a cascade
DISORDER_MS_MIN: Final = 2_500  # exchanges push what they have each 0.1 to 1 s, by symbol: less is usual
ORDER_SPAN_MS: Final = 10_000
AHEAD_MS_MAX: Final = 60_000  # of a wrong clock; a row from farther ahead is a wrong row, and makes no other late
CLOCK_MS_MIN: Final = 2_000  # REST answers have whole seconds, so what is known of a clock is at best that exact
LATE_MS_MIN: Final = 5_000  # of the youngest row; the slowest exchange pushes after 1 s
LATE_SPAN_MS: Final = 10_000
LATE_ROWS_MIN, LATE_ROWS_MAX = 5, 256  # fewer say nothing; more are not needed
TOLD_MS_MIN: Final = 10_000  # from one telling to the next of the same


class Oddities:
    """`frame` and `event` take what comes, `take` gives sentences, each kind once in ten seconds."""

    def __init__(self) -> None:
        self._frames = RecentIds(size_max=FRAMES_MAX)
        self._repeated = self._disordered = 0
        self._disorder_ms = self._ahead_ms = 0.0
        self._newest: deque[tuple[float, int]] = deque()  # received, event time: each later than all that follow
        self._lags: deque[tuple[float, float]] = deque(maxlen=LATE_ROWS_MAX)  # received, lag
        self._told_ms: dict[str, int] = {}

    def frame(self, frame: bytes) -> None:
        """Take a frame of liquidations; not while two connections overlap, since then each comes twice."""
        self._repeated += not self._frames.is_new(str(hash(frame)))

    def event(self, *, event_ms: int, received_ms: float) -> None:
        """Take a liquidation that is no history."""
        self._ahead_ms = max(self._ahead_ms, event_ms - received_ms)
        self._lags.append((received_ms, received_ms - event_ms))
        if event_ms - received_ms <= AHEAD_MS_MAX:
            self._order(event_ms, received_ms)

    def take(self, now_ms: int, clock_offset_ms: float | None) -> list[str]:
        """What is to be told now; clock_offset_ms: the exchange's clock minus ours, as far as it is known.

        >>> oddities = Oddities()
        >>> for frame in (b"1", b"2", b"2"):
        ...     oddities.frame(frame)
        >>> oddities.take(20_000, None), oddities.take(20_000, -5_000.0)
        (['frames came again: 1'], ["the exchange's clock is 5.0 s behind ours"])
        """
        while self._lags and self._lags[0][0] < now_ms - LATE_SPAN_MS:
            self._lags.popleft()
        told = [(what, sentence) for what, sentence in self._sentences(clock_offset_ms) if self._is_due(what, now_ms)]
        for what, _ in told:
            self._told_ms[what] = now_ms
            if what == "repeated":
                self._repeated = 0
            elif what == "disorder":
                self._disordered, self._disorder_ms = 0, 0.0
        self._ahead_ms = 0.0
        return [sentence for _, sentence in told]

    def _order(self, event_ms: int, received_ms: float) -> None:
        """Hold a row against the newest of the last ten seconds."""
        while self._newest and self._newest[0][0] < received_ms - ORDER_SPAN_MS:
            self._newest.popleft()
        late_ms = self._newest[0][1] - event_ms if self._newest else 0
        if late_ms >= DISORDER_MS_MIN:
            self._disordered += 1
            self._disorder_ms = max(self._disorder_ms, late_ms)
        while self._newest and self._newest[-1][1] <= event_ms:
            self._newest.pop()
        self._newest.append((received_ms, event_ms))

    def _is_due(self, what: str, now_ms: int) -> bool:
        return now_ms - self._told_ms.get(what, -TOLD_MS_MIN) >= TOLD_MS_MIN

    def _sentences(self, clock_offset_ms: float | None) -> Iterator[tuple[str, str]]:
        if self._repeated:
            yield "repeated", f"frames came again: {self._repeated}"
        if self._disordered:
            seconds = self._disorder_ms / 1_000
            yield "disorder", f"rows came out of order: {self._disordered}, by up to {seconds:.1f} s"
        offset_ms = max(self._ahead_ms, clock_offset_ms or 0.0) if self._ahead_ms >= CLOCK_MS_MIN else clock_offset_ms
        if offset_ms is not None and abs(offset_ms) >= CLOCK_MS_MIN:
            way = "ahead of" if offset_ms > 0 else "behind"
            yield "clock", f"the exchange's clock is {abs(offset_ms) / 1_000:.1f} s {way} ours"
        least_ms = min((lag_ms for _, lag_ms in self._lags), default=0.0)
        if len(self._lags) >= LATE_ROWS_MIN and least_ms >= LATE_MS_MIN:
            yield "late", f"no row comes within {least_ms / 1_000:.1f} s: the feed is late, or the exchange's clock is"
