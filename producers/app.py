"""The stage `liqcascade produce`: all feeds on one event loop, until SIGINT or SIGTERM."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from producers.exchanges import ADAPTERS
from producers.publish import TOPICS_OF_STAGE, Publisher
from producers.settings import ProducerSettings
from producers.source import Source
from runtime import logs
from runtime.kafka import create_topics
from runtime.operations import OperationsServer
from schemas.errors import BrokerUnavailable
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


class Stage:
    """Publisher, sources and operations server of one process."""

    def __init__(self, settings: ProducerSettings) -> None:
        self._settings = settings
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
        publisher = Publisher(self._settings.kafka, queue_messages_max=section.queue_messages_max)
        self._sources = [Source(ADAPTERS[name], section, publisher) for name in dict.fromkeys(section.exchanges)]
        operations = OperationsServer(self._settings.operations, alive=self._alive, ready=self._ready)
        self._log.info("started", operations=operations.start(), exchanges=[each.exchange for each in self._sources])
        try:
            await self._produce(publisher)
        except BaseExceptionGroup as exc:
            raise _first(exc) from exc
        finally:
            for signal_number in SIGNALS:
                loop.remove_signal_handler(signal_number)
            operations.stop()
            await self._close(publisher)

    async def _produce(self, publisher: Publisher) -> None:
        async with asyncio.TaskGroup() as tasks:
            chores = [tasks.create_task(publisher.serve()), tasks.create_task(self._beat())]
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

    async def _close(self, publisher: Publisher) -> None:
        try:
            await publisher.close(FLUSH_S)
        finally:
            published: dict[str, dict[str, int]] = {}
            for (topic, exchange), count in sorted(publisher.published.items()):
                published.setdefault(topic, {})[exchange] = count
            dead_letters = {each.exchange: each.dead_letters for each in self._sources}
            self._log.info("stopped", published=published, dead_letters=dead_letters)

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
