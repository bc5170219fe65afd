"""The reader of context: records of other topics that owned partitions let in through their journals.

It has no group: every worker reads all of it, and an agent that waited for it would block every partition. Health and
settings go into every partition; open interest and funding into the one of the same number, at most once a source and
10 s: that is the step of the fold; 300 assets of 13 contracts then write 780 entries of 200 bytes/s, 13 GB a day.

Settings are let in as one tree, whatever record changed it, and once an hour again: what a fold that begins in the
middle of the journal must know stands in the last hour of it."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
import structlog

from processors.host import metrics
from processors.in_force import ALL, Running
from runtime.kafka import topic_names
from runtime.log_reader import LogReader, LogRecord
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import BrokerUnavailable, SchemaError, SettingsError
from schemas.records import Funding, JournalContext, OpenInterest
from schemas.topics import FEED_HEALTH, FUNDING, OPEN_INTEREST, SETTINGS, Topic

BACK_MAX: Final = 1_000  # records a partition before the end with which a worker begins: 10 repeats of 100 channels
STEP_MS: Final = 10_000  # of a source, one record in as much time is let in
SOURCES_MAX: Final = 20_000  # 300 assets with 13 contracts, three records each, and the channels
RETRY_S: Final = 1.0
SETTINGS_EVERY_S: Final = 3_600.0  # 3 KB a partition, 300 KB with overrides of 300 assets
TOPICS: Final[tuple[Topic, ...]] = (FEED_HEALTH, OPEN_INTEREST, FUNDING, SETTINGS)
log = structlog.get_logger(__name__)
LetIn = Callable[[str, JournalContext], None]
Place = tuple[str, int]


class Sieve:
    """Says of which source a record is, and lets one of each in per step. Pure."""

    def __init__(self, codec: Codec, prefix: str) -> None:
        self._codec, self._prefix = codec, prefix
        self._steps: dict[str, int] = {}  # source -> step of the last one that was let in
        self._settings = Running()

    def source(self, record: LogRecord) -> str | None:
        """What the record tells about; None when it cannot be read, which is counted."""
        topic = record.topic.removeprefix(self._prefix)
        if topic == FEED_HEALTH.name:
            return f"{topic}/{(record.key or b'').decode(errors='replace')}"
        if topic == SETTINGS.name:
            return self._of_settings(record)
        try:
            if topic == OPEN_INTEREST.name:
                interest = self._codec.decode(OpenInterest, record.value or b"")
                return f"{topic}/{interest.exchange}/{interest.instrument}"
            funding = self._codec.decode(Funding, record.value or b"")
            return f"{topic}/{funding.exchange}/{funding.instrument}/{funding.settled}"
        except SchemaError:
            metrics.CONTEXT_REFUSED.inc()
            return None

    def passes(self, source: str, record: LogRecord) -> bool:
        """Whether it is let in: health and settings always, of others the first of a step."""
        if source.startswith((FEED_HEALTH.name, SETTINGS.name)):
            return True
        step = record.timestamp // STEP_MS
        if self._steps.get(source) == step:
            return False
        self._steps.pop(source, None)
        self._steps[source] = step
        if len(self._steps) > SOURCES_MAX:
            del self._steps[next(iter(self._steps))]
        return True

    def context(self, source: str, record: LogRecord) -> JournalContext:
        """The record as it is let in; of settings what all records so far come to."""
        told = JournalContext(
            topic=record.topic.removeprefix(self._prefix),
            partition=record.partition,
            offset=record.offset,
            append_time_ms=record.timestamp,
            key=record.key or b"",
            value=record.value or b"",
        )
        if source != SETTINGS.name or self._settings.whole is None:
            return told
        return msgspec.structs.replace(told, key=ALL.encode(), value=self._settings.whole)

    def _of_settings(self, record: LogRecord) -> str | None:
        key = (record.key or b"").decode(errors="replace")
        try:
            self._settings.take(key, record.value or b"")
        except SettingsError as exc:
            metrics.CONTEXT_REFUSED.inc()
            log.warning("a record of settings is passed over", key=key, offset=record.offset, reason=str(exc))
            return None
        return f"{SETTINGS.name}/{key}" if self._settings.whole is None else SETTINGS.name


async def read_context(kafka: KafkaSettings, codec: Codec, let_in: LetIn, *, ending: threading.Event) -> None:
    """Hand records of context to `let_in(source, record)`, on the loop, until cancelled: first the latest of each
    source, then each as it comes."""
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, "context")  # one: a reader is closed after its last read
    sieve = Sieve(codec, kafka.topic_prefix)
    places: dict[Place, int] = {}
    latest: dict[str, LogRecord] = {}  # read, and not let in yet
    settings, told_s = None, time.monotonic()
    try:
        while True:
            reader = None
            try:
                reader, ends = await loop.run_in_executor(thread, _open, kafka, places, ending)
                while True:
                    records = await loop.run_in_executor(thread, reader.read)
                    sources = await loop.run_in_executor(thread, _sources, sieve, records)
                    for record, source in zip(records, sources, strict=True):
                        places[record.topic, record.partition] = record.offset + 1
                        if source is not None:
                            latest.pop(source, None)
                            latest[source] = record
                    if reader.ended or all(places[place] >= end for place, end in ends.items()):
                        for source, record in latest.items():
                            if sieve.passes(source, record):
                                context = sieve.context(source, record)
                                let_in(source, context)
                                settings = context if source == SETTINGS.name else settings
                        latest.clear()
                    if settings is not None and time.monotonic() - told_s > SETTINGS_EVERY_S:
                        told_s = time.monotonic()
                        let_in(SETTINGS.name, settings)
            except BrokerUnavailable as exc:
                log.warning("context is not read", reason=str(exc))
            finally:
                if reader is not None:
                    thread.submit(reader.close)
            await asyncio.sleep(RETRY_S)
    finally:
        thread.shutdown(wait=False)


def _open(
    kafka: KafkaSettings, places: dict[Place, int], ending: threading.Event
) -> tuple[LogReader, dict[Place, int]]:
    """A reader from `places` on, where there is none yet from shortly before the end, which it notes; and the ends."""
    names, ends = topic_names(kafka), {}
    with LogReader(kafka, {}, ending=ending) as reader:
        for topic in TOPICS:
            for partition in range(topic.partitions(kafka.partitions)):
                place = names.of(topic), partition
                low, ends[place] = reader.bounds(*place)
                back = ends[place] if topic is SETTINGS else BACK_MAX  # settings count however old they are
                places.setdefault(place, max(low, ends[place] - back))
    return LogReader(kafka, places, ending=ending, idle_s_max=None), ends


def _sources(sieve: Sieve, records: Iterable[LogRecord]) -> list[str | None]:
    return [sieve.source(record) for record in records]
