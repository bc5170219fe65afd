"""What a new owner of a partition finds, on a real broker."""

import threading

import msgspec
import pytest

from processors.detector import Delivered, Detector
from processors.host.places import EPOCH_HEADER, PLACES_HEADER
from processors.host.recovery import recover
from processors.settings import DetectorSettings
from schemas.records import JournalEntry
from schemas.topics import JOURNAL, LIQUIDATIONS, SNAPSHOTS
from tests.processors.logs import START_MS, tick
from tests.processors.test_host import write
from tests.processors.topics import CODEC, DetectorTopics, liquidation


@pytest.fixture
def topics(kafka: str, topic_prefix: str) -> DetectorTopics:
    return DetectorTopics(kafka, topic_prefix, partitions=1)


def entries(sequences: range, *, epoch: int) -> list[JournalEntry]:
    return [tick(sequence, 200 * sequence, after_offset=sequence, epoch=epoch) for sequence in sequences]


def test_state_captured_in_a_replay_keeps_the_entries_of_former_owners(topics: DetectorTopics) -> None:
    # journal   e1 e1 e1 e1 | opening of e2
    # state           ^ captured by the owner of epoch 2, which is replaying
    events = [liquidation(number, event_time_ms=START_MS + 200 * number) for number in range(8)]
    topics.append(events, partition=0)
    for entry in entries(range(4), epoch=1):
        write(topics, JOURNAL, 0, entry)
    second = recover(topics.kafka, CODEC, [0], ending=threading.Event())[0]
    assert [entry.epoch for entry in second.entries] == [1, 1, 1, 1, 2]
    detector = Detector(DetectorSettings(), partition=0)
    detector.fold([Delivered(0, START_MS, events[0])])
    detector.apply(second.entries[0])
    detector.fold([Delivered(1, START_MS + 200, events[1])])
    detector.apply(second.entries[1])
    places = {LIQUIDATIONS.name: 2, JOURNAL.name: 0}
    headers = {EPOCH_HEADER: str(second.epoch), PLACES_HEADER: msgspec.json.encode(places).decode()}
    for row in detector.snapshot():
        write(topics, SNAPSHOTS, 0, row, key=row.asset or "partition/0", **headers)
    third = recover(topics.kafka, CODEC, [0], ending=threading.Event())[0]
    assert [(entry.epoch, entry.sequence) for entry in third.entries] == [(1, 2), (1, 3), (2, 4), (3, 5)]
