"""The simulator: all exchanges at once, played to those who subscribed, with an account of what was really sent.

The origin of an exchange is `http://127.0.0.1:PORT/<exchange>`; behind it stand the exchange's real paths, websocket
and REST alike (see web.py)."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from aiohttp import web

from schemas.errors import SettingsError, StackError
from schemas.words import Side
from stack.simulator import frames as captured_frames
from stack.simulator import scenarios
from stack.simulator import web as simulator_web
from stack.simulator.account import Account
from stack.simulator.binance import Binance
from stack.simulator.bitget import Bitget
from stack.simulator.bybit import Bybit
from stack.simulator.exchange import Answer, Client, Push, SimulatedExchange
from stack.simulator.faults import CLOSING, DAMAGING, OFFSET_S, SWAPPING, Fault, FaultLog, fault, spoil
from stack.simulator.gate import Gate
from stack.simulator.hyperliquid import Hyperliquid
from stack.simulator.limits import Refusal, RestMeter
from stack.simulator.okx import Okx
from stack.simulator.player import TICK_S, Clock, play_frames, play_scenario
from stack.simulator.scenarios import SimulatedLiquidation
from stack.simulator.session import Session

LOOPBACK: Final = "127.0.0.1"
SUBSCRIBERS_WAIT_S_MAX: Final = 120.0  # then the play begins without them, and what they miss is withheld
SHUTDOWN_S_MAX: Final = 2.0
REORDER_S: Final = 3.5  # frames of so long are turned round
RECENT_PUSHES_MAX: Final = 20  # that a backlog brings again
OLD_ROWS: Final = 5  # that a backlog brings for the first time
OLD_MS, OLD_STEP_MS = 120_000, 60_000  # age of the newest of them, and between two


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """What to play. frames: a folder of captured frames, played instead of the scenario.

    repeat: the scenario again and again. wait_for_subscribers: begin when every exchange has one; otherwise, and before
    that, only when told to. okx_backlog: a new subscriber gets the exchange's last frame again, as OKX has been seen
    to do. speed: the scenario runs so many times as fast, on the wall clock's time."""

    scenario: str = "cascade"
    seed: int = 7
    frames: Path | None = None
    repeat: bool = False
    wait_for_subscribers: bool = True
    okx_backlog: bool = False
    speed: float = 1.0


