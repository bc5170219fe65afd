"""What a new owner of a partition finds, and how it begins without a state, on a real broker."""

import threading
from collections.abc import Sequence

import msgspec
import pytest

from processors.detector import Delivered, Detector
from processors.host.places import BASE_HEADER, EPOCH_HEADER, PLACES_HEADER
from processors.settings import DetectorSettings
from schemas.errors import BrokerUnavailable, SettingsError
from schemas.records import DetectorSnapshot, JournalEntry, Liquidation
from schemas.topics import JOURNAL, LIQUIDATIONS, SNAPSHOTS
from tests.processors.logs import START_MS, tick
from tests.processors.topics import DetectorTopics, liquidation

SETTINGS = DetectorSettings()


@pytest.fixture
def topics(kafka: str, topic_prefix: str, compiled: None) -> DetectorTopics:
    return DetectorTopics(kafka, topic_prefix, partitions=1)


def ticks(sequences: range, *, epoch: int) -> list[JournalEntry]:
    return [tick(sequence, 200 * sequence, after_offset=sequence, epoch=epoch) for sequence in sequences]


def rows(next_offset: int) -> list[DetectorSnapshot]:
    """State of a detector that has seen so much of `events`."""
    detector = Detector(SETTINGS, partition=0)
    detector.fold(
        [Delivered(number, START_MS + 200 * number, event) for number, event in enumerate(events(next_offset))]
    )
    return detector.snapshot()


def events(count: int) -> list[Liquidation]:
    return [liquidation(number, event_time_ms=START_MS + 200 * number) for number in range(count)]


def write_state(
    topics: DetectorTopics, written: Sequence[DetectorSnapshot], *, epoch: int, base: int = 0, journal: int = 0
) -> None:
    places = {LIQUIDATIONS.name: written[-1].next_offset, JOURNAL.name: journal}
    headers = {EPOCH_HEADER: str(epoch), BASE_HEADER: str(base), PLACES_HEADER: msgspec.json.encode(places).decode()}
    for row in written:
        topics.write(SNAPSHOTS, 0, row, key=row.asset or "partition/0", **headers)


def test_state_captured_in_a_replay_keeps_the_entries_of_former_owners(topics: DetectorTopics) -> None:
    # journal   e1 e1 e1 e1 | opening of e2
    # state           ^ captured by the owner of epoch 2, which is replaying
    topics.append(events(8), partition=0)
    for entry in ticks(range(4), epoch=1):
        topics.write(JOURNAL, 0, entry)
    second = topics.take_over()
    assert [entry.epoch for entry in second.entries] == [1, 1, 1, 1, 2]
    assert isinstance(second.detector, Detector)
    for number, event in enumerate(events(2)):
        second.detector.fold([Delivered(number, START_MS + 200 * number, event)])
        second.detector.apply(second.entries[number])
    write_state(topics, second.detector.snapshot(), epoch=second.epoch)
    third = topics.take_over()
    assert [(entry.epoch, entry.sequence) for entry in third.entries] == [(1, 2), (1, 3), (2, 4), (3, 5)]


def test_rows_of_a_replaced_owner_are_passed_over(topics: DetectorTopics) -> None:
    topics.append(events(9), partition=0)
    write_state(topics, rows(8), epoch=3)
    write_state(topics, rows(4), epoch=2)
    found = topics.take_over()
    assert (found.position, found.end, found.epoch, found.detector.next_offset) == (8, 9, 4, 8)


def test_rows_of_a_state_that_was_given_up_are_passed_over(topics: DetectorTopics) -> None:
    topics.append(events(9), partition=0)
    write_state(topics, rows(8), epoch=3)
    own_row_alone = rows(4)[-1:]
    write_state(topics, own_row_alone, epoch=5, base=4)
    found = topics.take_over()
    assert (found.position, found.epoch, found.base) == (4, 6, 4)
    assert list(found.detector.snapshots())[1:] == []  # no asset of the old state


def test_state_of_another_log_is_refused(topics: DetectorTopics) -> None:
    write_state(topics, rows(8), epoch=1)
    with pytest.raises(SettingsError, match=r"ends at 0, but the state .* has seen 8: the topic was made anew"):
        topics.take_over()


def test_each_takeover_has_a_higher_epoch(topics: DetectorTopics) -> None:
    found = [topics.take_over() for _ in range(3)]
    assert [one.epoch for one in found] == [1, 2, 3]
    assert [entry.epoch for entry in found[-1].entries] == [1, 2, 3]


def test_reading_is_cut_off_when_the_worker_ends(topics: DetectorTopics) -> None:
    ending = threading.Event()
    ending.set()
    with pytest.raises(BrokerUnavailable, match="the worker ends"):
        topics.take_over(ending=ending)
