"""One websocket connection from its opening to its end: subscriptions, heartbeats, deadlines, frames."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from producers import metrics
from producers.exchange import FRAME_BYTES_MAX, Connection, Control, ControlKind, ExchangeAdapter
from producers.watchdog import Watchdog
from runtime.clock import wall_clock_ms
from schemas.errors import FeedUnavailable
from schemas.words import FeedState

OPEN_TIMEOUT_S: Final = 10.0  # three times a slow TLS handshake across the world
CLOSE_TIMEOUT_S: Final = 1.5  # the stage has 5 s to end
RECEIVE_QUEUE_MAX: Final = 64  # frames; above it the library stops reading, so back-pressure reaches the exchange

OnFrame = Callable[[bytes, int, int], Awaitable[None]]  # frame, received_time_us, subscribed_time_ms
OnState = Callable[[FeedState, str], Awaitable[None]]


class Session:
    """`run` ends with the reason why the connection ended, or with an error of a callback.

    `refused`: topics that the exchange refused, shared with the sessions after this one. `subscribed`: set once all
    requests have been acknowledged. `busy`: a frame is being handed over, which may have to wait for the broker."""

    def __init__(
        self,
        adapter: ExchangeAdapter,
        connection: Connection,
        topics: Sequence[str],
        refused: set[str],
        *,
        origin: str | None,
        covered_since_ms: int | None,
        on_frame: OnFrame,
        on_state: OnState,
    ) -> None:
        self._adapter, self._address = adapter, connection
        self._topics, self._refused = topics, refused
        self._origin, self._on_frame, self._on_state = origin, on_frame, on_state
        self.url = connection.url(origin)
        self.subscribed = asyncio.Event()
        self.covered_since_ms = covered_since_ms
        self.last_frame_ms: int | None = None
        self.busy = False
        self._exchange = adapter.exchange.value
        self._stopped = False
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[str] | None = None
        self._watchdog: Watchdog | None = None
        self._verdict = ""

    def start(self) -> "asyncio.Task[str]":
        """Run as a task of its own."""
        self._task = asyncio.create_task(self.run())
        return self._task

    async def run(self) -> str:
        """Connect and receive; the reason of the end."""
        try:
            async with connect(
                self.url,
                max_size=FRAME_BYTES_MAX,
                max_queue=RECEIVE_QUEUE_MAX,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=None,  # the watchdog's: a pong behind unread frames is not late
                compression=None,  # inflating a frame of 300 bytes costs 6 µs, as much as receiving it
                additional_headers=self._address.headers,
                proxy=None if self._origin else True,  # an origin of one's own is reached directly
            ) as socket:
                if not self._stopped:
                    await self._hold(socket)
        except (OSError, WebSocketException, FeedUnavailable) as exc:
            return str(exc) or type(exc).__name__
        except asyncio.CancelledError:
            if not self._stopped:
                raise
        return "the connection was closed"

    async def close(self) -> None:
        """End the connection; frames that had arrived are still handed over before `run` returns."""
        self._stopped = True
        if self._socket is not None:
            await self._socket.close()
        elif self._task is not None:
            self._task.cancel()  # it waits for a connection: there is nothing to hand over

    async def subscribe(self, topics: Sequence[str]) -> None:
        """Send the requests for these topics; nothing when there is no connection."""
        if self._socket is None or self._watchdog is None:
            return
        with contextlib.suppress(ConnectionClosed):  # the next connection subscribes to all of them
            for subscription in self._address.subscribe(topics):
                self._watchdog.expect_acks(subscription.acks)
                await self._socket.send(subscription.at(int(time.time())))

    async def _hold(self, socket: ClientConnection) -> None:
        watchdog = Watchdog(self._address, self.url, metrics.FRAMES.labels(self._exchange).inc)
        self._socket, self._watchdog = socket, watchdog
        watching = asyncio.create_task(self._watch(socket, watchdog))
        try:
            await self._on_state(FeedState.CONNECTED, self.url)
            if self.covered_since_ms is None:
                self.covered_since_ms = wall_clock_ms()
            await self.subscribe([topic for topic in self._topics if topic not in self._refused])
            await self._receive(socket, watchdog, self.covered_since_ms)
        finally:
            self._socket = self._watchdog = None
            watchdog.see()
            watching.cancel()
            await asyncio.wait((watching,))
            if not watching.cancelled() and (error := watching.exception()) is not None:
                raise error

    async def _watch(self, socket: ClientConnection, watchdog: Watchdog) -> None:
        """End the connection when it misses a deadline."""
        try:
            self._verdict, is_stale = await watchdog.run(socket)
            if is_stale:
                await self._on_state(FeedState.STALE, self._verdict)
        finally:
            await socket.close()

    async def _receive(self, socket: ClientConnection, watchdog: Watchdog, covered_since_ms: int) -> None:
        """Hand frames over until the connection ends."""
        control_of, on_frame, receive = self._adapter.control, self._on_frame, socket.recv
        pulse = self._address.pulse is not None
        while True:
            watchdog.waiting = True
            try:
                frame = await receive(decode=False)
            except ConnectionClosed as exc:
                if self._stopped:
                    return
                raise FeedUnavailable(self._verdict or f"receiving from {self.url}: {exc}") from exc
            watchdog.waiting = False
            watchdog.frames += 1
            received_time_us = time.time_ns() // 1_000
            control = control_of(frame)
            if control is None or not pulse:  # where a pulse is due, a pong does not tell that data come
                self.last_frame_ms = received_time_us // 1_000
            if control is not None:
                await self._take(control, watchdog)
                continue
            watchdog.data += 1
            self.busy = True
            await on_frame(frame, received_time_us, covered_since_ms)
            self.busy = False

    async def _take(self, control: Control, watchdog: Watchdog) -> None:
        if control.kind is ControlKind.ACK:
            if watchdog.acknowledged() and not self.subscribed.is_set():
                self.subscribed.set()
                refused = f"; refused: {', '.join(sorted(self._refused))}"[:500] if self._refused else ""
                count = sum(topic not in self._refused for topic in self._topics)
                await self._on_state(FeedState.SUBSCRIBED, f"topics: {count}{refused}")
        elif control.kind is ControlKind.REFUSED:
            metrics.REFUSED_SUBSCRIPTIONS.labels(self._exchange).inc()
            if control.topic is not None and control.topic in self._topics:
                self._refused.add(control.topic)  # the next connection goes without it
            raise FeedUnavailable(f"subscribing at {self.url}: the exchange refused: {control.detail}")
        elif control.kind is ControlKind.RECONNECT:
            raise FeedUnavailable(f"receiving from {self.url}: the exchange announced a cut: {control.detail}")
