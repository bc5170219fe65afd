"""Plays a scenario or captured frames in real time: what happens is collected by its exchange, delivered when due."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from runtime.clock import wall_clock_ms
from stack.simulator.exchange import Push, SimulatedExchange
from stack.simulator.scenarios import SimulatedLiquidation

TICK_S: Final = 0.02
FRAME_INTERVAL_S: Final = 0.02  # between two captured frames of one exchange
SUBSCRIPTION_WAIT_S_MAX: Final = 15.0  # for someone who wants the next captured frame; then it is withheld

Deliver = Callable[[SimulatedExchange, Push], Awaitable[None]]
Wanted = Callable[[SimulatedExchange, Push], Awaitable[None]]


class Clock:
    """Wall-clock ms that neither jump nor run back: the time of the start plus what a monotonic clock counted."""

    def __init__(self) -> None:
        self._wall_ms, self._start_s = wall_clock_ms(), time.monotonic()

    @property
    def elapsed_ms(self) -> int:
        """Since the start."""
        return int((time.monotonic() - self._start_s) * 1000)

    @property
    def now_ms(self) -> int:
        """Since the epoch."""
        return self.at(self.elapsed_ms)

    def at(self, elapsed_ms: int) -> int:
        """Ms since the epoch at that many ms after the start."""
        return self._wall_ms + elapsed_ms


async def play_scenario(
    liquidations: Iterable[SimulatedLiquidation],
    exchanges: dict[str, SimulatedExchange],
    clock: Clock,
    deliver: Deliver,
    *,
    speed: float = 1.0,
) -> None:
    """Until all has happened and every exchange has sent what it had. Each exchange delivers on its own, so that one
    slow client delays no other exchange. speed: of the scenario's time against the clock's."""
    happened = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for exchange in exchanges.values():
            tasks.create_task(_deliver_due(exchange, clock, deliver, happened))
        for liquidation in liquidations:
            at_ms = int(liquidation.at_ms / speed)
            if (early_ms := at_ms - clock.elapsed_ms) > 0:
                await asyncio.sleep(early_ms / 1000)
            if liquidation.exchange in exchanges:
                exchanges[liquidation.exchange].take_in(liquidation, clock.at(at_ms))
        happened.set()


async def _deliver_due(exchange: SimulatedExchange, clock: Clock, deliver: Deliver, happened: asyncio.Event) -> None:
    while exchange.pending or not happened.is_set():
        for push in exchange.due(clock.now_ms):
            await deliver(exchange, push)
        await asyncio.sleep(TICK_S)


async def play_frames(
    frames: dict[str, list[Push]], exchanges: dict[str, SimulatedExchange], deliver: Deliver, wanted: Wanted
) -> None:
    """Each captured frame once, as soon as it is `wanted`: until someone has subscribed to it."""
    async with asyncio.TaskGroup() as tasks:
        for name, exchange in exchanges.items():
            tasks.create_task(_play_frames(frames[name], exchange, deliver, wanted))


async def _play_frames(frames: list[Push], exchange: SimulatedExchange, deliver: Deliver, wanted: Wanted) -> None:
    for push in frames:
        try:
            async with asyncio.timeout(SUBSCRIPTION_WAIT_S_MAX):
                await wanted(exchange, push)
        except TimeoutError:
            pass  # nobody wants it: it is delivered to nobody and counted as withheld
        await deliver(exchange, push)
        await asyncio.sleep(FRAME_INTERVAL_S)
