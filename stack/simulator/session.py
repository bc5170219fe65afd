"""One client's websocket: its messages are answered, its limits kept, its frames sent. No word of any one exchange."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

from runtime.clock import wall_clock_ms
from stack.simulator.exchange import Client, SimulatedExchange

MESSAGE_BYTES_MAX: Final = 131_072  # a client's; twice the largest that any of the exchanges accepts
TEXT, CONTINUATION, FINAL = 0x1, 0x0, 0x80  # first byte of a frame, RFC 6455 section 5.2
CLOSE_S_MAX: Final = 2.0  # for the client's side of the closing handshake
SEND_S_MAX: Final = 5.0  # a client that takes in nothing for that long is cut, as exchanges do


class Session:
    """`run` serves the socket until it ends; `send` and `cut` may be called meanwhile.

    on_subscribe is awaited after the acknowledgement has gone out and the channels are in force."""

    def __init__(
        self,
        exchange: SimulatedExchange,
        client: Client,
        on_subscribe: Callable[["Session", frozenset[str]], Awaitable[None]],
    ) -> None:
        self.exchange, self.client = exchange, client
        self._on_subscribe = on_subscribe
        self._socket = web.WebSocketResponse(
            autoping=False, compress=False, max_msg_size=MESSAGE_BYTES_MAX, timeout=CLOSE_S_MAX
        )
        self._alive_s = time.monotonic()
        self._message_times_s: deque[float] = deque(maxlen=exchange.messages_per_s_max or 0)
        self._open, self._breaking = False, False
        self._ponged = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    async def run(self, request: web.Request) -> web.WebSocketResponse:
        """Upgrade the request, then read until either side ends it."""
        await self._socket.prepare(request)
        self._transport = request.transport
        self._open, self._alive_s = True, time.monotonic()
        watch = asyncio.create_task(self._watch())
        try:
            if self.client.channels:
                await self._on_subscribe(self, frozenset(self.client.channels))
            while self._open:
                message = await self._socket.receive()
                if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                    break
                await self._read(message.type, message.data)
        except ConnectionError:
            pass  # the client is gone: that is its right
        finally:
            self._open = False
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        return self._socket

    async def send(self, text: str, *, fragmented: bool = False) -> bool:
        """Hand one text to the socket, in two fragments if so wanted; False when it is not open any more."""
        if not self._open or self._breaking or self._socket.closed:
            return False
        try:
            async with asyncio.timeout(SEND_S_MAX):
                await self._write(text, fragmented)
        except ConnectionError:
            self._open = False
            return False
        except TimeoutError:  # the text is in the socket's buffer, before the close: the client may still read it
            await self.cut(WSCloseCode.POLICY_VIOLATION, "slow consumer")
        self._show_life("push")
        return True

    async def send_all(self, texts: list[str], *, fragmented: bool = False) -> int:
        """Hand over one text after the other; how many were."""
        return sum([await self.send(text, fragmented=fragmented) for text in texts])

    async def break_off(self) -> None:
        """End without a word, once the client has read what was sent (it answers a ping): the account stays exact."""
        self._breaking = True
        self._ponged.clear()
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(CLOSE_S_MAX):
                await self._socket.ping(b"last")
                await self._ponged.wait()
        if self._transport is not None:
            self._transport.abort()

    async def cut(self, code: WSCloseCode = WSCloseCode.GOING_AWAY, reason: str = "") -> None:
        """Close cleanly: the client reads what was sent before, then the close. Nothing is sent from here on."""
        if not self._open:
            return
        self._open = False
        with contextlib.suppress(ConnectionError):
            await self._socket.close(code=code, message=reason.encode(), drain=False)

    async def _read(self, kind: WSMsgType, data: str | bytes | bytearray) -> None:
        if kind is WSMsgType.PING and not isinstance(data, str):
            await self._socket.pong(bytes(data))
        elif kind is WSMsgType.PONG:
            self._ponged.set()
            self._show_life("pong")
        elif kind is WSMsgType.TEXT and isinstance(data, str):
            if self._too_many():
                await self.cut(WSCloseCode.POLICY_VIOLATION, "Too many requests")
                return
            self._show_life("text")
            await self._answer(data)

    async def _write(self, text: str, fragmented: bool) -> None:
        data = text.encode()
        if not fragmented or self._transport is None or len(data) < 2:
            await self._socket.send_str(text)
            return
        middle = len(data) // 2  # in the middle of a character, too: the parts need not be texts by themselves
        self._transport.write(_frame(TEXT, data[:middle]) + _frame(CONTINUATION | FINAL, data[middle:]))

    async def _answer(self, text: str) -> None:
        reply = self.exchange.answer(text, self.client)
        for answer in reply.texts:
            await self._socket.send_str(answer)
        self.client.channels |= reply.subscribe
        self.client.channels -= reply.unsubscribe
        if reply.subscribe:
            await self._on_subscribe(self, reply.subscribe)

    def _too_many(self) -> bool:
        """More messages in one second than the exchange allows."""
        times_s, now_s = self._message_times_s, time.monotonic()
        full = bool(times_s.maxlen) and len(times_s) == times_s.maxlen and now_s - times_s[0] < 1.0
        times_s.append(now_s)
        return full

    def _show_life(self, sign: str) -> None:
        if sign in self.exchange.kept_alive_by:
            self._alive_s = time.monotonic()

    async def _watch(self) -> None:
        """Send the exchange's ping frames; cut a client that has shown no life for too long."""
        interval_s = self.exchange.ping_interval_s
        next_ping_s = time.monotonic() + interval_s if interval_s else float("inf")
        while self._open:
            idle_end_s = self._alive_s + self.exchange.idle_s_max
            now_s = time.monotonic()
            if now_s >= idle_end_s:
                await self.cut(WSCloseCode.POLICY_VIOLATION, "no sign of life")
                return
            if now_s >= next_ping_s and interval_s:
                with contextlib.suppress(ConnectionError):
                    await self._socket.ping(str(wall_clock_ms()).encode())
                next_ping_s += interval_s
            await asyncio.sleep(min(next_ping_s, idle_end_s) - now_s)


def _frame(first: int, data: bytes) -> bytes:
    """A frame of a server, unmasked, RFC 6455 section 5.2."""
    size = len(data)
    if size < 126:
        return bytes((first, size)) + data
    if size < 65_536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + data
    return bytes((first, 127)) + size.to_bytes(8, "big") + data
