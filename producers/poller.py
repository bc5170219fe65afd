"""The only REST loop: every call of one exchange that is repeated, within the one budget that they share."""

import asyncio
import random
import time
from collections.abc import Iterable
from typing import Final

import structlog

from producers import metrics
from producers.catalogue import Catalogue
from producers.drift import FieldWatches
from producers.exchange import FUNDING, OPEN_INTEREST, PAGES_MAX, ExchangeAdapter, MarketEvent, Params, Poll
from producers.market import MarketFeed
from producers.marks import Marks
from producers.outlet import Outlet, Tap
from producers.rest import Answer, Rest
from runtime.clock import wall_clock_ms
from schemas.errors import FeedUnavailable, FrameRefused, UnknownInstrument
from schemas.records import Funding, OpenInterest

JITTER: Final = 0.1  # of an interval: calls of many machines do not meet in one moment
RETRY_S: Final = 5.0  # after the first failure, doubled to the interval
RETRY_DOUBLINGS_MAX: Final = 6
SPREAD_SHARE: Final = 0.6  # of the budget, for calls by instrument; the rest is for bulk calls and instruments
SETTLED_SHARE: Final = 0.1  # beside repeated calls by instrument, for histories: once an hour, so they have time
SETTLED_ROUND_MS: Final = 60_000  # a round of histories takes at least that long, not the hour between two rounds
CALLS_MAX: Final = 8  # by instrument, at a time
HISTORY_MS: Final = 86_400_000  # of settled funding at the start
SETTLED_INTERVAL_MS: Final = 3_600_000
SETTLED_DELAY_MS: Final = 90_000  # after the full hour: exchanges book within seconds, some lists follow later
SETTLED_OVERLAP_MS: Final = 3_600_000
REFUSED_REPEAT_S: Final = 3_600.0  # the same refusal of the same call goes to the dead letters once an hour


