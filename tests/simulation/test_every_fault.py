"""Every fault of the simulator at every exchange: its health names it, and what is published is what was sent.

One simulator and one source an exchange for all tests; the tests make the liquidations, four a second and exchange of
either side. How soon a fault must be named, and open interest and funding, are the fault run's (`chaos_producers`)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from producers.exchange import LIQUIDATION, ExchangeAdapter
from producers.exchanges import ADAPTERS
from producers.settings import ProducersSection
from producers.source import Source
from schemas.errors import FrameRefused
from schemas.records import FeedHealth, Funding, Liquidation, OpenInterest
from schemas.words import FeedState, Side
from stack.demo.ledger import Row, row_of
from stack.simulator.faults import FAULTS
from stack.simulator.scenarios import SimulatedLiquidation
from stack.simulator.server import Simulator, SimulatorOptions
from tests.simulation.chaos_schedule import KINDS, SKEW_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEADLINE_S: Final = 90.0  # far off: a fault that is never named is what fails
POLL_S: Final = 0.02
FEED_S: Final = 0.25
PULSE_MS_MAX: Final = 8_000  # in place of 30 s; the simulator's pulses come each second
HARMLESS: Final = "fragment"  # legal
# A break is over when the exchange is back, whatever its length; the others last until they are named.
SECONDS: Final = {"drop": 0.5, "close": 0.5, "cut-24h": 0.5, "backlog": 0.5, "ban": 2.0}
SECONDS_OTHERS: Final = 3_600.0
PRICES: Final = {"BTC": 80_000.0, "ETH": 3_000.0}
# From one long to the next one down, from one short to the next one up, eight times: each is at a new extreme.
STEPS: Final = {Side.LONG: -0.0005, Side.SHORT: 0.0005}
STEPS_MAX: Final = 8


class Topics:
    """What would be in the topics."""

    def __init__(self) -> None:
        self.rows: Counter[Row] = Counter()
        self.ids: Counter[str] = Counter()
        self.states: list[FeedHealth] = []  # of the channels of liquidations

    async def liquidations(self, events: Sequence[Liquidation]) -> None:
        self.rows.update(map(row_of, events))
        self.ids.update(event.event_id for event in events)

    async def market(self, events: Sequence[OpenInterest | Funding]) -> None:
        """Not looked at here."""

    async def health(self, record: FeedHealth) -> None:
        if record.channel == LIQUIDATION:
            self.states.append(record)

    async def raw_frame(self, frame: bytes, *, exchange: str, channel: str, received_time_us: int) -> None:
        raise AssertionError("no raw frames here")

    async def dead_letter(
        self, frame: bytes, error: FrameRefused, *, exchange: str, channel: str, received_time_us: int
    ) -> None:
        """Those of spoilt frames; the rows are what is looked at."""


def adapter_for_tests(adapter: ExchangeAdapter) -> ExchangeAdapter:
    """Without the calls for open interest and funding, and quicker to miss a pulse."""
    connections = tuple(replace(each, pulse_ms_max=PULSE_MS_MAX) for each in adapter.connections)
    return replace(adapter, connections=connections, polls=())


class House:
    """Six simulated exchanges and the producers that listen to them, on one event loop."""

    def __init__(self, simulator: Simulator, folder: Path) -> None:
        self.simulator, self.topics = simulator, Topics()
        self._folder = folder
        self._sources: list[Source] = []
        self._stop = asyncio.Event()
        self._numbers = count(1)

    async def run(self, origins: dict[str, str]) -> None:
        section = ProducersSection(
            origins=origins, cache_folder=self._folder, backoff_ms_base=20, backoff_ms_max=200, stable_ms=1_000
        )
        self._sources = [Source(adapter_for_tests(each), section, self.topics) for each in ADAPTERS.values()]
        async with asyncio.TaskGroup() as tasks:
            for source in self._sources:
                tasks.create_task(source.run(tasks))
            await self._stop.wait()
            for source in self._sources:
                await source.stop()
                await source.close()

    def stop(self) -> None:
        self._stop.set()

    @property
    def is_up(self) -> bool:
        """True when every exchange is listened to with all its connections."""
        subscribers = self.simulator.status()["subscribers"]
        return len(self._sources) == len(ADAPTERS) and all(
            source.is_ready and subscribers[source.exchange] >= len(ADAPTERS[source.exchange].connections)
            for source in self._sources
        )

    @asynccontextmanager
    async def liquidations(self) -> AsyncIterator[None]:
        """Four a second and side at every exchange, meanwhile; at the end all of them have gone out."""
        task = asyncio.create_task(self._liquidate())
        try:
            yield
        finally:
            task.cancel()
        await until(lambda: not any(exchange.pending for exchange in self.simulator.exchanges.values()))

    async def _liquidate(self) -> None:
        while True:
            number = next(self._numbers)
            side = Side.LONG if number % 2 else Side.SHORT
            moved = 1 + STEPS[side] * (1 + number // 2 % STEPS_MAX)
            for name, exchange in self.simulator.exchanges.items():
                for asset, price in PRICES.items():
                    happened = SimulatedLiquidation(0, name, asset, side, 1 + number / 100, price * moved, False)
                    exchange.take_in(happened, self.simulator.now_ms)
            await asyncio.sleep(FEED_S)

    @property
    def sent(self) -> Counter[Row]:
        """Rows that went out, as the simulator's own account has them."""
        return Counter(
            (row.exchange, row.instrument, row.side, row.price, row.quantity, row.event_time_ms)
            for row in self.simulator.account.rows
        )


