"""Evidence for the sides of one exchange's liquidations: mark prices, and a REST list whose side is beyond doubt."""

import asyncio
import time
from decimal import Decimal
from typing import Final

import structlog

from producers import metrics
from producers.catalogue import Catalogue
from producers.drift import ListWatch, SideWatch
from producers.exchange import CrossCheck, ExchangeAdapter
from producers.marks import Marks
from producers.rest import Rest
from schemas.errors import FeedUnavailable, FrameRefused
from schemas.records import Liquidation

MARK_AGE_MS_MAX: Final = 30_000  # around the event; an older mark says nothing in a market that moves
WINDOW_OVERLAP: Final = 2  # intervals that a REST list is asked for, since it may show rows late


class SideEvidence:
    """`add` every event; `contradiction` says what has been found."""

    def __init__(self, adapter: ExchangeAdapter, marks: Marks) -> None:
        self._by_mark, self._marks = adapter.side_evidence, marks
        self._sides = SideWatch()
        self._list = ListWatch() if adapter.cross_check else None
        self._listed = SideWatch()
        self._agree = metrics.SIDES_CHECKED.labels(adapter.exchange.value, "yes")
        self._disagree = metrics.SIDES_CHECKED.labels(adapter.exchange.value, "no")

    def add(self, event: Liquidation) -> None:
        """Check an event against the mark price where there is a recent one, and keep it for the REST list."""
        if self._list is not None:
            self._list.add(event)
        if self._by_mark is None:
            return
        mark = self._recent_mark(event)
        agrees = None if mark is None else self._by_mark(event, mark)
        if agrees is not None:
            self._count(self._sides, agrees)

    def compare(self, listed: list[Liquidation]) -> None:
        """Check what the websocket gave against rows of the REST list."""
        assert self._list is not None, "only for an exchange with a list"
        for agrees in self._list.compare(listed):
            self._count(self._listed, agrees)

    @property
    def contradiction(self) -> str | None:
        """A sentence when most of the lately checked sides are contradicted."""
        listed = self._listed.contradiction
        return f"{listed} (REST list)" if listed else self._sides.contradiction

    def _recent_mark(self, event: Liquidation) -> Decimal | None:
        time_ms = self._marks.time_ms(event.instrument)
        if time_ms is None or abs(event.event_time_ms - time_ms) > MARK_AGE_MS_MAX:
            return None
        return self._marks.get(event.instrument)

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
        now_ms = time.time_ns() // 1_000_000
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
