"""The detector's producer on a real broker: what it takes, and what it says became of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from processors.host.publisher import Publisher, Report
from processors.outputs.output import Message
from runtime.kafka import create_topics, topic_names
from runtime.settings import KafkaSettings
from schemas.topics import WINDOWS

DEADLINE_S: Final = 60.0
TOO_LARGE: Final = bytes(2_000_000)  # bytes; the client takes 1,000,000


@pytest.fixture
def settings(kafka: str, topic_prefix: str) -> KafkaSettings:
    made = KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=1)
    create_topics(made, (WINDOWS,))
    return made


class Reports:
    """What was reported, in the order of its coming."""

    def __init__(self) -> None:
        self.seen: list[Report] = []
        self._changed = asyncio.Event()

    def __call__(self, report: Report) -> None:
        self.seen.append(report)
        self._changed.set()

    async def records(self, count: int) -> None:
        """Wait until so many records are reported."""
        async with asyncio.timeout(DEADLINE_S):
            while sum(report.records for report in self.seen) < count:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def publishing(settings: KafkaSettings) -> AsyncIterator[Publisher]:
    publisher = Publisher(settings, on_room=lambda: None, on_fatal=lambda error: pytest.fail(str(error)))
    publisher.start()
    try:
        yield publisher
    finally:
        assert publisher.close() == 0, "all is answered"


def messages(count: int) -> list[Message]:
    return [{"key": str(number), "value": b"window"} for number in range(count)]


async def test_records_handed_over_together_are_reported_once_with_the_last_offset(settings: KafkaSettings) -> None:
    name, reports = topic_names(settings).of(WINDOWS), Reports()
    async with publishing(settings) as publisher:
        assert publisher.send_batch(name, 0, messages(300), reports) == 300
        assert publisher.send_batch(name, 0, messages(200), reports) == 200
        await reports.records(500)
    assert [(report.records, report.error, report.offset) for report in reports.seen] == [
        (300, "", 299),
        (200, "", 499),
    ]
    assert all(report.append_time_ms > 0 for report in reports.seen)


async def test_a_record_that_is_refused_makes_its_batch_fail_and_is_counted(settings: KafkaSettings) -> None:
    name, reports = topic_names(settings).of(WINDOWS), Reports()
    async with publishing(settings) as publisher:
        batch = messages(3)
        batch[1]["value"] = TOO_LARGE
        assert publisher.send_batch(name, 0, batch, reports) == 3
        await reports.records(3)
        assert publisher.send_batch(name, 0, [{"key": "", "value": TOO_LARGE}], reports) == 1
        await reports.records(4)
        assert publisher.send(name, 0, b"", TOO_LARGE, reports)
        await reports.records(5)
    assert [report.records for report in reports.seen] == [3, 1, 1]
    assert all("large" in report.error for report in reports.seen)


async def test_what_the_client_has_no_room_for_is_not_taken(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processors.host.publisher.QUEUE_MAX", 10)
    name, reports, left = topic_names(settings).of(WINDOWS), Reports(), messages(25)
    async with publishing(settings) as publisher:
        while left:
            taken = publisher.send_batch(name, 0, left, reports)
            assert taken <= 10
            assert not any("_error" in message for message in left)
            left = left[taken:]
            await reports.records(25 - len(left))
    assert [report.error for report in reports.seen] == [""] * len(reports.seen)
    assert reports.seen[-1].offset == 24, "each once"


async def test_records_that_wait_for_room_leave_some_to_those_that_do_not(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processors.host.publisher.IN_FLIGHT_MAX", 10)
    name, reports = topic_names(settings).of(WINDOWS), Reports()
    async with publishing(settings) as publisher:
        assert publisher.send_batch(name, 0, messages(25), reports) == 10
        assert publisher.send_batch(name, 0, messages(25), reports) == 0
        assert publisher.send(name, 0, b"alert", b"", reports)
        await reports.records(11)
        assert publisher.send_batch(name, 0, messages(5), reports) == 5
        await reports.records(16)
    assert reports.seen[-1].offset == 15
