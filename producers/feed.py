"""The only websocket loop: one connection to one exchange, for ever, through every fault from outside.

Whatever ends a connection (cut, refused, silent, a frame that is too large), the next one is tried after a wait with
exponential backoff and full jitter."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from producers import metrics
from producers.exchange import FRAME_BYTES_MAX, Connection, Control, ControlKind, ExchangeAdapter
from producers.settings import ProducersSection
from schemas.errors import FeedUnavailable
from schemas.words import FeedState

OPEN_TIMEOUT_S: Final = 10.0  # three times a slow TLS handshake across the world
CLOSE_TIMEOUT_S: Final = 1.5  # the stage has 5 s to end
ACK_TIMEOUT_S: Final = 10.0
PING_INTERVAL_S: Final = 20.0  # protocol pings; with the timeout, a dead peer is noticed within 40 s
PING_TIMEOUT_S: Final = 20.0
RECEIVE_QUEUE_MAX: Final = 64  # frames; above it the library stops reading, so back-pressure reaches the exchange
BACKOFF_DOUBLINGS_MAX: Final = 16  # 2^16 times the base is above every limit that the settings allow

OnFrame = Callable[[bytes, int, int], Awaitable[None]]  # frame, received_time_us, subscribed_time_ms
OnState = Callable[[FeedState, str], Awaitable[None]]


class Feed:
    """One connection with its topics. `run` ends only after `stop`, or with an error of a callback.

    `on_frame` gets every data frame, `on_state` CONNECTED, SUBSCRIBED, LIVE and RECONNECTING with the reason."""

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
        self._origin = settings.origins.get(adapter.exchange.value)
        self._url = connection.url(self._origin)
        self._log = structlog.get_logger().bind(exchange=adapter.exchange.value)
        self._stopped = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._running: asyncio.Task[None] | None = None
        self._attempts = 0
        self._acks_pending = 0
        self._live = False
        self._subscribed_time_ms = 0
        self._next_beat = self._answer_deadline = self._ack_deadline = float("inf")

    async def run(self) -> None:
        """Connect and receive until `stop`."""
        self._running = asyncio.current_task()
        try:
            await self._run()
        except asyncio.CancelledError:
            if not self._stopped.is_set():
                raise

    async def _run(self) -> None:
        while not self._stopped.is_set():
            start = time.monotonic()
            try:
                await self._session()
                reason = "the connection was closed"
            except (OSError, WebSocketException, FeedUnavailable) as exc:
                reason = str(exc) or type(exc).__name__
            if self._stopped.is_set():
                return
            if (time.monotonic() - start) * 1_000 >= self._settings.stable_ms:
                self._attempts = 0
            wait_ms = self._backoff_ms()
            self._attempts += 1
            metrics.RECONNECTS.labels(self._adapter.exchange.value).inc()
            self._log.warning("reconnecting", url=self._url, reason=reason[:500], wait_ms=round(wait_ms))
            await self._on_state(FeedState.RECONNECTING, reason[:500])
            await self._pause(wait_ms / 1_000)

    async def stop(self) -> None:
        """End the connection; frames that had arrived are still handed over before `run` returns."""
        self._stopped.set()
        if self._socket is not None:
            await self._socket.close()
        elif self._running is not None:
            self._running.cancel()  # it waits for a connection, or between two of them: there is nothing to hand over

    async def add(self, topics: Sequence[str]) -> None:
        """Subscribe to more topics, or again to refused ones, on the open connection and on every later one."""
        self.topics += [topic for topic in topics if topic not in self.refused]
        self.refused.difference_update(topics)
        if self._socket is not None:
            with contextlib.suppress(ConnectionClosed):  # the next connection subscribes to all of them
                await self._subscribe(self._socket, topics)

    async def _session(self) -> None:
        async with connect(
            self._url,
            max_size=FRAME_BYTES_MAX,
            max_queue=RECEIVE_QUEUE_MAX,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            additional_headers=self.connection.headers,
            proxy=None if self._origin else True,  # an origin of one's own is reached directly
        ) as connection:
            if self._stopped.is_set():
                return
            self._socket, self._live, self._acks_pending = connection, False, 0
            self._answer_deadline = float("inf")
            heartbeat = self.connection.heartbeat
            self._next_beat = time.monotonic() + heartbeat.interval_ms / 1_000 if heartbeat else float("inf")
            try:
                await self._on_state(FeedState.CONNECTED, self._url)
                self._subscribed_time_ms = time.time_ns() // 1_000_000
                await self._subscribe(connection, [topic for topic in self.topics if topic not in self.refused])
                await self._receive(connection)
            finally:
                self._socket = None

    async def _subscribe(self, connection: ClientConnection, topics: Sequence[str]) -> None:
        self._ack_deadline = time.monotonic() + ACK_TIMEOUT_S
        for subscription in self.connection.subscribe(topics):
            self._acks_pending += subscription.acks
            await connection.send(subscription.frame)

    async def _receive(self, connection: ClientConnection) -> None:
        """Hand frames over until the connection ends. Deadlines are judged only when nothing is there to read, so
        a feed that had to wait for the broker is not taken for a silent one."""
        while True:
            await self._beat(connection)
            try:
                async with asyncio.timeout(self._seconds_to_next()):
                    frame = await connection.recv(decode=False)
            except TimeoutError:
                self._judge_deadlines()
                continue
            except ConnectionClosed as exc:
                if self._stopped.is_set():
                    return
                raise FeedUnavailable(f"receiving from {self._url}: {exc}") from exc
            received_time_us = time.time_ns() // 1_000
            metrics.FRAMES.labels(self._adapter.exchange.value).inc()
            self._answer_deadline = float("inf")
            control = self._adapter.control(frame)
            if control is not None:
                await self._take(control)
                continue
            await self._on_frame(frame, received_time_us, self._subscribed_time_ms)
            if not self._live and self._acks_pending == 0:
                self._live = True
                await self._on_state(FeedState.LIVE, "")

    async def _take(self, control: Control) -> None:
        if control.kind is ControlKind.ACK and self._acks_pending:
            self._acks_pending -= 1
            if self._acks_pending == 0:
                self._ack_deadline = float("inf")
                if not self._live:
                    refused = f"; refused: {', '.join(sorted(self.refused))}"[:500] if self.refused else ""
                    await self._on_state(
                        FeedState.SUBSCRIBED, f"topics: {len(self.topics) - len(self.refused)}{refused}"
                    )
        elif control.kind is ControlKind.REFUSED:
            metrics.REFUSED_SUBSCRIPTIONS.labels(self._adapter.exchange.value).inc()
            if control.topic in self.topics:
                self.refused.add(control.topic)  # the next connection goes without it
            raise FeedUnavailable(f"subscribing at {self._url}: the exchange refused: {control.detail}")
        elif control.kind is ControlKind.RECONNECT:
            raise FeedUnavailable(f"receiving from {self._url}: the exchange announced a cut: {control.detail}")

    async def _beat(self, connection: ClientConnection) -> None:
        heartbeat, now = self.connection.heartbeat, time.monotonic()
        if heartbeat is not None and now >= self._next_beat:
            self._next_beat = now + heartbeat.interval_ms / 1_000
            self._answer_deadline = min(self._answer_deadline, now + heartbeat.answer_ms_max / 1_000)
            with contextlib.suppress(ConnectionClosed):  # what had arrived is still to be received, then recv says so
                await connection.send(heartbeat.frame)

    def _seconds_to_next(self) -> float | None:
        deadline = min(self._next_beat, self._answer_deadline, self._ack_deadline)
        return None if deadline == float("inf") else max(0.0, deadline - time.monotonic())

    def _judge_deadlines(self) -> None:
        now = time.monotonic()
        if now >= self._ack_deadline:
            raise FeedUnavailable(
                f"subscribing at {self._url}: {self._acks_pending} requests were not answered in {ACK_TIMEOUT_S:g} s"
            )
        if now >= self._answer_deadline:
            raise FeedUnavailable(f"receiving from {self._url}: the heartbeat was not answered")

    def _backoff_ms(self) -> float:
        settings, doublings = self._settings, min(self._attempts, BACKOFF_DOUBLINGS_MAX)
        return random.uniform(0, min(settings.backoff_ms_max, settings.backoff_ms_base * 2**doublings))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
