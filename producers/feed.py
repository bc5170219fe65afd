"""The only websocket loop: the topics of one address, for ever, through every fault from outside.

Whatever ends a connection (cut, refused, silent, a frame that is too large), the next one is tried after a wait with
exponential backoff and full jitter. Before the exchange's own cut, or when asked to, a second connection is opened and
subscribed beside the first, which goes only then: what comes twice is known by its id."""

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from typing import Final

import structlog

from producers import metrics
from producers.exchange import Connection, ExchangeAdapter
from producers.session import OnFrame, OnState, Session
from producers.settings import ProducersSection
from schemas.words import FeedState

BACKOFF_DOUBLINGS_MAX: Final = 16  # 2^16 times the base is above every limit that the settings allow
ROLL_JITTER: Final = 0.05  # of the age, earlier: the connections of one start are not renewed in one moment
OVERLAP_S: Final = 2.0  # both connections deliver: exchanges push what they have within 1 s


class Feed:
    """Topics of one connection at a time. `run` ends only after `stop`, or with an error of a callback.

    `on_frame` gets every data frame, `on_state` CONNECTED, SUBSCRIBED, STALE and RECONNECTING with the reason."""

    def __init__(
        self,
        adapter: ExchangeAdapter,
        connection: Connection,
        topics: Sequence[str],
        *,
        settings: ProducersSection,
        on_frame: OnFrame,
        on_state: OnState,
    ) -> None:
        self._adapter, self.connection, self._settings = adapter, connection, settings
        self._on_frame, self._on_state = on_frame, on_state
        self.topics = list(topics)
        self.refused: set[str] = set()
        self._log = structlog.get_logger().bind(exchange=adapter.exchange.value)
        self._stopped = asyncio.Event()
        self._renewal = asyncio.Event()
        self._sessions: dict[Session, asyncio.Task[str]] = {}  # one; two while it is renewed
        self._running: asyncio.Task[None] | None = None
        self._attempts = 0

    @property
    def busy(self) -> bool:
        """True while a frame is being handed over: then silence is ours, not the exchange's."""
        return any(session.busy for session in self._sessions)

    @property
    def overlaps(self) -> bool:
        """True while it is renewed: then two connections deliver the same."""
        return len(self._sessions) > 1

    @property
    def last_frame_ms(self) -> int | None:
        """When the last frame came over the connections that there are, ms since 1970."""
        return max((each.last_frame_ms for each in self._sessions if each.last_frame_ms is not None), default=None)

    async def run(self) -> None:
        """Connect and receive until `stop`."""
        self._running = asyncio.current_task()
        try:
            await self._run()
            await asyncio.gather(*self._sessions.values())
        except asyncio.CancelledError:
            if not self._stopped.is_set():
                raise
        finally:
            for task in self._sessions.values():
                task.cancel()
            await asyncio.gather(*self._sessions.values(), return_exceptions=True)

    async def stop(self) -> None:
        """End the connections; frames that had arrived are still handed over before `run` returns."""
        self._stopped.set()
        if self._sessions:
            await asyncio.gather(*(session.close() for session in tuple(self._sessions)))
        elif self._running is not None:
            self._running.cancel()

    async def add(self, topics: Sequence[str]) -> None:
        """Subscribe to more topics, or again to refused ones, on the open connection and on every later one."""
        self.topics += [topic for topic in topics if topic not in self.refused]
        self.refused.difference_update(topics)
        for session in tuple(self._sessions):
            await session.subscribe(topics)

    def renew(self) -> None:
        """Replace the connection by a new one, without a gap."""
        self._renewal.set()

    async def _run(self) -> None:
        while not self._stopped.is_set():
            start = time.monotonic()
            reason, last_frame_session = await self._hold()
            if self._stopped.is_set():
                return
            if (time.monotonic() - start) * 1_000 >= self._settings.stable_ms:
                self._attempts = 0
            wait_ms = self._backoff_ms()
            self._attempts += 1
            metrics.RECONNECTS.labels(self._adapter.exchange.value).inc()
            self._log.warning("reconnecting", url=last_frame_session.url, reason=reason[:500], wait_ms=round(wait_ms))
            await self._on_state(FeedState.RECONNECTING, reason[:500])
            del self._sessions[last_frame_session]
            await self._pause(wait_ms / 1_000)

    async def _hold(self) -> tuple[str, Session]:
        """Receive over one connection, replaced by another as often as it is time to; why the last one ended."""
        current = self._open(self._on_state, None)
        renewal_failures = 0
        while True:
            due = asyncio.create_task(self._renewal_due(renewal_failures))
            try:
                await asyncio.wait((self._sessions[current], due), return_when=asyncio.FIRST_COMPLETED)
            finally:
                due.cancel()
            if self._sessions[current].done():
                return await self._sessions[current], current
            successor = await self._replace(current)
            renewal_failures = renewal_failures + 1 if successor is current else 0
            current = successor

    async def _replace(self, current: Session) -> Session:
        """A connection that has taken the place of the current one, or the current one where that failed."""
        self._renewal.clear()
        until = asyncio.Event()

        async def on_state(state: FeedState, detail: str) -> None:
            if until.is_set():  # from here on its states are the feed's
                await self._on_state(state, detail)

        successor = self._open(on_state, current.covered_since_ms)
        subscribed = asyncio.create_task(successor.subscribed.wait())
        ended = {self._sessions[current], self._sessions[successor]}
        try:
            await asyncio.wait({subscribed, *ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            subscribed.cancel()
        if self._stopped.is_set():
            return current
        if not successor.subscribed.is_set():
            reason = "the connection before it ended" if not self._sessions[successor].done() else ""
            await successor.close()
            reason = reason or await self._sessions[successor]
            await asyncio.wait((self._sessions[successor],))
            del self._sessions[successor]
            self._log.warning("connection not renewed", url=current.url, reason=reason[:500])
            return current
        until.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OVERLAP_S):
                await self._stopped.wait()
        await current.close()
        await self._sessions[current]
        del self._sessions[current]
        metrics.RENEWALS.labels(self._adapter.exchange.value).inc()
        self._log.info("connection renewed", url=successor.url)
        return successor

    def _open(self, on_state: OnState, covered_since_ms: int | None) -> Session:
        session = Session(
            self._adapter,
            self.connection,
            self.topics,
            self.refused,
            origin=self._settings.origins.get(self._adapter.exchange.value),
            covered_since_ms=covered_since_ms,
            on_frame=self._on_frame,
            on_state=on_state,
        )
        self._sessions[session] = session.start()
        return session

    async def _renewal_due(self, failures: int) -> None:
        """Return when the connection is to be replaced; after failures not before a wait."""
        if failures:
            await asyncio.sleep(self._settings.backoff_ms_max / 1_000 * random.uniform(0.5, 1.0))
            return
        roll_ms = self._adapter.roll_ms
        seconds = None if roll_ms is None else roll_ms / 1_000 * random.uniform(1 - ROLL_JITTER, 1.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._renewal.wait()

    def _backoff_ms(self) -> float:
        settings, doublings = self._settings, min(self._attempts, BACKOFF_DOUBLINGS_MAX)
        return random.uniform(0, min(settings.backoff_ms_max, settings.backoff_ms_base * 2**doublings))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
