"""The source on a real broker: what it reads, what it lets go, when it waits, and what it knows of the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest

from processors.host import source as module
from processors.host.source import RUN_MAX, Place, Source
from schemas.topics import LIQUIDATIONS
from tests.processors.topics import DetectorTopics

DEADLINE_S: Final = 60.0


@pytest.fixture
def topics(kafka: str, topic_prefix: str) -> DetectorTopics:
    return DetectorTopics(kafka, topic_prefix, partitions=2)


@asynccontextmanager
async def reading(topics: DetectorTopics) -> AsyncIterator[Source]:
    source = Source(topics.kafka)
    source.start()
    try:
        yield source
    finally:
        source.stop()


def place_of(topics: DetectorTopics, partition: int = 0) -> Place:
    return topics.names.of(LIQUIDATIONS), partition


def values(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last)]


async def take(source: Source, count: int) -> list[tuple[int, int, bytes | None]]:
    """Partition, offset and value of so many records, each run of which is consecutive."""
    taken: list[tuple[int, int, bytes | None]] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(taken) < count:
            place = await source.ready()
            run = source.take(place)
            assert len(run) <= RUN_MAX
            assert [one.offset for one in run] == list(range(run[0].offset, run[0].offset + len(run)))
            taken += [(place[1], one.offset, one.value) for one in run]
    return taken


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_every_record_comes_once_and_in_order_from_where_it_was_asked_for(topics: DetectorTopics) -> None:
    topics.append(values(0, 1_300), partition=0)
    topics.append(values(0, 5), partition=1)
    async with reading(topics) as source:
        source.add(place_of(topics, 0), 7)
        source.add(place_of(topics, 1), 2)
        taken = await take(source, 1_293 + 3)
        topics.append(values(1_300, 1_303), partition=0)
        taken += await take(source, 3)
    assert [(at, value) for number, at, value in taken if not number] == list(enumerate(values(7, 1_303), 7))
    assert [(at, value) for number, at, value in taken if number] == list(enumerate(values(2, 5), 2))


async def test_what_comes_before_it_is_taken_is_taken_with_it(topics: DetectorTopics) -> None:
    async with reading(topics) as source:
        source.add(place_of(topics), 0)
        topics.append(values(0, 1), partition=0)
        place = await source.ready()
        topics.append(values(1, 4), partition=0)
        await until(lambda: source.waiting == 4)
        assert [one.value for one in source.take(place)] == values(0, 4)
        assert not source.take(place)


async def test_a_removed_partition_gives_nothing_and_goes_on_where_it_is_added_again(topics: DetectorTopics) -> None:
    topics.append(values(0, 10), partition=0)
    async with reading(topics) as source:
        source.add(place_of(topics), 0)
        place = await source.ready()
        source.remove(place)
        assert (len(source.take(place)), source.end(place), source.waiting) == (0, None, 0)
        source.add(place, 8)
        assert [at for _, at, _ in await take(source, 2)] == [8, 9]


async def test_the_end_is_not_known_before_the_broker_has_said_it(topics: DetectorTopics) -> None:
    topics.append(values(0, 3), partition=0)
    async with reading(topics) as source:
        source.add(place_of(topics), 3)
        assert source.end(place_of(topics)) is None
        await until(lambda: source.end(place_of(topics)) == 3)
        source.add(place_of(topics), 3)
        assert source.end(place_of(topics)) is None, "what was said before does not count"
        topics.append(values(3, 4), partition=0)
        await until(lambda: source.end(place_of(topics)) == 4)


async def test_whoever_waits_is_told_that_its_thread_has_ended(
    topics: DetectorTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Source) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Source, "_obey", fail)
    async with reading(topics) as source:
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(RuntimeError, match="a bug"):
                await source.ready()


async def test_it_waits_when_nobody_takes(topics: DetectorTopics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 100)
    topics.append(values(0, 2_000), partition=0)
    async with reading(topics) as source:
        source.add(place_of(topics), 0)
        await until(lambda: source.waiting >= 100)
        assert source.waiting < 100 + RUN_MAX
        assert len(await take(source, 2_000)) == 2_000
