"""Evidence for the sides of one exchange's liquidations, and against them. Three witnesses, each with its own watch:

- mark prices. A long is liquidated when the mark falls to its liquidation price, so whatever a liquidation is priced at
  (bankruptcy, liquidation or fill) is below every mark that the position has seen; a short's is above. Hence only marks
  BEFORE the liquidation count, however fast the market moves, and no later one; and no older one than
  2 s, as a position may have been opened since.
- the frame itself, where it has the order's limit beside the fill (`ExchangeAdapter.frame_evidence`).
- a REST list of the same liquidations in which the side is beyond doubt (`ExchangeAdapter.cross_check`)."""

import asyncio
from typing import Final

import structlog

from producers import metrics
from producers.catalogue import Catalogue
from producers.drift import ListWatch, SideWatch
from producers.exchange import CrossCheck, ExchangeAdapter
from producers.marks import Marks
from producers.rest import Rest
from runtime.clock import wall_clock_ms
from schemas.errors import FeedUnavailable, FrameRefused
from schemas.records import Liquidation

# Before the liquidation. The instrument that is a connection's pulse has marks each 0.1 to 3 s, and a quarter of all
# liquidations; of the others, polled each 10 to 30 s, one liquidation in 5 to 15 can be held against a mark.
MARK_AGE_MS_MAX: Final = 2_000
CHECKED_PER_S_MAX: Final = 200  # twenty tell; all of a burst of 20,000/s at 6 µs each would be a tenth of a core
WINDOW_OVERLAP: Final = 2  # intervals that a REST list is asked for, since it may show rows late


class SideEvidence:
    """`add` every live event, then `look` at the frame that it came in; `contradiction` says what has been found."""

    def __init__(self, adapter: ExchangeAdapter, marks: Marks) -> None:
        self._by_mark, self._marks = adapter.side_evidence, marks
        self._by_frame = adapter.frame_evidence
        self._list = ListWatch() if adapter.cross_check else None
        self._marked, self._framed, self._listed = SideWatch(), SideWatch(), SideWatch()
        self._second = self._checked = 0
        self._agree = metrics.SIDES_CHECKED.labels(adapter.exchange.value, "yes")
        self._disagree = metrics.SIDES_CHECKED.labels(adapter.exchange.value, "no")

    def add(self, event: Liquidation) -> None:
        """Hold an event against the marks before it, and keep it for the REST list."""
        if self._list is not None:
            self._list.add(event)
        second = event.received_time_us // 1_000_000
        self._checked = self._checked + 1 if second == self._second else 1
        self._second = second
        if self._checked > CHECKED_PER_S_MAX:
            return
        agrees = self.agrees_with_marks(event)
        if agrees is not None:
            self._count(self._marked, agrees)

    def look(self, frame: bytes) -> None:
        """Take what a frame of liquidations itself says of their sides."""
        if self._by_frame is not None and self._checked <= CHECKED_PER_S_MAX:
            for agrees in self._by_frame(frame):
                self._count(self._framed, agrees)

    def compare(self, listed: list[Liquidation]) -> None:
        """Check what the websocket gave against rows of the REST list."""
        assert self._list is not None, "only for an exchange with a list"
        for agrees in self._list.compare(listed):
            self._count(self._listed, agrees)

    @property
    def contradiction(self) -> str | None:
        """A sentence when nearly all of the lately checked sides are contradicted."""
        witnesses = ((self._framed, "order's limit"), (self._listed, "REST list"), (self._marked, "mark price"))
        found = ((watch.contradiction, by) for watch, by in witnesses)
        return next((f"{sentence} ({by})" for sentence, by in found if sentence), None)

    def agrees_with_marks(self, event: Liquidation) -> bool | None:
        """Whether its price and side fit the marks just before it; None where those disagree, or there is none."""
        if self._by_mark is None:
            return None
        at_ms = event.event_time_ms
        marks = self._marks.between(event.instrument, at_ms - MARK_AGE_MS_MAX, at_ms)
        if marks is None:
            return None
        by_lowest, by_highest = (self._by_mark(event, mark) for mark in marks)
        return by_lowest if by_lowest is by_highest else None

    def _count(self, watch: SideWatch, agrees: bool) -> None:
        watch.add(agrees)
        (self._agree if agrees else self._disagree).inc()


async def repeat_cross_check(
    check: CrossCheck, origin: str | None, evidence: SideEvidence, rest: Rest, catalogue: Catalogue
) -> None:
    """Ask for the REST list for ever; what cannot be had is tried again at the next interval."""
    log = structlog.get_logger()
    while True:
        await asyncio.sleep(check.interval_ms / 1_000)
        now_ms = wall_clock_ms()
        from_ms = now_ms - WINDOW_OVERLAP * check.interval_ms
        params = {**check.params, **(check.window_params(from_ms, now_ms) if check.window_params else {})}
        try:
            answer = await rest.call(check.url(origin), params, weight=check.weight)
            listed = check.decode(
                answer.body, received_time_us=answer.received_time_us, instruments=catalogue.instruments
            )
        except FrameRefused as exc:
            listed = [event for event in exc.events if isinstance(event, Liquidation)]
            log.warning("sides not checked", path=check.path, reason=str(exc)[:500])
        except FeedUnavailable as exc:
            log.warning("sides not checked", path=check.path, reason=str(exc)[:500])
            continue
        evidence.compare(listed)
