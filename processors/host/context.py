"""The reader of context: records of other topics that every owned partition lets in through its journal.

It has no group: every worker reads all of it, and an agent that waited for it would block every partition."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from processors.host.log import LogReader, LogRecord
from runtime.kafka import topic_names
from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable
from schemas.records import JournalContext
from schemas.topics import FEED_HEALTH

BACK_MAX: Final = 1_000  # records before the end with which a worker begins: 10 repeats of 100 channels
RETRY_S: Final = 1.0
log = structlog.get_logger(__name__)


async def read_context(
    kafka: KafkaSettings, let_in: Callable[[JournalContext], None], *, ending: threading.Event
) -> None:
    """Hand every record of feed health to `let_in`, on the loop, until cancelled: first the latest of each channel,
    then each as it comes."""
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, "context")  # one: a reader is closed after its last read
    place: int | None = None
    try:
        while True:
            reader = None
            try:
                reader, end = await loop.run_in_executor(thread, _open, kafka, place, ending)
                latest: dict[bytes, LogRecord] = {}
                while True:
                    for record in await loop.run_in_executor(thread, reader.read):
                        place = record.offset + 1
                        latest.pop(record.key or b"", None)
                        latest[record.key or b""] = record
                    if reader.ended or (place or 0) >= end:
                        for record in latest.values():
                            let_in(_context(record))
                        latest.clear()
            except BrokerUnavailable as exc:
                log.warning("context is not read", reason=str(exc))
            finally:
                if reader is not None:
                    thread.submit(reader.close)
            await asyncio.sleep(RETRY_S)
    finally:
        thread.shutdown(wait=False)


def _open(kafka: KafkaSettings, place: int | None, ending: threading.Event) -> tuple[LogReader, int]:
    name = topic_names(kafka).of(FEED_HEALTH)
    with LogReader(kafka, {}, ending=ending) as reader:
        low, high = reader.bounds(name, 0)
    start = max(low, high - BACK_MAX) if place is None else place
    return LogReader(kafka, {(name, 0): start}, ending=ending, idle_s_max=None), high


def _context(record: LogRecord) -> JournalContext:
    return JournalContext(
        topic=FEED_HEALTH.name,
        partition=record.partition,
        offset=record.offset,
        append_time_ms=record.timestamp,
        key=record.key or b"",
        value=record.value or b"",
    )
