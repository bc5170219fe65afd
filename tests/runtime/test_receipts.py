"""Counting what the broker has, whatever else the client has to say."""

import time

import pytest
from confluent_kafka import KafkaError, Producer

from runtime.kafka import create_topics, producer_config, topic_names
from runtime.receipts import Receipts
from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable
from schemas.topics import SETTINGS

NOWHERE = "127.0.0.1:1"
TIMEOUT_MS = 300


def test_what_the_broker_has_is_told_with_its_offset(kafka: str, topic_prefix: str) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix)
    create_topics(settings, [SETTINGS])
    producer, offsets = Producer(producer_config(settings)), list[int | None]()
    receipts = Receipts(lambda message: offsets.append(message.offset()))
    for number in range(3):
        producer.produce(topic_names(settings).of(SETTINGS), b"value", str(number), on_delivery=receipts.answer)
        receipts.sent()
    receipts.wait(producer, 30, doing="writing")
    assert (offsets, receipts.missing) == ([0, 1, 2], 0)


def test_what_was_refused_is_counted_and_the_first_reason_said() -> None:
    receipts = Receipts()
    producer = Producer({"bootstrap.servers": NOWHERE, "message.timeout.ms": TIMEOUT_MS, "log_level": 0})
    for _ in range(2):
        producer.produce("a.topic", b"value", on_delivery=receipts.answer)
        receipts.sent()
    with pytest.raises(BrokerUnavailable, match=r"^writing: 2 of 2 records were not acknowledged \(a\.topic: Local"):
        receipts.wait(producer, 30, doing="writing")


def test_error_events_of_the_client_are_no_lost_records() -> None:
    """The client counts its complaints about an absent broker among what it has yet to deliver."""
    complaints: list[KafkaError] = []
    producer = Producer({"bootstrap.servers": NOWHERE, "error_cb": complaints.append, "log_level": 0})
    receipts, deadline_s = Receipts(), time.monotonic() + 30
    while not len(producer):
        assert time.monotonic() < deadline_s, "the client complains within a second or two"
        time.sleep(0.01)
    receipts.wait(producer, 0, doing="writing")
    assert receipts.missing == 0


def test_no_answer_in_time_is_said() -> None:
    receipts = Receipts()
    receipts.sent()
    with pytest.raises(
        BrokerUnavailable, match=r"^writing: 1 of 1 records were not acknowledged \(no answer within 0 s"
    ):
        receipts.wait(Producer({"bootstrap.servers": NOWHERE, "log_level": 0}), 0, doing="writing")