def _usual(options: SimulatorOptions) -> tuple[SimulatedExchange, ...]:
    return Binance(), Bybit(), Okx(backlog=options.okx_backlog), Gate(), Bitget(), Hyperliquid()


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
        self._recent: dict[str, deque[Push]] = {name: deque(maxlen=RECENT_PUSHES_MAX) for name in self.exchanges}
        self._held: dict[str, list[Push]] = {name: [] for name in self.exchanges}  # to be turned round
        self._meters = {name: RestMeter(exchange.rest_limit) for name, exchange in self.exchanges.items()}
        self.faults, self._backlogs = FaultLog(), set[str]()
        self._changed = asyncio.Condition()  # who is subscribed, or what is under way
        self._paused, self._under_way = False, 0
        self._told_to_play = asyncio.Event()
        self._clock = Clock()  # begins anew with the play
        self._playing = False
        self._runner: web.AppRunner | None = None
        self._play_task: asyncio.Task[None] | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self.control = ""

    @property
    def now_ms(self) -> int:
        """The simulator's clock; the exchanges' own may be wrong."""
        return self._clock.now_ms

    async def start(self, port: int = 0) -> dict[str, str]:
        """Bind to loopback; origin by exchange. Raises StackError when the port is taken."""
        self._runner = web.AppRunner(simulator_web.application(self), access_log=None, shutdown_timeout=SHUTDOWN_S_MAX)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, LOOPBACK, port).start()
        except OSError as exc:
            await self._runner.cleanup()
            raise StackError(f"simulator: cannot listen on {LOOPBACK}:{port}: {exc}; choose another port or 0") from exc
        base = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"
        self.control = f"{base}/simulator"
        self._play_task = asyncio.create_task(self._play())
        self._chores |= {asyncio.create_task(self._send_market(each)) for each in self.exchanges.values()}
        return {name: f"{base}/{name}" for name in self.exchanges}

    async def stop(self) -> None:
        """Close every client's socket cleanly and end; raises what went wrong in the play."""
        tasks = [*self._chores, *([self._play_task] if self._play_task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
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
        await asyncio.gather(*(self._let_go(exchange) for exchange in self.exchanges.values()))
        await self._until(lambda: self._under_way == 0)

    async def drop(self, exchange: str, reason: str = "dropped") -> int:
        """Close that exchange's sockets cleanly; how many there were. What happens until they return is withheld."""
        sessions, self._sessions[exchange] = self._sessions[exchange], set()
        await asyncio.gather(*(session.cut(reason=reason) for session in sessions))
        return len(sessions)

    async def inflict(self, exchange: str, kind: str, *, seconds: float = 5.0, offset_s: float = OFFSET_S) -> Fault:
        """Misbehave from now on for so long (see FAULTS). Raises SettingsError when there is no such thing."""
        if exchange not in self.exchanges:
            raise SettingsError(f"exchange: {exchange!r} is unknown; choose one of {', '.join(self.exchanges)}")
        begun = fault(exchange, kind, now_ms=self._clock.now_ms, seconds=seconds, offset_s=offset_s)
        self.faults.add(begun)
        self.exchanges[exchange].clock_skew_ms = self.faults.skew_ms(exchange, self._clock.now_ms)
        if kind == "backlog":
            self._backlogs.add(exchange)
        if kind == "drop":
            sessions, self._sessions[exchange] = self._sessions[exchange], set()
            await asyncio.gather(*(session.break_off() for session in sessions))
        elif kind in CLOSING:
            await self.drop(exchange, CLOSING[kind])
        return begun

    def status(self) -> dict[str, Any]:
        """Figures of the play so far. sent: rows by exchange; unshown: rows that an exchange's own rule holds back."""
        return {
            "scenario": "frames" if self._frames is not None else self._options.scenario,
            "seed": self._options.seed,
            "elapsed_s": self._clock.elapsed_ms / 1000 if self._playing else 0.0,
            "playing": self._playing,
            "done": self._playing and self._play_task is not None and self._play_task.done(),
            "subscribers": {name: len(self._subscribers(name)) for name in self.exchanges},
            "unshown": {name: exchange.unshown_rows for name, exchange in self.exchanges.items()},
            "limits_exceeded": {name: meter.exceeded for name, meter in self._meters.items()},
            "faults": [each.fields() for each in self.faults.all],
            **self.account.figures(),
        }

    async def _play(self) -> None:
        await self._begin()
        self._clock, self._playing = Clock(), True
        if self._frames is not None:
            await play_frames(self._frames, self.exchanges, self._deliver, self._wanted)
        else:
            await play_scenario(
                self._liquidations, self.exchanges, self._clock, self._deliver, speed=self._options.speed
            )

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

    async def serve(self, exchange: SimulatedExchange, request: web.Request) -> web.StreamResponse:
        """One websocket of a client, until it ends; refused while the client is banned."""
        if ban_ms := self.faults.left_ms(exchange.name, "ban", self._clock.now_ms):
            return web.Response(status=429, headers={"Retry-After": str(-(-ban_ms // 1000))})
        path = exchange.path_of(request.path)
        client = Client(path, set(exchange.channels_in_address(path, request.query)), request.headers)
        session = Session(exchange, client, self._on_subscribe)
        self._sessions[exchange.name].add(session)
        try:
            return await session.run(request)
        finally:
            self._sessions[exchange.name].discard(session)

    def answer(self, exchange: SimulatedExchange, path: str, query: Mapping[str, str]) -> Answer | Refusal:
        """A REST call: what it asked for, or what those get who ask too much."""
        now_ms = self._clock.now_ms
        if ban_ms := self.faults.left_ms(exchange.name, "ban", now_ms):
            return exchange.rest_limit.refusal(ban_ms, now_ms, banned=True)
        refusal = self._meters[exchange.name].ask(path, exchange.weight(path, query), now_ms)
        exchange.clock_skew_ms = self.faults.skew_ms(exchange.name, now_ms)
        return refusal or exchange.rest(path, query, now_ms)

    async def _deliver(self, exchange: SimulatedExchange, push: Push) -> None:
        if self._paused:
            return
        kinds = self.faults.active(exchange.name, self._clock.now_ms)
        if "reorder" in kinds:
            held = self._held[exchange.name]
            held.append(push)
            if len(held) == 1:
                task = asyncio.create_task(self._let_go_later(exchange))
                self._chores.add(task)
                task.add_done_callback(self._chores.discard)
        else:
            await self._send(exchange, push, kinds)

    async def _let_go_later(self, exchange: SimulatedExchange) -> None:
        await asyncio.sleep(REORDER_S)
        await self._let_go(exchange)

    async def _let_go(self, exchange: SimulatedExchange) -> None:
        """Send what was held back, the newest first."""
        held, self._held[exchange.name] = self._held[exchange.name], []
        for push in reversed(held):
            await self._send(exchange, push, self.faults.active(exchange.name, self._clock.now_ms))

    async def _send(self, exchange: SimulatedExchange, push: Push, kinds: frozenset[str]) -> None:
        """Send one push to everyone who subscribed, as the faults leave it, and book it."""
        if push.rows and SWAPPING not in kinds:  # a row comes again as it came
            self._recent[exchange.name].append(push)
        self._under_way += 1
        try:
            sessions = () if "stall" in kinds else tuple(self._sessions[exchange.name])
            frames = 0
            for session in sessions:
                texts = exchange.texts(push, session.client)
                if push.rows:
                    texts = [self._spoilt(exchange, text, kinds) for text in texts]
                texts *= 2 if "duplicate" in kinds else 1
                frames += await session.send_all(texts, fragmented="fragment" in kinds)
            damaged = bool(push.rows) and not DAMAGING.isdisjoint(kinds)
            if frames and SWAPPING in kinds and not damaged:
                push.rows = tuple(row.turned() for row in push.rows)
            self.account.delivered(exchange.name, push, frames=frames, damaged=damaged)
        finally:
            self._under_way -= 1
            async with self._changed:
                self._changed.notify_all()

    @staticmethod
    def _spoilt(exchange: SimulatedExchange, text: str, kinds: frozenset[str]) -> str:
        return spoil(exchange.swapped(text) if SWAPPING in kinds else text, kinds, exchange.side_words)

    async def _send_market(self, exchange: SimulatedExchange) -> None:
        """Market data to those who subscribed to it, for ever; the exchange's clock goes as the faults say."""
        while True:
            now_ms = self._clock.now_ms
            exchange.clock_skew_ms = self.faults.skew_ms(exchange.name, now_ms)
            channels = {channel for session in self._sessions[exchange.name] for channel in session.client.channels}
            for push in exchange.market_due(now_ms, channels):
                if not self._paused:
                    await self._send(exchange, push, self.faults.active(exchange.name, now_ms))
            await asyncio.sleep(TICK_S)

    async def _on_subscribe(self, session: Session, channels: frozenset[str]) -> None:
        async with self._changed:
            self._changed.notify_all()
        exchange, client = session.exchange, Client(session.client.path, set(channels), session.client.headers)
        name, now_ms = exchange.name, self._clock.now_ms
        recent = list(self._recent[name])
        for push in exchange.greeting(channels, now_ms):
            await self._send_again(session, client, push)
        if name in self._backlogs and any(exchange.texts(push, client) for push in recent):
            self._backlogs.discard(name)
            for liquidation, time_ms in self._old_liquidations(exchange, now_ms):
                exchange.collect(liquidation, time_ms)
        elif not (exchange.repeats_last_push and recent):
            return
        else:
            recent = recent[-1:]
        for push in recent:
            await self._send_again(session, client, push)

    async def _send_again(self, session: Session, client: Client, push: Push) -> None:
        frames = await session.send_all(session.exchange.texts(push, client))
        self.account.delivered(session.exchange.name, push, frames=frames, again=True)

    def _old_liquidations(self, exchange: SimulatedExchange, now_ms: int) -> list[tuple[SimulatedLiquidation, int]]:
        """Rows that nobody has seen, minutes old."""
        listed = [each for each in exchange.instruments.values() if not each.coin_margined][:OLD_ROWS]
        return [
            (
                SimulatedLiquidation(
                    0, exchange.name, each.asset, Side.LONG, 10_000 / exchange.market.price(each),
                    exchange.market.price(each), False,
                ),
                now_ms - OLD_MS - OLD_STEP_MS * number,
            )
            for number, each in enumerate(listed)
        ]  # fmt: skip
