"""The stage `liqcascade produce`: all feeds on one event loop, until SIGINT or SIGTERM."""

import asyncio
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from producers.exchanges import ADAPTERS
from producers.outlet import Nowhere
from producers.presence import Presence
from producers.publish import TOPICS_OF_STAGE, Publisher
from producers.published import recent_ids
from producers.record import Recorder
from producers.settings import ProducerSettings
from producers.source import Source
from runtime import logs
from runtime.clock import wall_clock_ms
from runtime.kafka import create_topics
from runtime.operations import OperationsServer
from schemas.errors import BrokerUnavailable, SettingsError
from schemas.topics import RAW_FRAMES

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
STOP_S: Final = 2.3  # of the 5 s that the stage has to end; closing the connections takes 1.5 at most
FLUSH_S: Final = 2.5
BEAT_S: Final = 1.0
ALIVE_S: Final = 15.0  # an event loop that did not come round for so long hangs; a garbage collection takes 1 s


def run(settings: ProducerSettings) -> None:
    """Produce until told to stop; everything that was received is acknowledged by the broker when this returns.

    Raises BrokerUnavailable when the broker cannot be reached at the start or refuses a record; SettingsError."""
    logs.configure(settings.log, stage="produce")
    raw = (RAW_FRAMES,) if settings.producers.raw_frames else ()
    create_topics(settings.kafka, TOPICS_OF_STAGE + raw)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(Stage(settings).run())


def record(settings: ProducerSettings) -> None:
    """Record without Kafka until told to stop. Raises SettingsError when no folder is named."""
    logs.configure(settings.log, stage="record")
    if settings.producers.record_folder is None:
        raise SettingsError("producers.record_folder: name the folder for the recording")
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(Stage(settings, publish=False).run())


class Stage:
    """Publisher, sources and operations server of one process. `publish` False: it records and needs no broker."""

    def __init__(self, settings: ProducerSettings, *, publish: bool = True) -> None:
        self._settings, self._publish = settings, publish
        self._log = structlog.get_logger()
        self._stopped = asyncio.Event()
        self._beat_at = time.monotonic()
        self._sources: list[Source] = []

    def stop(self) -> None:
        """Let `run` end; safe to call more than once."""
        self._stopped.set()

    async def run(self) -> None:
        """See `run` of this module."""
        loop = asyncio.get_running_loop()
        for signal_number in SIGNALS:
            loop.add_signal_handler(signal_number, self.stop)
        section = self._settings.producers
        recorder = Recorder(section.record_folder) if section.record_folder is not None else None
        presence = Presence(self._settings.redis) if self._publish else None
        publisher = self._publisher(presence)
        outlet = publisher if publisher is not None else Nowhere()  # an empty publisher is false
        published = await self._recent_ids()
        self._sources = [
            Source(ADAPTERS[name], section, outlet, tap=recorder.put if recorder else None, published=published[name])
            for name in dict.fromkeys(section.exchanges)
        ]
        operations = OperationsServer(self._settings.operations, alive=self._alive, ready=self._ready)
        self._log.info("started", operations=operations.start(), exchanges=[each.exchange for each in self._sources])
        try:
            await self._produce(publisher, presence)
        except BaseExceptionGroup as exc:
            raise _first(exc) from exc
        finally:
            for signal_number in SIGNALS:
                loop.remove_signal_handler(signal_number)
            operations.stop()
            for source in self._sources:
                await source.close()
            await self._close(publisher, presence, recorder)

    def _publisher(self, presence: Presence | None) -> Publisher | None:
        if not self._publish:
            return None
        queue_messages_max = self._settings.producers.queue_messages_max
        return Publisher(self._settings.kafka, queue_messages_max=queue_messages_max, presence=presence)

    async def _recent_ids(self) -> defaultdict[str, list[str]]:
        if not self._publish:
            return defaultdict(list)
        now_ms = wall_clock_ms()
        ids = await asyncio.to_thread(recent_ids, self._settings.kafka, now_ms=now_ms)
        self._log.info("published before", liquidations={name: len(each) for name, each in sorted(ids.items())})
        return defaultdict(list, ids)

    async def _produce(self, publisher: Publisher | None, presence: Presence | None) -> None:
        async with asyncio.TaskGroup() as tasks:
            chores = [tasks.create_task(self._beat())]
            chores += [tasks.create_task(publisher.serve())] if publisher is not None else []
            chores += [tasks.create_task(presence.run())] if presence else []
            starts = [tasks.create_task(source.run(tasks)) for source in self._sources]
            await self._stopped.wait()
            for start in starts:
                start.cancel()
            try:
                async with asyncio.timeout(STOP_S):
                    await asyncio.gather(*(source.stop() for source in self._sources))
            except TimeoutError as exc:
                raise BrokerUnavailable(
                    f"ending: the queue of {self._settings.producers.queue_messages_max} records for "
                    f"{self._settings.kafka.bootstrap_servers} stayed full for {STOP_S:g} s, so frames were lost"
                ) from exc
            for chore in chores:
                chore.cancel()

    async def _close(self, publisher: Publisher | None, presence: Presence | None, recorder: Recorder | None) -> None:
        told: dict[str, object] = {"dead_letters": {each.exchange: each.dead_letters for each in self._sources}}
        try:
            if publisher is not None:
                await publisher.close(FLUSH_S)
        finally:
            if recorder is not None:
                await asyncio.to_thread(recorder.close)
                told |= {"recorded": recorder.recorded, "left_out": recorder.left_out}
            if presence is not None:
                await presence.close()
            if publisher is not None:
                published: dict[str, dict[str, int]] = {}
                for (topic, exchange), count in sorted(publisher.published.items()):
                    published.setdefault(topic, {})[exchange] = count
                told["published"] = published
            self._log.info("stopped", **told)

    async def _beat(self) -> None:
        while True:
            self._beat_at = time.monotonic()
            await asyncio.sleep(BEAT_S)

    def _alive(self) -> Mapping[str, str]:
        late_s = time.monotonic() - self._beat_at
        return {"event loop": "ok" if late_s < ALIVE_S else f"has not come round for {late_s:.0f} s"}

    def _ready(self) -> Mapping[str, str]:
        return {each.exchange: "ok" if each.is_ready else each.channel.state.value for each in self._sources}


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of nested groups: that of the broker if there is one, for it names what to do."""
    match = group.subgroup(BrokerUnavailable) or group
    error: BaseException = match
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # not made for Windows

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
