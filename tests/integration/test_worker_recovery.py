"""The detector's worker on a real broker, killed and stopped in the middle of a stream."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from processors.market.settings import MarketSettings
from processors.replay import Replay
from processors.settings import DetectorSettings
from stack.embedded import EmbeddedStack
from tests.processors.topics import DetectorTopics, Worker, eventually, liquidation

PARTITIONS = 3
PER_S = 400
BATCH = 10
JUNK_EVERY = 150


@pytest.fixture
def topics(kafka: str, topic_prefix: str, compiled: None) -> DetectorTopics:
    return DetectorTopics(kafka, topic_prefix, partitions=PARTITIONS)


class Stream:
    """Appends liquidations at a pace, in a thread, until the end of `running`; some are nothing that can be decoded,
    some are late."""

    def __init__(self, topics: DetectorTopics) -> None:
        self._topics, self.sent = topics, 0
        self._thread = threading.Thread(target=self._run, name="stream")
        self._ending = threading.Event()

    def more(self, count: int = 200) -> None:
        """Wait until so many more are appended."""
        number = self.sent + count
        eventually(lambda: self.sent >= number, f"{number} appended")

    def _run(self) -> None:
        while not self._ending.wait(BATCH / PER_S):
            now_ms = time.time_ns() // 1_000_000
            self._topics.append(
                b"junk"
                if number % JUNK_EVERY == JUNK_EVERY - 1
                else liquidation(number, event_time_ms=now_ms - number % 5 * 50, backlog=number % 20 == 0)
                for number in range(self.sent, self.sent + BATCH)
            )
            self.sent += BATCH

    @contextmanager
    def running(self) -> Iterator["Stream"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._ending.set()
            self._thread.join()


def test_a_killed_worker_leaves_each_output_once(topics: DetectorTopics, tmp_path: Path) -> None:
    # stream   |==========================================|
    # workers  |--- kill -9  |---- kill -9  |---- kill -9   |------- SIGTERM
    stream = Stream(topics)
    with stream.running():
        for _ in range(3):
            with Worker(topics, tmp_path) as worker:
                worker.ready()
                stream.more()
    with Worker(topics, tmp_path) as last:
        last.ready()
        eventually(lambda: topics.all_covered(), "the state covers all")
        assert last.stop() == 0
    assert topics.assert_published_as_replayed() > stream.sent // 20
    replayed = Replay(topics.kafka, DetectorSettings(), MarketSettings(), from_ms=0, to_ms=None).run(
        verify=True, told=lambda records: None
    )
    assert (replayed.first_difference, replayed.doubled) == (None, 0)
    assert replayed.verified == len(replayed.alerts) > 10
    letters = topics.letters()
    assert set(letters.values()) == {1}
    assert len(letters) == stream.sent // JUNK_EVERY


def test_an_orderly_stop_repeats_nothing(topics: DetectorTopics, tmp_path: Path) -> None:
    # stream   |========================|
    # workers  |------ SIGTERM    |------------ SIGTERM
    stream = Stream(topics)
    with stream.running():
        with Worker(topics, tmp_path) as first:
            first.ready()
            stream.more()
            assert first.stop() == 0
        stream.more()
    with Worker(topics, tmp_path) as second:
        second.ready()
        eventually(lambda: topics.all_covered(), "the state covers all")
        assert "liqcascade_detector_suppressed_total 0.0" in second.metrics()
        assert second.stop() == 0
    assert topics.assert_published_as_replayed() > stream.sent // 20


def test_partitions_move_between_workers(topics: DetectorTopics, tmp_path: Path) -> None:
    # stream   |==========================================|
    # first    |---------------------------- SIGTERM
    # second             |------------------------------------ SIGTERM
    stream = Stream(topics)
    with Worker(topics, tmp_path) as first, Worker(topics, tmp_path) as second:
        with stream.running():
            eventually(lambda: bool(second.partitions()) and bool(first.partitions()), "both own some")
            assert not first.partitions() & second.partitions()
            stream.more()
            assert first.stop() == 0
            eventually(lambda: len(second.partitions()) == PARTITIONS, "the second owns all")
            stream.more()
        eventually(lambda: topics.all_covered(), "the state covers all")
        assert second.stop() == 0
    assert topics.assert_published_as_replayed() > stream.sent // 20


def test_a_broker_that_dies_is_waited_for(topic_prefix: str, compiled: None, tmp_path: Path) -> None:
    # stream   |====================================|
    # broker   |-------- kill -9      |---------------------
    with EmbeddedStack(tmp_path / "stack") as stack:
        topics = DetectorTopics(stack.kafka.start(), topic_prefix, partitions=PARTITIONS)
        stream = Stream(topics)
        with Worker(topics, tmp_path) as worker:
            worker.ready()
            with stream.running():
                stream.more()
                stack.kafka.kill()
                stack.kafka.start()
                stream.more()
            eventually(lambda: topics.all_covered(), "the state covers all")
            assert worker.stop() == 0
        assert topics.assert_published_as_replayed() > stream.sent // 20
