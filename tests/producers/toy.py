"""A toy exchange: the smallest protocol that has everything a feed deals with, and a real websocket server of it.

Subscribe by "+a,b", acked by "ok", refused by "no <topic>"; heartbeat "ping", answered "pong"; all else is data."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from producers.exchange import (
    LIQUIDATION,
    Budget,
    Connection,
    Control,
    ControlKind,
    ExchangeAdapter,
    Heartbeat,
    Subscription,
)
from producers.instruments import Instrument, Instruments, Rule
from schemas.errors import FrameRefused
from schemas.records import Liquidation
from schemas.words import Exchange

DEADLINE_S = 20.0


def control(frame: bytes) -> Control | None:
    if frame == b"ok":
        return Control(ControlKind.ACK)
    if frame == b"pong":
        return Control(ControlKind.PONG)
    if frame == b"bye":
        return Control(ControlKind.RECONNECT, "maintenance")
    if frame.startswith(b"no"):
        return Control(ControlKind.REFUSED, frame.decode(), frame[3:].decode() or None)
    return None


def subscribe(topics: Sequence[str]) -> list[Subscription]:
    return [Subscription("+" + ",".join(topics), acks=1)]


def refuse(frame: bytes, *, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
    raise FrameRefused("decoding toy: the toy decodes nothing")


def adapter(
    *,
    heartbeat: Heartbeat | None = None,
    topics: Callable[[Iterable[Instrument]], list[str]] = lambda _: ["a"],
    pulse_ms_max: int | None = None,
    roll_ms: int | None = None,
) -> ExchangeAdapter:
    rule: Rule = lambda symbol: None  # noqa: E731
    return ExchangeAdapter(
        exchange=Exchange.GATE,
        connections=(
            Connection(
                origin="wss://toy.invalid",
                path="/feed",
                topics=topics,
                subscribe=subscribe,
                heartbeat=heartbeat,
                pulse=None if pulse_ms_max is None else "pulse",
                pulse_ms_max=pulse_ms_max or 0,
            ),
        ),
        budget=Budget(weight_max=100, window_ms=1_000),
        control=control,
        decoders={LIQUIDATION: refuse},
        instrument_rule=rule,
        instrument_sources=(),
        roll_ms=roll_ms,
    )


class ToyServer:
    """Answers as `answer` says and keeps what it was sent; `connections` are numbered from 1."""

    def __init__(self) -> None:
        self.received: list[list[str]] = []
        self.open: list[ServerConnection] = []
        self.refused: set[str] = set()
        self.acks = True
        self.pongs = True
        self.port = 0
        self._server: Server | None = None
        self._changed = asyncio.Condition()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await serve(self._serve, "127.0.0.1", self.port, close_timeout=0.1)
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(condition)

    async def cut(self) -> None:
        """Drop the newest connection without a word, as a dying network does."""
        self.open[-1].transport.abort()

    async def send(self, *texts: str) -> None:
        for text in texts:
            await self.open[-1].send(text)

    async def _serve(self, connection: ServerConnection) -> None:
        number = len(self.received)
        self.received.append([])
        self.open.append(connection)
        try:
            async for message in connection:
                text = str(message)
                self.received[number].append(text)
                await self._answer(connection, text)
                async with self._changed:
                    self._changed.notify_all()
        except ConnectionClosed:
            pass

    async def _answer(self, connection: ServerConnection, text: str) -> None:
        if text == "ping" and self.pongs:
            await connection.send("pong")
        elif text.startswith("+") and (refused := self.refused.intersection(text[1:].split(","))):
            await connection.send(f"no {min(refused)}")
        elif text.startswith("+") and self.acks:
            await connection.send("ok")


@asynccontextmanager
async def toy_server() -> AsyncIterator[ToyServer]:
    server = ToyServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
