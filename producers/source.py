"""Everything that runs for one exchange: instruments, liquidations, open interest, funding, and their health."""

import asyncio
import time
from collections.abc import Iterable
from typing import Final

import structlog

from producers.catalogue import Catalogue
from producers.channel import Channel
from producers.drift import FieldWatches
from producers.evidence import repeat_cross_check
from producers.exchange import LIQUIDATION, ExchangeAdapter
from producers.health import REPEAT_MS
from producers.market import MarketFeed
from producers.marks import Marks
from producers.outlet import Outlet, Tap
from producers.poller import Poller
from producers.rest import Rest
from producers.settings import ProducersSection
from runtime.clock import wall_clock_ms
from schemas.words import FeedState

LEARN_S_MAX: Final = (
    5.0  # lists that take longer do not hold up liquidations: the table of the last start does for them
)
REVIEW_S: Final = 1.0  # silence is no event, so the state is looked at this often


class Source:
    """`run` starts its tasks in the stage's group; `stop` ends them, and what had arrived is with the publisher."""

    def __init__(
        self,
        adapter: ExchangeAdapter,
        settings: ProducersSection,
        publisher: Outlet,
        *,
        tap: Tap | None = None,
        published: Iterable[str] = (),
    ) -> None:
        """published: ids of liquidations that are not to be published again, oldest first."""
        self.exchange = adapter.exchange.value
        origin = settings.origins.get(self.exchange)
        marks, watches = Marks(), FieldWatches(adapter.known_fields)
        self._adapter, self._origin = adapter, origin
        self._rest = Rest(adapter.exchange, adapter.budget, own_origin=origin is not None)
        self.catalogue = Catalogue(adapter, settings, self._rest, tap)
        self.market = MarketFeed(adapter, publisher, self._rest.clock)
        self.channel = Channel(
            adapter,
            settings,
            publisher,
            catalogue=self.catalogue,
            market=self.market,
            marks=marks,
            clock=self._rest.clock,
            watches=watches,
            tap=tap,
            published=published,
        )
        self.poller = Poller(
            adapter,
            origin,
            rest=self._rest,
            market=self.market,
            catalogue=self.catalogue,
            marks=marks,
            publisher=publisher,
            watches=watches,
            tap=tap,
        )
        self._chores: list[asyncio.Task[None]] = []
        self._log = structlog.get_logger().bind(exchange=self.exchange)

    @property
    def dead_letters(self) -> int:
        """Frames and answers that were refused."""
        return self.channel.dead_letters + self.poller.dead_letters

    @property
    def states(self) -> dict[str, FeedState]:
        """State by channel."""
        return {LIQUIDATION: self.channel.state} | {kind: each.state for kind, each in self.market.health.items()}

    @property
    def is_ready(self) -> bool:
        """True when liquidations are subscribed to; the rest is context."""
        return self.channel.is_ready

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        """Learn the instruments, open the connections, begin to ask."""
        learning = tasks.create_task(self.catalogue.start())
        self._chores.append(learning)
        await asyncio.wait((learning,), timeout=LEARN_S_MAX)
        self._log.info("instruments", known=len(self.catalogue.listed))
        await self.channel.run(tasks)
        if not learning.done():
            self._chores.append(tasks.create_task(self._follow(learning)))
        self._chores.append(tasks.create_task(self._review()))
        if self._adapter.cross_check is not None:
            check = repeat_cross_check(
                self._adapter.cross_check, self._origin, self.channel.evidence, self._rest, self.catalogue
            )
            self._chores.append(tasks.create_task(check))
        await self.poller.run(tasks)

    async def stop(self) -> None:
        """End every task. Waits as long as the broker does."""
        for chore in self._chores:
            chore.cancel()
        await self.poller.stop()
        await self.channel.stop()

    async def close(self) -> None:
        """Close the REST connections, whether or not the tasks ended in order."""
        await self._rest.close()

    async def _follow(self, learning: "asyncio.Task[None]") -> None:
        """Subscribe to what late lists brought."""
        await learning
        await self.channel.follow()

    async def _review(self) -> None:
        stated_at = time.monotonic()
        while True:
            await asyncio.sleep(REVIEW_S)
            now_ms = wall_clock_ms()
            await self.channel.review()
            for health in self.market.health.values():
                await self.market.tell(health.review(now_ms))
            if time.monotonic() - stated_at >= REPEAT_MS / 1_000:
                stated_at = time.monotonic()
                await self.channel.state_again()
                for health in self.market.health.values():
                    await self.market.publish_state(health)
