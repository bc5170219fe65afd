"""The simulator: one HTTP server on loopback that is all exchanges at once, and its control under /simulator.

The origin of an exchange is `http://127.0.0.1:PORT/<exchange>`; behind it stand the exchange's real paths, websocket
and REST alike. Control: GET status, GET sent (JSON lines), POST play, POST pause,
POST drop?exchange=NAME."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from aiohttp import web

from schemas.errors import StackError
from stack.simulator import frames as captured_frames
from stack.simulator import scenarios
from stack.simulator.account import Account
from stack.simulator.binance import Binance
from stack.simulator.bybit import Bybit
from stack.simulator.exchange import Client, Push, SimulatedExchange
from stack.simulator.okx import Okx
from stack.simulator.player import Clock, play_frames, play_scenario
from stack.simulator.session import Session

LOOPBACK: Final = "127.0.0.1"
SUBSCRIBERS_WAIT_S_MAX: Final = 120.0  # then the play begins without them, and what they miss is withheld
SHUTDOWN_S_MAX: Final = 2.0
SENT_FLUSH_LINES: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """What to play. frames: a folder of captured frames, played instead of the scenario.

    repeat: the scenario again and again. wait_for_subscribers: begin when every exchange has one; otherwise, and before
    that, only when told to. okx_backlog: a new subscriber gets the exchange's last frame again, as OKX has been seen
    to do."""

    scenario: str = "cascade"
    seed: int = 7
    frames: Path | None = None
    repeat: bool = False
    wait_for_subscribers: bool = True
    okx_backlog: bool = False


def _usual(options: SimulatorOptions) -> tuple[SimulatedExchange, ...]:
    return Binance(), Bybit(), Okx(backlog=options.okx_backlog)


class Simulator:
    """`start` binds and returns the origins, `stop` ends everything; between them, one scenario is played once."""

    def __init__(self, options: SimulatorOptions, exchanges: Iterable[SimulatedExchange] = ()) -> None:
        """exchanges: in place of the usual ones. Raises SettingsError when the scenario or the frames do not fit."""
        self._options = options
        self.exchanges = {exchange.name: exchange for exchange in exchanges or _usual(options)}
        self.account = Account(self.exchanges)
        self._frames = captured_frames.load(options.frames, self.exchanges.values()) if options.frames else None
        self._liquidations = scenarios.liquidations(options.scenario, seed=options.seed, repeat=options.repeat)
        self._sessions: dict[str, set[Session]] = {name: set() for name in self.exchanges}
        self._last_push: dict[str, Push] = {}
        self._changed = asyncio.Condition()  # who is subscribed, or what is under way
        self._paused, self._under_way = False, 0
        self._told_to_play = asyncio.Event()
        self._clock: Clock | None = None  # from the moment on when the play began
        self._runner: web.AppRunner | None = None
        self._play_task: asyncio.Task[None] | None = None
        self.control = ""

    async def start(self, port: int = 0) -> dict[str, str]:
        """Bind to loopback; origin by exchange. Raises StackError when the port is taken."""
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=SHUTDOWN_S_MAX)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, LOOPBACK, port).start()
        except OSError as exc:
            await self._runner.cleanup()
            raise StackError(f"simulator: cannot listen on {LOOPBACK}:{port}: {exc}; choose another port or 0") from exc
        base = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"
        self.control = f"{base}/simulator"
        self._play_task = asyncio.create_task(self._play())
        return {name: f"{base}/{name}" for name in self.exchanges}

    async def stop(self) -> None:
        """Close every client's socket cleanly and end; raises what went wrong in the play."""
        if self._play_task is not None:
            self._play_task.cancel()
            await asyncio.wait([self._play_task])
        await asyncio.gather(*map(self.drop, self.exchanges))
        if self._runner is not None:
            await self._runner.cleanup()
        if self._play_task is not None and not self._play_task.cancelled():
            self._play_task.result()

    async def played(self) -> None:
        """Wait until all has been played (never, for an endless scenario); raises what went wrong in it."""
        assert self._play_task is not None, "start() first"
        await asyncio.shield(self._play_task)

    def play(self) -> None:
        """Begin now, whoever is there; does nothing when it has begun."""
        self._told_to_play.set()

    async def pause(self) -> None:
        """Deliver nothing from now on; returns when what was under way has gone out and is in the account."""
        self._paused = True
        await self._until(lambda: self._under_way == 0)

    async def drop(self, exchange: str) -> int:
        """Close that exchange's sockets cleanly; how many there were. What happens until they return is withheld."""
        sessions, self._sessions[exchange] = self._sessions[exchange], set()
        await asyncio.gather(*(session.cut(reason="dropped") for session in sessions))
        return len(sessions)

    def status(self) -> dict[str, Any]:
        """Figures of the play so far. sent: rows by exchange; unshown: rows that an exchange's own rule holds back."""
        return {
            "scenario": "frames" if self._frames is not None else self._options.scenario,
            "seed": self._options.seed,
            "elapsed_s": self._clock.elapsed_ms / 1000 if self._clock else 0.0,
            "playing": self._clock is not None,
            "done": self._clock is not None and self._play_task is not None and self._play_task.done(),
            "subscribers": {name: len(self._subscribers(name)) for name in self.exchanges},
            "unshown": {name: exchange.unshown_rows for name, exchange in self.exchanges.items()},
            **self.account.figures(),
        }

    async def _play(self) -> None:
        await self._begin()
        self._clock = Clock()
        if self._frames is not None:
            await play_frames(self._frames, self.exchanges, self._deliver, self._wanted)
        else:
            await play_scenario(self._liquidations, self.exchanges, self._clock, self._deliver)

    async def _begin(self) -> None:
        """Return when it is time to play."""
        if not self._options.wait_for_subscribers:
            await self._told_to_play.wait()
            return
        told = asyncio.create_task(self._told_to_play.wait())
        there = asyncio.create_task(self._until(lambda: all(map(self._subscribers, self.exchanges))))
        try:
            done, _ = await asyncio.wait(
                (told, there), timeout=SUBSCRIBERS_WAIT_S_MAX, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            told.cancel()
            there.cancel()
        if not done:
            missing = [name for name in self.exchanges if not self._subscribers(name)]
            structlog.get_logger().warning("playing without subscribers", exchanges=missing)

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(holds)

    def _subscribers(self, exchange: str) -> list[Session]:
        return [session for session in self._sessions[exchange] if session.client.channels]

    async def _wanted(self, exchange: SimulatedExchange, push: Push) -> None:
        sessions = self._sessions
        await self._until(lambda: any(exchange.texts(push, session.client) for session in sessions[exchange.name]))

    async def _deliver(self, exchange: SimulatedExchange, push: Push) -> None:
        if self._paused:
            return
        self._last_push[exchange.name] = push
        self._under_way += 1
        try:
            frames = 0
            for session in tuple(self._sessions[exchange.name]):
                frames += await session.send_all(exchange.texts(push, session.client))
            self.account.delivered(exchange.name, push, frames=frames)
        finally:
            self._under_way -= 1
            async with self._changed:
                self._changed.notify_all()

    async def _on_subscribe(self, session: Session, channels: frozenset[str]) -> None:
        async with self._changed:
            self._changed.notify_all()
        exchange, client = session.exchange, Client(session.client.path, set(channels))
        last = self._last_push.get(exchange.name)
        if exchange.repeats_last_push and last is not None:
            frames = await session.send_all(exchange.texts(last, client))
            self.account.delivered(exchange.name, last, frames=frames, again=True)

    def _app(self) -> web.Application:
        app = web.Application()
        for exchange in self.exchanges.values():
            for path in exchange.websocket_paths:
                app.router.add_get(f"/{exchange.name}{path}", self._websocket_handler(exchange))
            for path in exchange.rest_paths:
                app.router.add_get(f"/{exchange.name}{path}", self._rest_handler(exchange))
        app.router.add_get("/simulator/status", self._get_status)
        app.router.add_get("/simulator/sent", self._get_sent)
        app.router.add_post("/simulator/play", self._post_play)
        app.router.add_post("/simulator/pause", self._post_pause)
        app.router.add_post("/simulator/drop", self._post_drop)
        return app

    def _websocket_handler(self, exchange: SimulatedExchange) -> Any:
        async def handle(request: web.Request) -> web.WebSocketResponse:
            path = exchange.path_of(request.path)
            client = Client(path, set(exchange.channels_in_address(path, request.query)))
            session = Session(exchange, client, self._on_subscribe)
            self._sessions[exchange.name].add(session)
            try:
                return await session.run(request)
            finally:
                self._sessions[exchange.name].discard(session)

        return handle

    def _rest_handler(self, exchange: SimulatedExchange) -> Any:
        async def handle(request: web.Request) -> web.Response:
            clock = self._clock or Clock()
            status, body = exchange.rest(exchange.path_of(request.path), request.query, clock.now_ms)
            return web.json_response(body, status=status)

        return handle

    async def _get_status(self, _: web.Request) -> web.Response:
        return web.json_response(self.status())

    async def _get_sent(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        lines: list[str] = []
        for line in self.account.json_lines():
            lines.append(line)
            if len(lines) == SENT_FLUSH_LINES:
                await response.write("".join(lines).encode())
                lines = []
        await response.write("".join(lines).encode())
        return response

    async def _post_play(self, _: web.Request) -> web.Response:
        self.play()
        return web.json_response(self.status())

    async def _post_pause(self, _: web.Request) -> web.Response:
        await self.pause()
        return web.json_response(self.status())

    async def _post_drop(self, request: web.Request) -> web.Response:
        name = request.query.get("exchange", "")
        if name not in self.exchanges:
            known = ", ".join(self.exchanges)
            return web.json_response({"error": f"exchange: {name!r} is unknown; choose one of {known}"}, status=404)
        return web.json_response({"exchange": name, "dropped": await self.drop(name)})
