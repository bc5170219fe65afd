"""What one websocket connection owes: heartbeats that we send, and the deadlines by which a dead one is known."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from producers.exchange import Connection

ACK_TIMEOUT_S: Final = 10.0
PING_INTERVAL_S: Final = 20.0  # protocol pings; with the timeout, a dead peer is noticed within 40 s
PING_TIMEOUT_S: Final = 20.0
LOOK_S_MAX: Final = 0.25  # from one look to the next: a timer a frame would cost as much as receiving it
LOOK_S_MIN: Final = 0.02  # a missed deadline is looked at again so much later: what had arrived has been read by then
NEVER: Final = float("inf")


class Watchdog:
    """One timer for a connection. Who receives sets `waiting` while there is nothing to read, and counts `frames` (all)
    and `data` (what is no answer to us); deadlines are judged only while nothing is there to read, so that a feed that
    had to wait for the broker is not taken for a silent one. `counted` gets the number of new frames at each look."""

    def __init__(self, address: Connection, url: str, counted: Callable[[int], None]) -> None:
        self.waiting = False
        self.frames = self.data = 0
        self._address, self._url, self._counted = address, url, counted
        now = time.monotonic()
        self._next_beat = now + address.heartbeat.interval_ms / 1_000 if address.heartbeat else NEVER
        self._next_ping = now + PING_INTERVAL_S
        self._answer_deadline = self._pong_deadline = self._ack_deadline = self._pulse_deadline = NEVER
        self._acks_pending = 0
        self._frames_seen = self._data_seen = 0

    def expect_acks(self, count: int) -> None:
        """A request was sent that so many acks answer."""
        self._acks_pending += count
        self._ack_deadline = time.monotonic() + ACK_TIMEOUT_S

    def acknowledged(self) -> bool:
        """An ack came; True when it was the last one that was due."""
        if not self._acks_pending:
            return False
        self._acks_pending -= 1
        if self._acks_pending:
            return False
        self._ack_deadline = NEVER
        self._expect_pulse()
        return True

    async def run(self, socket: ClientConnection) -> tuple[str, bool]:
        """Send heartbeats until a deadline was missed: why the connection has to end, and whether its pulse stopped."""
        suspected: tuple[str, bool] | None = None
        while True:
            self.see()
            with contextlib.suppress(ConnectionClosed):  # what had arrived is still to be received, then that says so
                await self._beat(socket)
            verdict = self._verdict() if self.waiting else None
            if verdict is not None and verdict == suspected:
                return verdict
            suspected = verdict
            await asyncio.sleep(LOOK_S_MIN if suspected else self._seconds_to_next())

    async def _beat(self, socket: ClientConnection) -> None:
        heartbeat, now = self._address.heartbeat, time.monotonic()
        if heartbeat is not None and now >= self._next_beat:
            self._next_beat = now + heartbeat.interval_ms / 1_000
            self._answer_deadline = min(self._answer_deadline, now + heartbeat.answer_ms_max / 1_000)
            await socket.send(heartbeat.frame)
        if now >= self._next_ping:
            self._next_ping = now + PING_INTERVAL_S
            self._pong_deadline = min(self._pong_deadline, now + PING_TIMEOUT_S)
            asyncio.ensure_future(await socket.ping()).add_done_callback(self._ponged)

    def _ponged(self, pong: "asyncio.Future[float]") -> None:
        if not pong.cancelled() and pong.exception() is None:
            self._pong_deadline = NEVER

    def see(self) -> None:
        """What has come since the last look is counted, and moves the deadlines."""
        if self.frames != self._frames_seen:
            self._counted(self.frames - self._frames_seen)
            self._answer_deadline = self._pong_deadline = NEVER
        if self.data != self._data_seen and self._pulse_deadline != NEVER:
            self._expect_pulse()
        self._frames_seen, self._data_seen = self.frames, self.data

    def _expect_pulse(self) -> None:
        if self._address.pulse is not None:
            self._pulse_deadline = time.monotonic() + self._address.pulse_ms_max / 1_000

    def _seconds_to_next(self) -> float:
        deadlines = self._answer_deadline, self._pong_deadline, self._ack_deadline, self._pulse_deadline
        due = min(self._next_beat, self._next_ping, *deadlines) - time.monotonic()
        return min(LOOK_S_MAX, max(LOOK_S_MIN, due))

    def _verdict(self) -> tuple[str, bool] | None:
        now, url = time.monotonic(), self._url
        if now >= self._ack_deadline:
            return (
                f"subscribing at {url}: {self._acks_pending} requests were not answered in {ACK_TIMEOUT_S:g} s",
                False,
            )
        if now >= self._answer_deadline:
            return f"receiving from {url}: the heartbeat was not answered", False
        if now >= self._pong_deadline:
            return f"receiving from {url}: a ping was not answered in {PING_TIMEOUT_S:g} s", False
        if now >= self._pulse_deadline:
            address = self._address
            seconds = f"{address.pulse_ms_max / 1_000:g} s"
            return f"receiving from {url}: nothing came for {seconds}, not even {address.pulse}", True
        return None