class Poller:
    """`run` starts its tasks in the stage's group; `stop` ends them at once, since every answer can be asked again."""

    def __init__(
        self,
        adapter: ExchangeAdapter,
        origin: str | None,
        *,
        rest: Rest,
        market: MarketFeed,
        catalogue: Catalogue,
        marks: Marks,
        publisher: Outlet,
        watches: FieldWatches,
        tap: Tap | None,
    ) -> None:
        self._adapter, self._origin = adapter, origin
        self._rest, self._market, self._catalogue, self._marks = rest, market, catalogue, marks
        self._publisher, self._watches, self._tap = publisher, watches, tap
        self.exchange = adapter.exchange.value
        self.dead_letters = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._told: dict[tuple[str, str], float] = {}  # (call, refusal): when it went to the dead letters
        self._log = structlog.get_logger().bind(exchange=self.exchange)

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        """Start every call, in the order of the adapter: an earlier one may teach what a later one needs."""
        for poll in self._adapter.polls:
            first = asyncio.Event()
            loop = self._settled(poll, first) if poll.settled else self._repeat(poll, first)
            self._tasks.append(tasks.create_task(loop))
            if not poll.per_instrument:
                await first.wait()

    async def stop(self) -> None:
        """End every loop."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _repeat(self, poll: Poll, first: asyncio.Event) -> None:
        """An answer every interval, or one of every instrument spread over it."""
        failures = 0
        while True:
            start = time.monotonic()
            interval_ms = self._interval_ms(poll)
            self._expect(poll, interval_ms)
            succeeded = await self._round(poll, {}, interval_ms / 1_000)
            first.set()
            failures = 0 if succeeded else failures + 1
            interval_s = interval_ms / 1_000 * random.uniform(1 - JITTER, 1)
            if failures:
                interval_s = min(interval_s, RETRY_S * 2 ** min(failures - 1, RETRY_DOUBLINGS_MAX))
            await asyncio.sleep(max(0.0, start + interval_s - time.monotonic()))

    async def _settled(self, poll: Poll, first: asyncio.Event) -> None:
        """The last 24 h at once, then what was settled, after every full hour."""
        asked_ms: int | None = None
        failures = 0
        while True:
            now_ms = wall_clock_ms()
            from_ms = now_ms - HISTORY_MS if asked_ms is None else asked_ms - SETTLED_OVERLAP_MS
            params = poll.window_params(from_ms, now_ms) if poll.window_params else {}
            succeeded = await self._round(poll, params, self._settled_pace_s(poll), since_ms=asked_ms)
            first.set()
            if succeeded:
                asked_ms, failures = now_ms, 0
                wait_ms = SETTLED_INTERVAL_MS - now_ms % SETTLED_INTERVAL_MS + SETTLED_DELAY_MS
                await asyncio.sleep(wait_ms / 1_000 * random.uniform(1, 1 + JITTER))
            else:
                failures += 1
                await asyncio.sleep(RETRY_S * 2 ** min(failures, RETRY_DOUBLINGS_MAX) * random.uniform(0.5, 1))

    async def _round(self, poll: Poll, params: Params, interval_s: float, since_ms: int | None = None) -> bool:
        """One answer, or one of each instrument; True unless all failed."""
        if poll.per_instrument is None:
            return await self._ask(poll, params)
        names = [row.instrument for row in self._catalogue.listed if poll.wants(row)]
        if since_ms is not None:
            now_ms = wall_clock_ms()
            names = [name for name in names if self._market.has_settled(name, since_ms, now_ms)]
        if not names:
            return True
        slots = asyncio.Semaphore(CALLS_MAX)
        results: list[bool] = []

        async def ask(name: str) -> None:
            try:
                results.append(
                    await self._ask(poll, {**params, str(poll.per_instrument): [name] if poll.in_list else name})
                )
            finally:
                slots.release()

        async with asyncio.TaskGroup() as calls:
            for name in names:
                await slots.acquire()
                calls.create_task(ask(name))
                await asyncio.sleep(interval_s / len(names))
        return any(results)

    async def _ask(self, poll: Poll, params: Params) -> bool:
        """All pages of one call, published; False when it failed, which the health of its kinds then says."""
        wanted = {**poll.params, **params}
        try:
            for _ in range(PAGES_MAX):
                answer = await self._rest.call(
                    poll.url(self._origin), wanted, weight=poll.weight, method=poll.method, body=poll.body
                )
                await self._take(poll, answer)
                further = poll.cursor(answer.body) if poll.cursor else None
                if further is None:
                    return True
                wanted = {**wanted, **further}
        except FrameRefused as exc:
            await self._market.failed(self._kinds(poll), poll.path, str(exc))
            return False
        except FeedUnavailable as exc:
            self._log.warning("not answered", path=poll.path, reason=str(exc)[:500])
            await self._market.failed(self._kinds(poll), poll.path, str(exc))
            return False
        return True

    async def _take(self, poll: Poll, answer: Answer) -> None:
        """Publish what an answer says. Raises FrameRefused when nothing of it was understood."""
        if self._tap is not None:
            self._tap(answer.body, exchange=self.exchange, source=poll.path, received_time_us=answer.received_time_us)
        refused: FrameRefused | None = None
        events: Iterable[MarketEvent]
        try:
            events = poll.decode(
                answer.body,
                received_time_us=answer.received_time_us,
                instruments=self._catalogue.instruments,
                marks=self._marks,
            )
        except FrameRefused as exc:
            events, refused = [each for each in exc.events if isinstance(each, OpenInterest | Funding)], exc
        except Exception as exc:  # a fault of ours in one answer must not end the loop
            self._log.exception("decoding")
            events, refused = [], FrameRefused(f"decoding {self.exchange}: {exc!r}")
        await self._market.take(events, poll.path, received_time_us=answer.received_time_us)
        await self._drift(poll, answer, refused)
        if refused is not None:
            await self._refuse(poll, answer, refused)
            if not events:
                raise refused

    async def _drift(self, poll: Poll, answer: Answer, refused: FrameRefused | None) -> None:
        now_ms = answer.received_time_us // 1_000
        for kind in self._kinds(poll):
            health = self._market.health[kind]
            if refused is not None and not isinstance(refused, UnknownInstrument):
                await self._market.tell(health.drift(f"{poll.path} refused", str(refused), now_ms=now_ms))
        for kind in poll.kinds[:1]:
            sentence = self._watches.look(kind, answer.body, now_ms)
            if sentence is not None:
                await self._market.tell(self._market.health[kind].drift("fields", sentence, now_ms=now_ms))

    async def _refuse(self, poll: Poll, answer: Answer, error: FrameRefused) -> None:
        """To the dead letters, unless this refusal is known; an unknown instrument asks for the lists again first."""
        key, now = (poll.path, str(error)), time.monotonic()
        self._told = {told: at for told, at in self._told.items() if now - at < REFUSED_REPEAT_S}
        if key in self._told:
            return
        self._told[key] = now
        if isinstance(error, UnknownInstrument):
            await self._catalogue.refresh_for_unknown()
            return
        self.dead_letters += 1
        metrics.DEAD_LETTERS.labels(self.exchange).inc()
        self._log.warning("dead letter", path=poll.path, reason=str(error)[:500], body_bytes=len(answer.body))
        await self._publisher.dead_letter(
            answer.body,
            error,
            exchange=self.exchange,
            channel=poll.kinds[0] if poll.kinds else poll.path,
            received_time_us=answer.received_time_us,
        )

    def _kinds(self, poll: Poll) -> tuple[str, ...]:
        """The channels that depend on the call; settled history is no state of a channel."""
        return () if poll.settled else tuple(kind for kind in poll.kinds if kind in (OPEN_INTEREST, FUNDING))

    def _expect(self, poll: Poll, interval_ms: int) -> None:
        metrics.POLL_INTERVAL.labels(self.exchange, poll.path).set(interval_ms / 1_000)
        for kind in self._kinds(poll):
            self._market.health[kind].expect(poll.path, interval_ms, now_ms=wall_clock_ms())

    def _interval_ms(self, poll: Poll) -> int:
        """The interval of a call; longer where all calls by instrument together would need too much of the budget."""
        if poll.per_instrument is None:
            return poll.interval_ms
        needed = sum(map(self._need, self._by_instrument(settled=False)))
        share = SPREAD_SHARE * self._need(poll) / needed if needed else SPREAD_SHARE
        return self._paced_ms(poll, poll.interval_ms, share=share)

    def _settled_pace_s(self, poll: Poll) -> float:
        share = SETTLED_SHARE if self._by_instrument(settled=False) else SPREAD_SHARE
        share /= max(1, len(self._by_instrument(settled=True)))
        return self._paced_ms(poll, SETTLED_ROUND_MS, share=share) / 1_000

    def _by_instrument(self, *, settled: bool) -> list[Poll]:
        return [poll for poll in self._adapter.polls if poll.per_instrument and poll.settled is settled]

    def _need(self, poll: Poll) -> float:
        """Weight a ms that a call by instrument takes at the interval that the adapter asks for."""
        return self._calls(poll) * poll.weight / poll.interval_ms

    def _calls(self, poll: Poll) -> int:
        return sum(map(poll.wants, self._catalogue.listed))

    def _paced_ms(self, poll: Poll, wanted_ms: int, *, share: float) -> int:
        calls = self._calls(poll)
        return self._rest.budget.interval_ms(calls, poll.weight, wanted_ms, share=share) if calls else wanted_ms
