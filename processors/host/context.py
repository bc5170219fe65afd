"""The reader of context: records of other topics that owned partitions let in through their journals.

It has no group: every worker reads all of it, and an agent that waited for it would block every partition. Health and
settings go into every partition; open interest and funding into the one of the same number, at most once a source and
10 s: that is the step of the fold; 300 assets of 13 contracts then write 780 entries of 200 bytes/s, 13 GB a day."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from processors.host import metrics
from processors.host.log import LogReader, LogRecord
from processors.in_force import read
from runtime.kafka import topic_names
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import BrokerUnavailable, SchemaError, SettingsError
from schemas.records import Funding, JournalContext, OpenInterest
from schemas.topics import FEED_HEALTH, FUNDING, OPEN_INTEREST, SETTINGS, Topic

BACK_MAX: Final = 1_000  # records a partition before the end with which a worker begins: 10 repeats of 100 channels
STEP_MS: Final = 10_000  # of a source, one record in as much time is let in
SOURCES_MAX: Final = 20_000  # 300 assets with 13 contracts, three records each, and the channels
RETRY_S: Final = 1.0
TOPICS: Final[tuple[Topic, ...]] = (FEED_HEALTH, OPEN_INTEREST, FUNDING, SETTINGS)
log = structlog.get_logger(__name__)
LetIn = Callable[[str, JournalContext], None]
Place = tuple[str, int]


class Sieve:
    """Says of which source a record is, and lets one of each in per step. Pure."""

    def __init__(self, codec: Codec, prefix: str) -> None:
        self._codec, self._prefix = codec, prefix
        self._steps: dict[str, int] = {}  # source -> step of the last one that was let in

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

    def _of_settings(self, record: LogRecord) -> str | None:
        key = (record.key or b"").decode(errors="replace")
        try:
            read(record.value or b"")
        except SettingsError as exc:
            metrics.CONTEXT_REFUSED.inc()
            log.warning("a record of settings is passed over", key=key, offset=record.offset, reason=str(exc))
            return None
        return f"{SETTINGS.name}/{key}"


async def read_context(kafka: KafkaSettings, codec: Codec, let_in: LetIn, *, ending: threading.Event) -> None:
    """Hand records of context to `let_in(source, record)`, on the loop, until cancelled: first the latest of each
    source, then each as it comes."""
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, "context")  # one: a reader is closed after its last read
    sieve = Sieve(codec, kafka.topic_prefix)
    places: dict[Place, int] = {}
    try:
        while True:
            reader = None
            try:
                reader, ends = await loop.run_in_executor(thread, _open, kafka, places, ending)
                latest: dict[str, LogRecord] = {}
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
                                let_in(source, _context(record, kafka.topic_prefix))
                        latest.clear()
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


def _context(record: LogRecord, prefix: str) -> JournalContext:
    return JournalContext(
        topic=record.topic.removeprefix(prefix),
        partition=record.partition,
        offset=record.offset,
        append_time_ms=record.timestamp,
        key=record.key or b"",
        value=record.value or b"",
    )
