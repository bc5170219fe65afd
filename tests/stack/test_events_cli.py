"""The last liquidations of an asset by command."""

import json

import pytest
from confluent_kafka import Producer

from runtime.kafka import create_topics, producer_config
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.topics import LIQUIDATIONS
from stack import last_events as module
from tests.processors.logs import START_MS, liquidation
from tests.stack.test_cli import run


def append(settings: KafkaSettings, times_ms: range, *, asset: str) -> None:
    codec, producer = Codec(), Producer(producer_config(settings))
    for ms in times_ms:
        value = codec.encode(LIQUIDATIONS, liquidation(ms, asset=asset))
        producer.produce(settings.topic_prefix + LIQUIDATIONS.name, value, asset, timestamp=START_MS + ms + 300)
    producer.produce(settings.topic_prefix + LIQUIDATIONS.name, b"junk", asset, timestamp=START_MS)
    assert producer.flush(30) == 0


def test_the_last_ones_are_printed_oldest_first_and_each_once(kafka: str, topic_prefix: str) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=2)
    create_topics(settings, [LIQUIDATIONS])
    append(settings, range(50), asset="BTC")
    append(settings, range(20), asset="BTC")  # again
    append(settings, range(100, 160), asset="ETH")
    environment = {"LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": kafka, "LIQCASCADE_KAFKA__TOPIC_PREFIX": topic_prefix}
    rows = [json.loads(row) for row in run("events", "BTC", "--last", "7", "--json", **environment).stdout.splitlines()]
    assert [row["value"]["event_time_ms"] - START_MS for row in rows] == list(range(43, 50))
    assert {row["append_time_ms"] - row["value"]["event_time_ms"] for row in rows} == {300}
    shown = run("events", "ETH", **environment)
    assert (shown.returncode, len(shown.stdout.splitlines())) == (0, 61)
    assert "60 liquidations of ETH among the last " in shown.stderr
    assert "the topic holds no more" in shown.stderr
    nothing = run("events", "DOGE", **environment)
    assert (nothing.returncode, nothing.stdout) == (1, "")


def test_it_is_read_back_until_there_are_enough(kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=1)
    create_topics(settings, [LIQUIDATIONS])
    append(settings, range(30), asset="BTC")
    append(settings, range(200), asset="ETH")
    monkeypatch.setattr(module, "BACK_FIRST", 20)
    found = [module.last_events(settings, "BTC", count) for count in (5, 30, 31)]
    assert [len(one.events) for one in found] == [5, 30, 30]
    assert [one.is_all for one in found] == [False, True, True]
    assert [one.looked_back for one in found] == [232, 232, 232]
    monkeypatch.setattr(module, "BACK_MAX", 20)
    assert module.last_events(settings, "BTC", 5) == ([], 20, False)
