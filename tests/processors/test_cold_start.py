"""A new owner without a usable state, on a day of history that a former owner had folded in part."""

import msgspec
import pytest
from confluent_kafka import Producer

from processors.detector import Detector
from processors.host.cold_start import IN_FLIGHT_MS_MAX
from processors.host.fold import Fold
from processors.host.places import EPOCH_HEADER, PLACES_HEADER
from processors.import_history import import_history
from processors.journal import replay
from processors.lead_in import CONTEXT_MS, LEAD_MS
from processors.snapshots import FORMAT
from runtime.kafka import producer_config
from runtime.log_reader import LogRecord
from schemas.records import CascadeAlert, DetectorSnapshot, JournalBaseline, JournalEntry, WindowAggregate
from schemas.topics import ALERTS, JOURNAL, LIQUIDATIONS, SNAPSHOTS, WINDOWS, Topic
from tests.processors.logs import START_MS, tick
from tests.processors.test_host import running
from tests.processors.test_replay import HOUR_MS, MIDDLE_MS, SETTINGS, history
from tests.processors.topics import CODEC, FLUSH_S_MAX, DetectorTopics


@pytest.fixture
def topics(kafka: str, topic_prefix: str, compiled: None) -> DetectorTopics:
    topics = DetectorTopics(kafka, topic_prefix, partitions=2)
    import_history(history(), topics.kafka, SETTINGS)
    return topics


def publish_until(topics: DetectorTopics, topic: Topic, kind: type[CascadeAlert | WindowAggregate], end_ms: int) -> int:
    """As a former owner did; returns how many."""
    producer, count = Producer(producer_config(topics.kafka)), 0
    for partition in topics.partitions:
        for value in topics.replayed(partition, run=500)[topic.name]:
            if CODEC.decode(kind, value).append_time_ms >= end_ms:
                break
            producer.produce(topics.names.of(topic), value, "any", partition)
            count += 1
    assert producer.flush(FLUSH_S_MAX) == 0
    return count


def due(detector: Fold, log: list[LogRecord], entries: list[JournalEntry]) -> list[JournalBaseline]:
    """What it would put in force an hour after the last of its logs."""
    for _ in replay(lambda run: detector.fold_log(run)[0], detector.apply, [log], entries):
        pass
    assert detector.log_time_ms < START_MS + 28 * HOUR_MS
    detector.apply(tick(detector.next_sequence, 29 * HOUR_MS, after_offset=detector.next_offset - 1, epoch=99))
    return detector.due_baselines()


async def test_without_state_it_begins_a_bounded_way_back_and_publishes_nothing_twice(topics: DetectorTopics) -> None:
    #  cascades     |--|                 27 h                  |----|
    #  published    ========= windows ============================|
    #               ========= alerts ===========================|       the last of them were lost with their owner
    #  begins             |...24 h.....................|.25 min.|
    windows = publish_until(topics, WINDOWS, WindowAggregate, MIDDLE_MS)
    alerts = publish_until(topics, ALERTS, CascadeAlert, MIDDLE_MS - 2_000)
    assert 0 < alerts < windows
    found = [topics.take_over(partition) for partition in topics.partitions]
    first = [topics.read(LIQUIDATIONS, one.partition)[one.position].timestamp for one in found]
    assert all(time_ms > MIDDLE_MS - CONTEXT_MS for time_ms in first)
    assert all(
        one.detector.log_time_ms >= MIDDLE_MS - IN_FLIGHT_MS_MAX - LEAD_MS - CONTEXT_MS - 60_000 for one in found
    )
    weeks: list[JournalBaseline] = []
    for one in found:
        log, journal = topics.read(LIQUIDATIONS, one.partition), topics.read(JOURNAL, one.partition)
        entries = [CODEC.decode(JournalEntry, record.value or b"") for record in journal]
        whole = Detector(SETTINGS, partition=one.partition, codec=CODEC)
        expected = due(whole, log, entries)
        assert due(one.detector, log[one.position :], one.entries) == expected  # though it has read a day of the week
        weeks += expected
    assert {baseline.asset for baseline in weeks if baseline.windows} == {"BTC", "ETH"}
    async with running(topics):
        pass
    assert topics.assert_published_as_replayed() > windows + alerts

    own = DetectorSnapshot(asset="", partition=0, format=FORMAT + 1, next_offset=3, next_sequence=3, state=b"?")
    for partition in topics.partitions:  # of a version that this one does not know
        row = msgspec.structs.replace(own, partition=partition)
        headers = {EPOCH_HEADER: "20", PLACES_HEADER: msgspec.json.encode({LIQUIDATIONS.name: 3}).decode()}
        topics.write(SNAPSHOTS, partition, row, key=f"partition/{partition}", **headers)
    async with running(topics) as host:
        assert set(host.troubles().values()) == {"ok"}
    again = topics.take_over()
    assert (again.base, again.epoch) == (21, 22)  # written anew behind it, and usable
    assert topics.assert_published_as_replayed() > windows + alerts
