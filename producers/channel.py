"""Liquidations of one exchange: its feeds, from the frame to the topic."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import structlog

from producers import metrics
from producers.catalogue import Catalogue
from producers.clock import ClockOffset
from producers.drift import FieldWatches
from producers.evidence import SideEvidence
from producers.exchange import LIQUIDATION, Connection, ExchangeAdapter, shards
from producers.feed import Feed
from producers.health import READY, StreamHealth
from producers.market import WEBSOCKET, MarketFeed
from producers.marks import Marks
from producers.oddities import Oddities
from producers.outlet import Outlet, Tap
from producers.recent import RecentIds
from producers.settings import ProducersSection
from runtime.clock import wall_clock_ms
from schemas.errors import FrameRefused, UnknownInstrument
from schemas.records import FeedHealth, Funding, Liquidation, OpenInterest
from schemas.words import FeedState

# An event this much older than its subscription is history that the exchange sent again. Live rows come up to 3.3 s
# late, clocks differ by 0.1 s; an older one would be outside the windows' 5 s of grace anyway.
BACKLOG_MS: Final = 5_000
# Where an exchange begins with history, what happened before the subscription is taken for it, for this long: a live
# row of the last moment before may be among it, later ones are late.
BACKLOG_ARRIVAL_MS: Final = 10_000
FRAMES_WAITING_MAX: Final = 1_000  # for a refresh of the instruments; 1,000 frames of 300 bytes
RENEWAL_MS_MIN: Final = 600_000  # a silent connection is replaced at most this often


class Channel:
    """`run` starts its tasks in the stage's group; `stop` ends them, and what had arrived is with the publisher.

    `waiting`: frames with an unknown instrument, by the task that takes them again after a refresh."""

    _tasks: asyncio.TaskGroup

    def __init__(
        self,
        adapter: ExchangeAdapter,
        settings: ProducersSection,
        publisher: Outlet,
        *,
        catalogue: Catalogue,
        market: MarketFeed,
        marks: Marks,
        clock: ClockOffset,
        watches: FieldWatches,
        tap: Tap | None,
        published: Iterable[str] = (),
    ) -> None:
        self.exchange = adapter.exchange.value
        self.dead_letters = 0
        self.catalogue = catalogue
        self.evidence = SideEvidence(adapter, marks)
        self._adapter, self._settings, self._publisher = adapter, settings, publisher
        self._market, self._marks, self._clock, self._watches = market, marks, clock, watches
        self._decode, self._tap = adapter.decoders[LIQUIDATION], tap
        self._health = StreamHealth(
            adapter.exchange,
            LIQUIDATION,
            now_ms=wall_clock_ms(),
            clock=clock,
            silent_ms_min=settings.silent_ms_min,
            silent_ms_unlearned=settings.silent_ms_unlearned,
        )
        self._recent = RecentIds(published)
        self._oddities = Oddities()
        self._feeds: dict[Feed, asyncio.Task[None]] = {}
        self._chores: list[asyncio.Task[None]] = []
        self.waiting: dict[asyncio.Task[None], tuple[bytes, int, FrameRefused]] = {}
        self._renewed_ms: dict[int, int] = {}
        self._lag = metrics.LAG.labels(self.exchange)
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
        """Open the connections; the instruments are known."""
        self._tasks = tasks
        for connection in self._adapter.connections:
            await self._open(connection, connection.topics(self.catalogue.listed))
        self._chores.append(tasks.create_task(self._refresh()))

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

    async def review(self) -> None:
        """Once a second: silence and drift; a silent connection is replaced by a new one, without a gap."""
        if any(feed.busy for feed in self._feeds):
            return  # frames wait for the broker, so how long ago the last one was handed over says nothing
        now_ms = wall_clock_ms()
        await self._tell(self._health.review(now_ms))
        for sentence in self._oddities.take(now_ms, self._clock.get()):
            await self._tell([self._health.note(sentence, now_ms=now_ms)])
        contradiction = self.evidence.contradiction
        if contradiction is not None:
            await self._tell(self._health.drift("sides", contradiction, now_ms=now_ms))
        feeds = list(self._feeds)
        for number in self._health.silent(now_ms):
            if now_ms - self._renewed_ms.get(number, 0) >= RENEWAL_MS_MIN:
                self._renewed_ms[number] = now_ms
                feeds[number].renew()

    async def follow(self) -> None:
        """Subscribe to what is listed now and was not before, and again to what was refused."""
        for connection in self._adapter.connections:
            wanted = connection.topics(self.catalogue.listed)
            own = [feed for feed in self._feeds if feed.connection is connection]
            for feed in own:
                if again := feed.refused.intersection(wanted):
                    await feed.add(sorted(again))
            subscribed = {topic for feed in own for topic in feed.topics}
            await self._open(connection, [topic for topic in wanted if topic not in subscribed])

    async def state_again(self) -> None:
        """Publish the state as it is."""
        await self._publisher.health(self._health.now(wall_clock_ms()))

    async def take(self, frame: bytes, received_time_us: int, subscribed_time_ms: int, connection: int = 0) -> None:
        """Decode one frame, publish what is new in it, and put it aside if something in it is not understood."""
        if self._tap is not None:
            self._tap(
                frame,
                exchange=self.exchange,
                source=WEBSOCKET,
                received_time_us=received_time_us,
                covered_since_ms=subscribed_time_ms,
            )
        if self._settings.raw_frames:
            await self._publisher.raw_frame(
                frame, exchange=self.exchange, channel=LIQUIDATION, received_time_us=received_time_us
            )
        refused, rows = await self._decode_and_publish(frame, received_time_us, subscribed_time_ms)
        if refused is None and not rows:
            await self._take_other(frame, received_time_us)
            return
        self.evidence.look(frame)
        if not any(feed.overlaps for feed in self._feeds):
            self._oddities.frame(frame)
        records = self._health.data(connection, received_time_us // 1_000)
        if records:
            await self._tell(records)
        sentence = self._watches.look(LIQUIDATION, frame, received_time_us // 1_000)
        if sentence is not None:
            await self._tell(self._health.drift("fields", sentence, now_ms=received_time_us // 1_000))
        if isinstance(refused, UnknownInstrument) and len(self.waiting) < FRAMES_WAITING_MAX:
            task = self._tasks.create_task(self._take_again(frame, received_time_us, subscribed_time_ms))
            self.waiting[task] = (frame, received_time_us, refused)
        elif refused is not None:
            await self._refuse(frame, received_time_us, refused)

    async def _take_again(self, frame: bytes, received_time_us: int, subscribed_time_ms: int) -> None:
        """The same once the instruments have been read anew; rows that were published are known as repeated."""
        await self.catalogue.refresh_for_unknown()
        refused, _ = await self._decode_and_publish(frame, received_time_us, subscribed_time_ms)
        task = asyncio.current_task()
        assert task is not None, "started by take()"
        if self.waiting.pop(task, None) is not None and refused is not None:
            await self._refuse(frame, received_time_us, refused)

    async def _decode_and_publish(
        self, frame: bytes, received_time_us: int, subscribed_time_ms: int
    ) -> tuple[FrameRefused | None, int]:
        """Why something was not understood, and how many rows were."""
        refused = None
        events: Sequence[Liquidation]
        try:
            events = self._decode(frame, received_time_us=received_time_us, instruments=self.catalogue.instruments)
        except FrameRefused as exc:
            events, refused = [event for event in exc.events if isinstance(event, Liquidation)], exc
        except Exception as exc:  # a fault of ours in one frame must not silence an exchange
            self._log.exception("decoding")
            events, refused = (), FrameRefused(f"decoding {self.exchange}: {exc!r}")
        if events:
            await self._publisher.liquidations(self._new(events, received_time_us, subscribed_time_ms))
        return refused, len(events)

    def _new(self, events: Sequence[Liquidation], received_time_us: int, subscribed_time_ms: int) -> list[Liquidation]:
        new = []
        received_ms = received_time_us / 1_000
        live_from_ms = live_since_ms(self._adapter, subscribed_time_ms, received_time_us)
        for event in events:
            if not self._recent.is_new(event.event_id):
                metrics.EVENTS_REPEATED.labels(self.exchange).inc()
            elif event.event_time_ms < live_from_ms:
                metrics.BACKLOG.labels(self.exchange).inc()
                new.append(msgspec.structs.replace(event, backlog=True))
            else:
                lag_ms = received_ms - event.event_time_ms
                self._lag.observe(lag_ms / 1_000)
                self._health.lags.add(lag_ms)
                self._oddities.event(event_ms=event.event_time_ms, received_ms=received_ms)
                self._clock.event(event_ms=event.event_time_ms, received_ms=received_ms)
                self.evidence.add(event)
                new.append(event)
        return new

    async def _take_other(self, frame: bytes, received_time_us: int) -> None:
        """A frame of another topic: the pulse, open interest, funding."""
        decode = self._adapter.market_decoder
        if decode is None:
            return
        events: Iterable[OpenInterest | Funding]
        try:
            events = decode(
                frame, received_time_us=received_time_us, instruments=self.catalogue.instruments, marks=self._marks
            )
        except UnknownInstrument as exc:  # of figures that are repeated: the next ones come after the next refresh
            events = [each for each in exc.events if isinstance(each, OpenInterest | Funding)]
        except FrameRefused as exc:
            events = [each for each in exc.events if isinstance(each, OpenInterest | Funding)]
            await self._refuse(frame, received_time_us, exc)
        except Exception as exc:  # a fault of ours in one frame must not silence an exchange
            self._log.exception("decoding")
            await self._refuse(frame, received_time_us, FrameRefused(f"decoding {self.exchange}: {exc!r}"))
            return
        await self._market.take(events, WEBSOCKET, received_time_us=received_time_us)

    async def _refuse(self, frame: bytes, received_time_us: int, error: FrameRefused) -> None:
        self.dead_letters += 1
        metrics.DEAD_LETTERS.labels(self.exchange).inc()
        self._log.warning("dead letter", reason=str(error)[:500], frame_bytes=len(frame))
        if not isinstance(error, UnknownInstrument):
            records = self._health.drift("refused", f"refused: {error}", now_ms=received_time_us // 1_000)
            await self._tell(records)
        await self._publisher.dead_letter(
            frame, error, exchange=self.exchange, channel=LIQUIDATION, received_time_us=received_time_us
        )

    async def _open(self, connection: Connection, topics: Sequence[str]) -> None:
        """Subscribe: in the room that the last connection of this address has left, then on new ones."""
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
            self._health.open(number, connection.path, connection.pulse, now_ms=wall_clock_ms())
            feed = self._feed(connection, pulse + shard, number)
            self._feeds[feed] = self._tasks.create_task(feed.run())

    def _feed(self, connection: Connection, topics: Sequence[str], number: int) -> Feed:
        async def on_frame(frame: bytes, received_time_us: int, subscribed_time_ms: int) -> None:
            await self.take(frame, received_time_us, subscribed_time_ms, number)

        async def on_state(state: FeedState, detail: str) -> None:
            await self._tell(
                self._health.update(number, state, detail, now_ms=wall_clock_ms(), last_frame_ms=feed.last_frame_ms)
            )

        feed = Feed(self._adapter, connection, topics, settings=self._settings, on_frame=on_frame, on_state=on_state)
        return feed

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(self.catalogue.seconds_to_refresh())
            await self.catalogue.refresh()
            await self.follow()

    async def _tell(self, records: Iterable[FeedHealth]) -> None:
        for record in records:
            self._log.info("state", state=record.state.value, detail=record.detail)
            await self._publisher.health(record)


def live_since_ms(adapter: ExchangeAdapter, covered_since_ms: int, received_time_us: int) -> int:
    """What is older than this came as history: event times of a frame, on a connection that covers since then."""
    received_after_ms = received_time_us // 1_000 - covered_since_ms
    begins_with_history = adapter.first_frame_is_backlog and received_after_ms < BACKLOG_ARRIVAL_MS
    return covered_since_ms - (0 if begins_with_history else BACKLOG_MS)