async def until(condition: Callable[[], bool]) -> None:
    """Nobody tells what is waited for, so it is looked at again and again."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    options = SimulatorOptions(scenario="calm", wait_for_subscribers=False, speed=0.001)
    simulator = Simulator(options)
    house = House(simulator, tmp_path_factory.mktemp("instruments"))
    task = asyncio.create_task(house.run(await simulator.start()))
    try:
        simulator.play()  # so slowly that nothing happens by itself
        await until(lambda: house.is_up)
        yield house
    finally:
        house.stop()
        await asyncio.gather(task, return_exceptions=False)
        await simulator.stop()


@pytest.mark.parametrize("kind", FAULTS)
async def test_a_fault_is_named_at_every_exchange_and_what_was_sent_is_published(house: House, kind: str) -> None:
    simulator, topics = house.simulator, house.topics
    names = (lambda record: True) if kind == HARMLESS else KINDS[kind].names
    async with house.liquidations():
        before = len(house.topics.rows)
        await until(lambda: len(topics.rows) > before + 2 * len(ADAPTERS))
        begin = len(topics.states)
        seconds = SECONDS.get(kind, SECONDS_OTHERS)
        for exchange in ADAPTERS:
            await simulator.inflict(exchange, kind, seconds=seconds, offset_s=SKEW_S)

        def unnamed() -> set[str]:
            return set(ADAPTERS) - {record.exchange.value for record in topics.states[begin:] if names(record)}

        try:
            if kind == HARMLESS:
                sent = simulator.status()["rows"]
                await until(lambda: simulator.status()["rows"] > sent + 2 * len(ADAPTERS))
            else:
                await until(lambda: not unnamed())
        except TimeoutError:
            pytest.fail(f"{kind} was never named at {sorted(unnamed())}")
        finally:
            simulator.faults.end()
        await until(lambda: house.is_up)
        after = simulator.status()["rows"]
        await until(lambda: simulator.status()["rows"] > after + 2 * len(ADAPTERS))
    await until(lambda: house.sent == topics.rows)
    assert max(topics.ids.values()) == 1, "nothing twice"
    if kind == HARMLESS:
        assert [
            record for record in topics.states[begin:] if record.state not in (FeedState.LIVE, FeedState.DRIFT)
        ] == []
