"""What a fold that begins in the middle finds in force, however long ago that was written."""

import threading

import msgspec
import pytest
from confluent_kafka import Producer

from processors.detector import Detector
from processors.in_force import ALL, encode, tree_of
from processors.past import Past, Span
from processors.settings import DetectorSettings
from runtime.kafka import producer_config
from schemas.records import BaselineFigures, JournalBaseline, JournalContext, JournalEntry
from schemas.topics import JOURNAL, LIQUIDATIONS, SETTINGS
from schemas.words import JournalKind
from tests.processors.logs import START_MS, liquidation, tick
from tests.processors.topics import CODEC, FLUSH_S_MAX, DetectorTopics

HOUR_MS = 3_600_000
HOUR = START_MS // HOUR_MS
CHANGED = DetectorSettings(hold_ms=9_000)


@pytest.fixture
def topics(kafka: str, topic_prefix: str, compiled: None) -> DetectorTopics:
    return DetectorTopics(kafka, topic_prefix, partitions=1)


def baseline(sequence: int, hour: int, events: int) -> JournalEntry:
    told = JournalBaseline(
        asset="BTC",
        append_time_ms=hour * HOUR_MS,
        windows=(BaselineFigures(size_ms=2_000, events=float(events), notional_usd=9_000.0),),
    )
    return msgspec.structs.replace(tick(sequence, 0, after_offset=0), kind=JournalKind.BASELINE, baseline=told)


def settings(sequence: int) -> JournalEntry:
    value = encode("worker", tree_of(CHANGED))
    context = JournalContext(
        topic=SETTINGS.name, partition=0, offset=0, append_time_ms=1, key=ALL.encode(), value=value
    )
    return msgspec.structs.replace(tick(sequence, 0, after_offset=0), kind=JournalKind.CONTEXT, context=context)


@pytest.mark.parametrize("hours_ago", [1, 30, 150])
def test_the_newest_of_what_lasts_is_in_force(topics: DetectorTopics, hours_ago: int) -> None:
    # journal   settings, two hours of baselines | ticks | the fold begins
    at = HOUR - hours_ago
    entries = [(at - 1, settings(1)), (at - 1, baseline(2, at - 1, 50)), (at, baseline(3, at, 70))]
    entries += [(hour, tick(4 + number, 0, after_offset=0)) for number, hour in enumerate(range(at, HOUR))]
    producer = Producer(producer_config(topics.kafka))
    for hour, entry in entries:
        producer.produce(topics.names.of(JOURNAL), CODEC.encode(JOURNAL, entry), "0", 0, timestamp=hour * HOUR_MS)
    for number in range(2):
        value = CODEC.encode(LIQUIDATIONS, liquidation(number))
        producer.produce(topics.names.of(LIQUIDATIONS), value, "BTC", 0, timestamp=START_MS + number)
    assert producer.flush(FLUSH_S_MAX) == 0

    detector = Detector(DetectorSettings(), partition=0, codec=CODEC)
    past = Past(topics.kafka, CODEC, 0, ending=threading.Event())
    for _ in past.fold(detector, Span(1, 2), [], from_ms=START_MS):
        pass
    assert detector.settings == CHANGED
    (held,) = detector.due_baselines()  # nothing newer is known
    assert held.windows[0] == BaselineFigures(size_ms=2_000, events=70.0, notional_usd=9_000.0)
