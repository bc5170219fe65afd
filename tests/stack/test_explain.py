"""Alerts in words and numbers: from random runs, from a topic, and what is said when there is none."""

import json

import msgspec
import pytest
from confluent_kafka import Producer

from processors.settings import DetectorSettings
from runtime.kafka import create_topics, producer_config
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.records import CascadeAlert, ExchangeCoverage
from schemas.topics import ALERTS
from schemas.words import Completeness, FeedState
from stack.explanation import explain, sentences
from tests.processors.logs import cascade_log, fold_all, new_detector, random_log, with_context
from tests.processors.test_market import alerts as market_alerts
from tests.processors.test_market import new_fold
from tests.processors.test_market import random_log as market_log
from tests.stack.test_cli import run


def alerts_of(seed: int) -> list[CascadeAlert]:
    log = with_context(random_log(seed, 500, assets=("BTC",)), seed, assets=("BTC",))
    outputs = fold_all(new_detector(), log) + fold_all(new_detector(), cascade_log(seed, peak_per_s=800))
    return [one.record for one in outputs if isinstance(one.record, CascadeAlert)]


@pytest.mark.parametrize("seed", range(3))
def test_contributions_add_up_to_the_probability_before_the_boost(seed: int) -> None:
    settings, boosted = DetectorSettings(), 0
    found = alerts_of(seed)
    for alert in found:
        before = explain(alert)["probability_before_boost"]
        assert abs(min(1.0, before * alert.boost) - alert.probability) <= 1.5e-6
        assert alert.boost in (1.0, settings.score.boost)
        boosted += alert.boost > 1
    assert len(found) > 30
    assert boosted > 0


def test_an_asset_s_alert_is_said_in_words() -> None:
    alert = next(one for one in alerts_of(1) if one.level == "EXTREME" and one.kind == "RAISED")
    text = "\n".join(sentences(alert))
    for part in (
        "BTC rose from", "to EXTREME, at 2025-10-09", "absolute thresholds say EXTREME", "Probability 0.",
        "velocity 0.", "In 2 s: ", "of the USD longs", "mostly LONG", "nothing is known of its feed",
        "Confidence 0.", "First in the episode was",
    ):  # fmt: skip
        assert part in text, part


def test_what_is_not_seen_is_named() -> None:
    coverage = {
        name: ExchangeCoverage(state=state, completeness=Completeness.ALL)
        for name, state in (("a", FeedState.LIVE), ("b", FeedState.SILENT), ("c", FeedState.STALE))
    }
    explained = explain(msgspec.structs.replace(alerts_of(1)[0], coverage=coverage))
    assert explained["unseen"] == {"b": "SILENT", "c": "STALE"}
    assert "b: silent for longer than usual." in explained["sentences"]
    assert json.dumps(explained)


def test_the_market_s_alert_names_who_led() -> None:
    found = market_alerts(new_fold().fold(market_log(3)))
    text = "\n".join(sentences(found[-1]))
    assert text.startswith("The market ")
    for one in found:
        assert "assets were exceptional" in "\n".join(sentences(one))
    assert "was the first of them" in "\n".join(sentences(found[0]))


def test_an_alert_is_found_in_its_topic(kafka: str, topic_prefix: str) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=3)
    create_topics(settings, [ALERTS])
    codec, producer = Codec(), Producer(producer_config(settings))
    alert = alerts_of(1)[5]
    producer.produce(topic_prefix + ALERTS.name, b"junk", b"BTC")
    for one in alerts_of(1):
        producer.produce(topic_prefix + ALERTS.name, codec.encode(ALERTS, one), one.asset)
    producer.flush()
    environment = {
        "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "LIQCASCADE_KAFKA__TOPIC_PREFIX": topic_prefix,
        "LIQCASCADE_KAFKA__PARTITIONS": "3",
    }
    done = run("explain", alert.alert_id, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == list(sentences(alert))
    as_json = json.loads(run("explain", alert.alert_id, "--json", **environment).stdout)
    assert as_json["alert"]["alert_id"] == alert.alert_id
    assert as_json["sentences"] == list(sentences(alert))
    missing = run("explain", "BTC:1760000000000:99", **environment)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "there is no alert BTC:1760000000000:99 among" in missing.stderr
    wrong = run("explain", "BTC", **environment)
    assert wrong.returncode == 2
    assert "is no alert id" in wrong.stderr
