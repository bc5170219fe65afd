"""Open interest and funding of one exchange on their way to the topics, from REST and websocket alike."""

from collections.abc import Iterable
from typing import Final

import structlog

from producers import metrics
from producers.clock import ClockOffset
from producers.exchange import FUNDING, OPEN_INTEREST, ExchangeAdapter, MarketEvent
from producers.health import PollHealth
from producers.outlet import Outlet
from producers.recent import RecentIds
from runtime.clock import wall_clock_ms
from schemas.records import FeedHealth, Funding

WEBSOCKET: Final = "websocket"
WEBSOCKET_INTERVAL_MS: Final = 10_000  # exchanges repeat the same ten times a second; the windows step by 10 s
# Hourly settlements of 700 instruments over 24 h, asked for again with an hour of overlap.
SETTLED_IDS_MAX: Final = 20_000


class MarketFeed:
    """`take` publishes what is new; `health` has a channel for each kind that the exchange gives."""

    def __init__(self, adapter: ExchangeAdapter, publisher: Outlet, clock: ClockOffset) -> None:
        self._publisher, self._clock = publisher, clock
        kinds = {kind for poll in adapter.polls for kind in poll.kinds} | set(adapter.market_kinds)
        now_ms = wall_clock_ms()
        self.health: dict[str, PollHealth] = {
            kind: PollHealth(adapter.exchange, kind, now_ms=now_ms, clock=clock)
            for kind in (OPEN_INTEREST, FUNDING)
            if kind in kinds
        }
        for kind in adapter.market_kinds:
            self.health[kind].expect(WEBSOCKET, WEBSOCKET_INTERVAL_MS, now_ms=now_ms)
        self._exchange = adapter.exchange.value
        self._settled = RecentIds(size_max=SETTLED_IDS_MAX)
        self._last: dict[tuple[str, str], MarketEvent] = {}  # by kind and instrument
        self._settlements: dict[str, tuple[int, int]] = {}  # the last two known times of settlement, the later last
        self._log = structlog.get_logger().bind(exchange=self._exchange)

    async def take(self, events: Iterable[MarketEvent], source: str, *, received_time_us: int) -> int:
        """Publish what is new in an answer or a frame; how many there were. `source` has been told to the health."""
        new: list[MarketEvent] = []
        newest_ms: dict[str, int] = {}
        for event in events:
            kind = FUNDING if isinstance(event, Funding) else OPEN_INTEREST
            if not (isinstance(event, Funding) and event.settled):
                newest_ms[kind] = max(newest_ms.get(kind, 0), event.event_time_ms)
            if self._is_new(kind, event, source):
                new.append(event)
        if new:
            await self._publisher.market(new)
        await self._tell(source, newest_ms, received_time_us)
        return len(new)

    async def failed(self, kinds: Iterable[str], source: str, reason: str) -> None:
        """A call was not answered, or refused."""
        for kind in kinds:
            await self.tell(self.health[kind].failed(source, reason, now_ms=wall_clock_ms()))

    async def tell(self, records: Iterable[FeedHealth]) -> None:
        """Publish states of channels."""
        for record in records:
            self._log.info("state", channel=record.channel, state=record.state.value, detail=record.detail)
            await self._publisher.health(record)

    async def publish_state(self, health: PollHealth) -> None:
        """Publish a channel's state as it is."""
        await self._publisher.health(health.now(wall_clock_ms()))

    def has_settled(self, instrument: str, since_ms: int, now_ms: int) -> bool:
        """True when a settlement was due in the time, or when none of this instrument is known."""
        known = self._settlements.get(instrument)
        return known is None or any(since_ms < each <= now_ms for each in known)

    async def _tell(self, source: str, newest_ms: dict[str, int], received_time_us: int) -> None:
        now_ms = received_time_us // 1_000
        offset_ms = round(self._clock.get() or 0)
        for kind, event_ms in newest_ms.items():
            health = self.health.get(kind)
            if health is not None:
                health.lags.add(received_time_us / 1_000 - event_ms)
                await self.tell(health.succeeded(source, now_ms=now_ms, data_ms=event_ms - offset_ms))

    def _is_new(self, kind: str, event: MarketEvent, source: str) -> bool:
        if isinstance(event, Funding):
            if event.settled:
                return self._settled.is_new(event.event_id)
            self._note_settlement(event)
        elif event.open_interest is None and event.open_interest_usd is None:
            return False
        key = (kind, event.instrument)
        last = self._last.get(key)
        if last is not None:
            wait_ms = WEBSOCKET_INTERVAL_MS if source == WEBSOCKET else 1
            if event.event_time_ms < last.event_time_ms + wait_ms:
                metrics.MARKET_SKIPPED.labels(self._exchange).inc()
                return False
        self._last[key] = event
        return True

    def _note_settlement(self, event: Funding) -> None:
        if event.next_funding_time_ms is not None:
            _, known_ms = self._settlements.get(event.instrument, (0, 0))
            if event.next_funding_time_ms > known_ms:
                self._settlements[event.instrument] = (known_ms, event.next_funding_time_ms)
