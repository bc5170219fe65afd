"""The detector's worker on a real broker, killed and stopped in the middle of a stream."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from processors.host.log import LogReader
from schemas.topics import LIQUIDATIONS, SNAPSHOTS
from stack.embedded import EmbeddedStack
from tests.processors.topics import DetectorTopics, Worker, liquidation
from tests.stack.waiting import eventually

PARTITIONS = 3
EVENTS = 2_400
PER_S = 600
JUNK_EVERY = 400


@pytest.fixture
def topics(kafka: str, topic_prefix: str) -> DetectorTopics:
    return DetectorTopics(kafka, topic_prefix, partitions=PARTITIONS)


class Stream:
    """Appends liquidations at a pace, in a thread; some are nothing that can be decoded, some are late."""

    def __init__(self, topics: DetectorTopics) -> None:
        self._topics, self.sent = topics, 0
        self._thread = threading.Thread(target=self._run, name="stream")
        self._pace = threading.Event()

    def past(self, number: int) -> None:
        eventually(lambda: self.sent >= number, f"{number} appended")

    def _run(self) -> None:
        for number in range(0, EVENTS, 10):
            now_ms = time.time_ns() // 1_000_000
            self._topics.append(
                b"junk"
                if one % JUNK_EVERY == JUNK_EVERY - 1
                else liquidation(one, event_time_ms=now_ms - one % 5 * 50, backlog=one % 100 == 0)
                for one in range(number, number + 10)
            )
            self.sent = number + 10
            self._pace.wait(10 / PER_S)

    @contextmanager
    def running(self) -> Iterator["Stream"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._thread.join()


def everything_is_covered(topics: DetectorTopics) -> bool:
    """Whether the state in the topics has seen the ends of all partitions."""
    name = topics.names.of(LIQUIDATIONS)
    with LogReader(topics.kafka, {}, ending=threading.Event()) as reader:
        ends = {partition: reader.bounds(name, partition)[1] for partition in topics.partitions}
    seen = {}
    for partition in topics.partitions:
        for row in topics.read(SNAPSHOTS, partition):
            if row.key == f"partition/{partition}".encode():
                seen[partition] = int(dict(row.headers)["places"].split(b'"market.liquidations":')[1].rstrip(b"}"))
    return seen == ends


def test_a_killed_worker_leaves_each_output_once(topics: DetectorTopics, tmp_path: Path) -> None:
    # stream   |==================================================|
    # workers  |---- kill -9 |------ kill -9 |--- kill -9 |-------------- SIGTERM
    stream = Stream(topics)
    with Worker(topics, tmp_path) as first:
        first.ready()
        with stream.running():
            stream.past(EVENTS // 6)
            first.kill()
            for part in (3, 4):
                with Worker(topics, tmp_path) as next_one:
                    next_one.ready()
                    stream.past(EVENTS * part // 6)
    with Worker(topics, tmp_path) as last:
        last.ready()
        eventually(lambda: everything_is_covered(topics), "the state covers all")
        assert last.stop() == 0
    assert topics.assert_published_as_replayed() > EVENTS // 100
    letters = topics.letters()
    assert set(letters.values()) == {1}
    assert len(letters) == EVENTS // JUNK_EVERY


def test_an_orderly_stop_repeats_nothing(topics: DetectorTopics, tmp_path: Path) -> None:
    stream = Stream(topics)
    with Worker(topics, tmp_path) as first, stream.running():
        first.ready()
        stream.past(EVENTS // 3)
        assert first.stop() == 0
    with Worker(topics, tmp_path) as second:
        second.ready()
        eventually(lambda: everything_is_covered(topics), "the state covers all")
        assert "liqcascade_detector_suppressed_total 0.0" in second.metrics()
        assert second.stop() == 0
    assert topics.assert_published_as_replayed() > EVENTS // 100


def test_partitions_move_between_workers(topics: DetectorTopics, tmp_path: Path) -> None:
    # first   |------------------------------| SIGTERM
    # second             |-------------------------------|
    stream = Stream(topics)
    with Worker(topics, tmp_path) as first:
        first.ready()
        with stream.running(), Worker(topics, tmp_path) as second:
            eventually(lambda: bool(second.partitions()) and bool(first.partitions()), "both own some")
            assert not first.partitions() & second.partitions()
            assert first.stop() == 0
            eventually(lambda: len(second.partitions()) == PARTITIONS, "the second owns all")
            stream.past(EVENTS)
            eventually(lambda: everything_is_covered(topics), "the state covers all")
            assert second.stop() == 0
    assert topics.assert_published_as_replayed() > EVENTS // 100


def test_a_broker_that_dies_is_waited_for(topic_prefix: str, tmp_path: Path) -> None:
    # stream   |==================================================|
    # broker   |-------- kill -9      |---------------------------
    with EmbeddedStack(tmp_path / "stack") as stack:
        topics = DetectorTopics(stack.kafka.start(), topic_prefix, partitions=PARTITIONS)
        stream = Stream(topics)
        with Worker(topics, tmp_path) as worker:
            worker.ready()
            with stream.running():
                stream.past(EVENTS // 3)
                stack.kafka.kill()
                stack.kafka.start()
            eventually(lambda: everything_is_covered(topics), "the state covers all")
            assert worker.stop() == 0
        assert topics.assert_published_as_replayed() > EVENTS // 100
