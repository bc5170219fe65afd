"""Owns the flows of the assigned partitions: takes over, catches up, ticks, captures state, gives back.

The group's consumer hands in runs of records and is never made to wait for one partition: a run that cannot be folded
now (its partition recovers, or records before it are missing) is let go, and the host reads that stretch of the log
itself until it has caught up with what was handed in. So a seek that came to nothing, a record that was skipped or a
consumer that fell silent costs a second read, never a record."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from processors.host import metrics
from processors.host.context import SOURCES_MAX, read_context
from processors.host.flow import HELD_MAX, Flow
from processors.host.fold import Consumed, Fold
from processors.host.publisher import Publisher
from processors.host.recovery import Recovered, recover
from processors.host.settings import HostSettings
from processors.host.source import run_of
from processors.host.watchdog import HANGS_S, Verdict, Watchdog
from runtime.kafka import topic_names
from runtime.log_reader import LogReader
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import BrokerUnavailable, LiqcascadeError
from schemas.records import JournalContext
from schemas.topics import LIQUIDATIONS, TOPICS

RUN_MAX: Final = 500  # records folded before others may run: 5 ms at 100,000/s
CLOSE_S_MAX: Final = 3.0  # of the 5 s in which a worker ends
BACKOFF_S_MIN: Final = 1.0  # a worker that was replaced has learned so by then
BACKOFF_S_MAX: Final = 30.0
ASSETS_AT_ONCE: Final = 2  # whose state is captured before others may run: 1 ms
WATCH_S: Final = 5.0
BEAT_S_MAX: Final = 10.0  # 50 ticks: a loop that did not come round in this time hangs
REPORT_S_MAX: Final = 600.0  # twice what the producer gives a record
POLL_S: Final = 0.005
TAKEOVERS_MAX: Final = 6  # in TAKEOVERS_S: a group that gains a worker every 10 s
TAKEOVERS_S: Final = 60.0
log = structlog.get_logger(__name__)


class Host:
    """`start()`, then `assign()` and `revoke()` as the group says, `deliver()` for every run, `stop()`.

    `on_covered(partition, offset)`: that offset may be committed. `on_behind(partition)`: the host reads it by itself,
    what else is handed in is let go; `on_level(partition, offset)`: it goes on with what is handed in from there.
    `high_watermark(partition)`: the end of the log as the group's consumer knows it, None when it does not. `failed`
    becomes the error that ends the worker."""

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: HostSettings,
        *,
        detector: Callable[[int], Fold],
        high_watermark: Callable[[int], int | None],
        on_covered: Callable[[int, int], None],
        on_behind: Callable[[int], None],
        on_level: Callable[[int, int], None],
    ) -> None:
        self._kafka, self._settings = kafka, settings
        self._on_behind, self._on_level = on_behind, on_level
        self._detector, self._high_watermark, self._on_covered = detector, high_watermark, on_covered
        self._names = topic_names(kafka)
        self._codec = Codec(kafka.schema_registry_url)
        self._flows: dict[int, Flow] = {}
        self._owned: set[int] = set()
        self._troubles: dict[int, str] = {}  # partition -> why it is not folding
        self._handed_in: dict[int, int] = {}  # partition -> offset behind the last record handed in
        self._tasks: dict[int, asyncio.Task[None]] = {}  # one a partition: it recovers or catches up
        self._context: dict[str, JournalContext] = {}  # the latest of each source
        self._backoff_s: dict[int, float] = {}
        self._services: list[asyncio.Task[None]] = []
        self._ending = threading.Event()
        self._takeovers_s: deque[float] = deque(maxlen=TAKEOVERS_MAX)
        self._turn = asyncio.Lock()  # of partitions that catch up: one run, then whoever else wants the loop
        self._room = asyncio.Event()
        self._room.set()
        self._publisher = Publisher(kafka, on_fatal=self._on_fatal, on_room=self._pump)
        self._beat_s = time.monotonic()
        self.failed: asyncio.Future[LiqcascadeError] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        """Start the producer and the timers."""
        self._publisher.start()
        context = read_context(self._kafka, self._codec, self.let_in, ending=self._ending)
        timers = self._tick_all(), self._capture_all(), self._watch_all(), context
        self._services = [asyncio.create_task(timer) for timer in timers]
        for service in self._services:
            service.add_done_callback(self._service_ended)

    def assign(self, partitions: Iterable[int]) -> None:
        """Take partitions over; returns at once."""
        new = set(partitions) - self._owned
        self._owned |= new
        if not new:
            return
        log.info("taking over", partitions=sorted(new))
        self._takeovers_s.append(time.monotonic())
        if len(self._takeovers_s) == TAKEOVERS_MAX and self._takeovers_s[-1] - self._takeovers_s[0] < TAKEOVERS_S:
            log.error(
                "partitions come and go; do two workers of the group have the same host.instance?",
                takeovers=TAKEOVERS_MAX,
                seconds=round(self._takeovers_s[-1] - self._takeovers_s[0]),
            )
        for partition in new:
            self._handed_in[partition] = 0
            self._troubles[partition] = "recovering"
            self._on_behind(partition)
        task = asyncio.create_task(self._recover(new), name="recover")
        self._tasks.update(dict.fromkeys(new, task))

    async def revoke(self, partitions: Iterable[int]) -> None:
        """Give partitions back: their outputs are published and their state is written, as far as 3 s allow."""
        gone = set(partitions) & self._owned
        self._owned -= gone
        for task in {self._tasks.pop(partition) for partition in gone if partition in self._tasks}:
            if task not in self._tasks.values():  # a recovery may be of others too
                task.cancel()
        flows = [self._flows[partition] for partition in gone if partition in self._flows]
        deadline_s = time.monotonic() + CLOSE_S_MAX
        await asyncio.gather(*(self._settle(flow, deadline_s) for flow in flows))
        for flow in flows:
            flow.close()
        for partition in gone:
            for known in (self._flows, self._troubles, self._handed_in, self._backoff_s):
                known.pop(partition, None)
        self._make_room()

    async def stop(self) -> None:
        """Give everything back and end."""
        for service in self._services:
            service.cancel()
        self._ending.set()
        await self.revoke(self._owned)
        await asyncio.gather(*self._services, return_exceptions=True)
        unconfirmed = self._publisher.close()
        if unconfirmed:
            log.error("stopped with records that the broker has not confirmed", records=unconfirmed)

    def deliver(self, partition: int, run: Sequence[Consumed]) -> None:
        """Fold a run of consecutive records of one partition, or let it go and catch up by reading."""
        if partition not in self._owned:
            return
        self._handed_in[partition] = max(self._handed_in[partition], run[-1].offset + 1)
        flow = self._flows.get(partition)
        if flow is None or partition in self._tasks:
            return
        whole = run[-1].offset - run[0].offset + 1 == len(run)
        if run[0].offset > flow.position or not whole:
            log.warning("records missing", partition=partition, expected=flow.position, came=run[0].offset)
            self._start_catching_up(flow)
            return
        self._fold(flow, run)

    async def room(self) -> None:
        """Wait until outputs can be published again; this is what holds the consumer back when the broker is slow."""
        if any(flow.held > HELD_MAX for flow in self._flows.values()):
            self._room.clear()
            await self._room.wait()

    def let_in(self, source: str, context: JournalContext) -> None:
        """Let a record of another topic into the partitions that it is for, now or as soon as they have caught up."""
        self._context.pop(source, None)
        self._context[source] = context
        if len(self._context) > SOURCES_MAX:
            del self._context[next(iter(self._context))]
        for partition, flow in list(self._flows.items()):
            if partition not in self._owned or partition in self._tasks or not _is_for(context, partition):
                continue
            if not flow.let_in(context):
                log.warning("context passed over: the producer is full", partition=partition, topic=context.topic)

    def troubles(self) -> dict[str, str]:
        """Every owned partition: "ok", or why it is not folding. From any thread."""
        owned = list(self._owned)  # one step: the loop may change it meanwhile
        return {f"partition {partition}": self._troubles.get(partition, "ok") for partition in sorted(owned)}

    @property
    def alive(self) -> bool:
        """Whether the loop still comes round. From any thread."""
        return time.monotonic() - self._beat_s < BEAT_S_MAX

    async def _recover(self, partitions: set[int]) -> None:
        task = asyncio.current_task()
        try:
            found = await asyncio.to_thread(
                recover, self._kafka, self._codec, partitions, new_detector=self._detector, ending=self._ending
            )
        except Exception as exc:
            if not isinstance(exc, LiqcascadeError):
                log.exception("recovery failed")
            for partition in [partition for partition in partitions if self._tasks.get(partition) is task]:
                self._retry(partition, str(exc))
            return
        for partition in sorted(partition for partition in partitions if self._tasks.get(partition) is task):
            one = found[partition]
            flow = self._flows[partition] = self._new_flow(one)
            log.info("recovered", partition=partition, position=one.position, end=one.end, epoch=one.epoch)
            self._troubles[partition] = "catching up"
            self._handed_in[partition] = max(self._handed_in[partition], one.end)
            self._start_catching_up(flow)

    def _new_flow(self, one: Recovered) -> Flow:
        return Flow(
            one.partition,
            one.detector,
            one,
            publisher=self._publisher,
            codec=self._codec,
            names=self._names,
            on_covered=self._on_covered,
            on_failed=self._on_failed,
        )

    def _retry(self, partition: int, why: str) -> None:
        """Start a partition again after a while."""
        log.error("partition stopped", partition=partition, reason=why)
        self._troubles[partition] = why
        wait_s = self._backoff_s.get(partition, BACKOFF_S_MIN)
        self._backoff_s[partition] = min(2 * wait_s, BACKOFF_S_MAX)
        flow = self._flows.pop(partition, None)
        self._on_behind(partition)

        async def again() -> None:
            await asyncio.sleep(wait_s)
            if flow is not None:  # what it sent may still be published: only then is it seen in the topics
                await _until(lambda: not flow.unreported, time.monotonic() + REPORT_S_MAX)
            await self._recover({partition})

        self._tasks[partition] = asyncio.create_task(again(), name=f"recover {partition}")

    def _on_failed(self, flow: Flow, why: str) -> None:
        metrics.FAILED.inc()
        if self._flows.get(flow.partition) is flow:
            self._retry(flow.partition, why)
        self._make_room()

    def _fold(self, flow: Flow, run: Sequence[Consumed]) -> None:
        try:
            flow.fold(run)
        except Exception as exc:  # our own bug: the partition starts again, and says so until it is mended
            log.exception("folding failed", partition=flow.partition, offset=flow.position)
            flow.close()
            self._on_failed(flow, f"folding at offset {flow.position}: {exc!r}")

    def _start_catching_up(self, flow: Flow) -> None:
        self._on_behind(flow.partition)
        task = asyncio.create_task(self._catch_up(flow), name=f"catch up {flow.partition}")
        self._tasks[flow.partition] = task

    async def _catch_up(self, flow: Flow) -> None:
        """Read the log from the flow's position until it has all that was handed in."""
        partition = flow.partition
        try:
            if flow.position < self._handed_in[partition] or flow.replaying:
                metrics.REREAD.inc()
                await self._read_on(flow)
        except LiqcascadeError as exc:
            flow.close()
            self._on_failed(flow, str(exc))
            return
        if self._tasks.get(partition) is asyncio.current_task():
            del self._tasks[partition]
            self._troubles.pop(partition, None)
            self._backoff_s.pop(partition, None)
            self._on_level(partition, flow.position)
            for context in list(self._context.values()):
                if _is_for(context, partition):
                    flow.let_in(context)

    async def _read_on(self, flow: Flow) -> None:
        name, partition = self._names.of(LIQUIDATIONS), flow.partition
        reader = LogReader(self._kafka, {(name, partition): flow.position}, ending=self._ending)
        thread, loop = ThreadPoolExecutor(1, "catch up"), asyncio.get_running_loop()  # one: `close` comes after `read`
        try:
            while not flow.closed and (flow.position < self._handed_in[partition] or flow.replaying):
                records = await loop.run_in_executor(thread, lambda: run_of(reader.messages()))
                for start in range(0, len(records), RUN_MAX):
                    async with self._turn:
                        self._fold(flow, records[start : start + RUN_MAX])
                        await asyncio.sleep(0)
                    await self.room()
                end = reader.end_seen(name, partition)  # a new leader may not know of all that was handed in yet
                if not records and not flow.closed and end:
                    if flow.position < end:
                        metrics.GAPS.inc()
                        log.warning("nothing to read", partition=partition, first=flow.position, end=end)
                    flow.skip_to(end)
        finally:
            thread.submit(reader.close)
            thread.shutdown(wait=False)

    async def _settle(self, flow: Flow, deadline_s: float) -> None:
        def settled() -> bool:
            flow.capture()
            return flow.closed or flow.settled

        if not await _until(settled, deadline_s):
            log.warning("given back before its state was written", partition=flow.partition, position=flow.position)

    async def _tick_all(self) -> None:
        async for partition, flow in self._in_turn(self._settings.tick_interval_ms):
            self._beat_s = time.monotonic()
            if partition in self._owned and partition not in self._tasks and self._at_end(flow):
                flow.tick()

    def _at_end(self, flow: Flow) -> bool:
        """Whether time may pass for it: something is open, and nothing of the log is left to fold."""
        end = self._high_watermark(flow.partition)
        return flow.wants_ticks and end is not None and flow.position >= end and not flow.replaying

    async def _capture_all(self) -> None:
        async for _, flow in self._in_turn(self._settings.snapshot_interval_ms):
            left = flow.capture(ASSETS_AT_ONCE)
            while left:
                await asyncio.sleep(0)
                left = flow.capture(ASSETS_AT_ONCE)

    async def _in_turn(self, interval_ms: int) -> AsyncIterator[tuple[int, Flow]]:
        """Each flow once in `interval_ms`, one after the other: an event does not wait for what all of them do."""
        while True:
            flows = list(self._flows.items())
            for partition, flow in flows:
                await asyncio.sleep(interval_ms / 1_000 / len(flows))
                if self._flows.get(partition) is flow:
                    yield partition, flow
            if not flows:
                await asyncio.sleep(POLL_S)

    async def _watch_all(self) -> None:
        """See partitions whose records lie ready and do not come, and read them; start those again that hang."""
        watchdog = Watchdog(waits_s=WATCH_S)
        with LogReader(self._kafka, {}, ending=self._ending) as reader:
            while True:
                await asyncio.sleep(WATCH_S)
                for partition, flow in list(self._flows.items()):
                    try:
                        _, end = await asyncio.to_thread(reader.bounds, self._names.of(LIQUIDATIONS), partition)
                    except BrokerUnavailable as exc:
                        log.warning("cannot see the end of the log", partition=partition, reason=str(exc))
                        break
                    metrics.LAG.labels(partition).set(max(0, end - flow.position))
                    if self._flows.get(partition) is flow:
                        seen = watchdog.see(partition, position=flow.position, end=end, now_s=time.monotonic())
                        self._judge(flow, end, seen)

    def _judge(self, flow: Flow, end: int, seen: Verdict) -> None:
        partition, position = flow.partition, flow.position
        if seen is Verdict.HANGS:
            metrics.HANGS.inc()
            task = self._tasks.get(partition)
            flow.close()
            self._on_failed(flow, f"no progress from offset {position} to {end} for {HANGS_S:.0f} s")
            if task is not None:
                task.cancel()
        elif seen is Verdict.WAITS and partition not in self._tasks:
            metrics.STALLED.inc()
            log.error("records do not come", partition=partition, position=position, end=end)
            self._handed_in[partition] = max(self._handed_in[partition], end)
            self._start_catching_up(flow)

    def _pump(self) -> None:
        for flow in list(self._flows.values()):
            flow.pump()
            flow.write()
        self._make_room()

    def _make_room(self) -> None:
        if all(flow.held <= HELD_MAX for flow in self._flows.values()):
            self._room.set()

    def _service_ended(self, service: asyncio.Task[None]) -> None:
        """Our own bug: a worker without its ticks, captures, watch or context must not look alive."""
        if not service.cancelled() and service.exception() is not None:
            log.error("a part of the worker ended", exc_info=service.exception())
            self._on_fatal(LiqcascadeError(f"a part of the worker ended: {service.exception()!r}"))

    def _on_fatal(self, error: LiqcascadeError) -> None:
        if not self.failed.done():
            self.failed.set_result(error)


def _is_for(context: JournalContext, partition: int) -> bool:
    return context.partition == partition or not TOPICS[context.topic].by_asset


async def _until(condition: Callable[[], bool], deadline_s: float) -> bool:
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(POLL_S)
    return True
