"""One channel of one exchange: its feeds, from the frame to the topic."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from producers import metrics
from producers.catalogue import Catalogue
from producers.exchange import LIQUIDATION, Connection, ExchangeAdapter, shards
from producers.feed import Feed
from producers.health import READY, REPEAT_MS, ChannelHealth
from producers.publish import Publisher
from producers.recent import RecentIds
from producers.settings import ProducersSection
from schemas.errors import FrameRefused, UnknownInstrument
from schemas.records import Liquidation
from schemas.words import FeedState

# An event this much older than its subscription is history that the exchange sent again. Live rows come up to 3.3 s
# late, clocks differ by 0.1 s; an older one would be outside the windows' 5 s of grace anyway.
BACKLOG_MS: Final = 5_000
FRAMES_WAITING_MAX: Final = 1_000  # for a refresh of the instruments; 1,000 frames of 300 bytes


class Channel:
    """`run` starts its tasks in the stage's group; `stop` ends them, and what had arrived is with the publisher.

    `waiting`: frames with an unknown instrument, by the task that takes them again after a refresh."""

    _tasks: asyncio.TaskGroup

    def __init__(self, adapter: ExchangeAdapter, settings: ProducersSection, publisher: Publisher) -> None:
        self.exchange = adapter.exchange.value
        self.dead_letters = 0
        self._adapter, self._settings, self._publisher = adapter, settings, publisher
        self._decode = adapter.decoders[LIQUIDATION]
        self.catalogue = Catalogue(adapter, settings)
        self._health = ChannelHealth(adapter.exchange, LIQUIDATION, now_ms=_now_ms())
        self._recent = RecentIds()
        self._feeds: dict[Feed, asyncio.Task[None]] = {}
        self._chores: list[asyncio.Task[None]] = []
        self.waiting: dict[asyncio.Task[None], tuple[bytes, int, FrameRefused]] = {}
        self._log = structlog.get_logger().bind(exchange=self.exchange, channel=LIQUIDATION)

    @property
    def state(self) -> FeedState:
        """State of the channel over all its connections."""
        return self._health.state

    @property
    def is_ready(self) -> bool:
        """True when every connection has its subscriptions acknowledged."""
        return self.state in READY

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        """Learn the instruments and open the connections."""
        await self.catalogue.start()
        self._log.info("instruments", known=len(self.catalogue.listed))
        self._tasks = tasks
        for connection in self._adapter.connections:
            await self._open(connection, connection.topics(self.catalogue.listed))
        self._chores += [tasks.create_task(self._refresh()), tasks.create_task(self._repeat_health())]

    async def stop(self) -> None:
        """Close the connections, publish what had arrived; frames that wait for instruments go to the dead letters.

        Waits as long as the broker does."""
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*(feed.stop() for feed in self._feeds))
        if self._feeds:
            await asyncio.wait(self._feeds.values())
        waiting, self.waiting = self.waiting, {}
        for task, (frame, received_time_us, refused) in waiting.items():
            task.cancel()
            await self._refuse(frame, received_time_us, refused)

    async def _open(self, connection: Connection, topics: Sequence[str]) -> None:
        """Subscribe: in the room that the last connection has left, then on new ones."""
        limits = connection.topic_characters_max, connection.topics_max
        pulse = [connection.pulse] if connection.pulse is not None else []
        own = [feed for feed in self._feeds if feed.connection is connection]
        if own and topics:
            joined = shards([*own[-1].topics, *topics], *limits)[0]
            fitting = topics[: max(0, len(joined) - len(own[-1].topics))]
            if fitting:
                await own[-1].add(fitting)
            topics = topics[len(fitting) :]
        for shard in shards(topics, *limits, taken=pulse):
            number = len(self._feeds)

            async def on_state(state: FeedState, detail: str, number: int = number) -> None:
                for record in self._health.update(number, state, detail, now_ms=_now_ms()):
                    self._log.info("state", state=record.state.value, detail=record.detail)
                    await self._publisher.health(record)

            feed = Feed(
                self._adapter, connection, pulse + shard, settings=self._settings, on_frame=self.take, on_state=on_state
            )
            self._feeds[feed] = self._tasks.create_task(feed.run())

    async def take(self, frame: bytes, received_time_us: int, subscribed_time_ms: int) -> None:
        """Decode one frame, publish what is new in it, and put it aside if something in it is not understood."""
        refused = await self._decode_and_publish(frame, received_time_us, subscribed_time_ms)
        if isinstance(refused, UnknownInstrument) and len(self.waiting) < FRAMES_WAITING_MAX:
            task = self._tasks.create_task(self._take_again(frame, received_time_us, subscribed_time_ms))
            self.waiting[task] = (frame, received_time_us, refused)
        elif refused is not None:
            await self._refuse(frame, received_time_us, refused)

    async def _take_again(self, frame: bytes, received_time_us: int, subscribed_time_ms: int) -> None:
        """The same once the instruments have been read anew; rows that were published are known as repeated."""
        await self.catalogue.refresh_for_unknown()
        refused = await self._decode_and_publish(frame, received_time_us, subscribed_time_ms)
        task = asyncio.current_task()
        assert task is not None, "started by take()"
        if self.waiting.pop(task, None) is not None and refused is not None:
            await self._refuse(frame, received_time_us, refused)

    async def _decode_and_publish(
        self, frame: bytes, received_time_us: int, subscribed_time_ms: int
    ) -> FrameRefused | None:
        refused = None
        events: Sequence[Liquidation]
        try:
            events = self._decode(frame, received_time_us=received_time_us, instruments=self.catalogue.instruments)
        except FrameRefused as exc:
            events, refused = [event for event in exc.events if isinstance(event, Liquidation)], exc
        except Exception as exc:  # a fault of ours in one frame must not silence an exchange
            self._log.exception("decoding")
            events, refused = (), FrameRefused(f"decoding {self.exchange}: {exc!r}")
        await self._publisher.liquidations(self._new(events, received_time_us, subscribed_time_ms))
        return refused

    def _new(self, events: Sequence[Liquidation], received_time_us: int, subscribed_time_ms: int) -> list[Liquidation]:
        new = []
        for event in events:
            if not self._recent.is_new(event.event_id):
                metrics.EVENTS_REPEATED.labels(self.exchange).inc()
            elif event.event_time_ms < subscribed_time_ms - BACKLOG_MS:
                new.append(msgspec.structs.replace(event, backlog=True))
            else:
                metrics.LAG.labels(self.exchange).observe(received_time_us / 1e6 - event.event_time_ms / 1e3)
                new.append(event)
        return new

    async def _refuse(self, frame: bytes, received_time_us: int, error: FrameRefused) -> None:
        self.dead_letters += 1
        metrics.DEAD_LETTERS.labels(self.exchange).inc()
        self._log.warning("dead letter", reason=str(error)[:500], frame_bytes=len(frame))
        await self._publisher.dead_letter(
            frame, error, exchange=self.exchange, channel=LIQUIDATION, received_time_us=received_time_us
        )

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(self.catalogue.seconds_to_refresh())
            await self.catalogue.refresh()
            for connection in self._adapter.connections:
                wanted = connection.topics(self.catalogue.listed)
                own = [feed for feed in self._feeds if feed.connection is connection]
                for feed in own:
                    if again := feed.refused.intersection(wanted):
                        await feed.add(sorted(again))
                subscribed = {topic for feed in own for topic in feed.topics}
                await self._open(connection, [topic for topic in wanted if topic not in subscribed])

    async def _repeat_health(self) -> None:
        while True:
            await asyncio.sleep(REPEAT_MS / 1_000)
            await self._publisher.health(self._health.now(_now_ms()))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
