"""Alerts in words and numbers: from random runs, from a topic, and what is said when there is none."""

import json

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from processors.history import partition_of
from processors.settings import DetectorSettings
from runtime.kafka import confluent_config, create_topics, producer_config
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import LiqcascadeError, SettingsError
from schemas.records import CascadeAlert, ExchangeCoverage
from schemas.topics import ALERTS
from schemas.words import LEVEL_RANKS, Completeness, FeedState
from stack.alert_log import find_alert
from stack.explanation import explain, sentences
from tests.processors.logs import cascade_log, fold_all, new_detector, random_log, with_context
from tests.processors.market.states import alerts as market_alerts
from tests.processors.market.states import fold as market_fold
from tests.processors.market.states import random_log as market_log
from tests.processors.test_profiles import steps_of, week_log
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
        "velocity 0.", "In 2 s: ", "of the USD longs", "mostly LONG positions", "nothing is known of the feed",
        "Confidence 0.", "First in the episode was", "It rests on market.liquidations, partition 0, up to offset",
    ):  # fmt: skip
        assert part in text, part


def test_what_is_not_seen_is_named() -> None:
    coverage = {
        name: ExchangeCoverage(state=state, completeness=Completeness.ALL)
        for name, state in (
            ("a", FeedState.LIVE),
            ("b", FeedState.SILENT),
            ("c", FeedState.STALE),
            ("d", FeedState.STALE),
        )
    }
    explained = explain(msgspec.structs.replace(alerts_of(1)[0], coverage=coverage))
    assert explained["unseen"] == {"b": "SILENT", "c": "STALE", "d": "STALE"}
    for sentence in ("Live: a.", "b: silent for longer than usual.", "c, d: data are stale."):
        assert sentence in explained["sentences"]
    assert json.dumps(explained)


def test_the_market_s_alert_names_who_led() -> None:
    found = market_alerts(market_fold(market_log(3)))
    ended = next(one for one in market_alerts(market_fold(market_log(4))) if one.kind == "ENDED")
    assert "The cascade of the market is over" in next(iter(sentences(ended)))
    for one in found:
        assert " in WATCH or above, or was exceptional shortly before." in "\n".join(sentences(one))
    raised = "\n".join(sentences(found[0]))
    assert raised.startswith("The market rose from NONE to ")
    assert "was the first of them" in raised


def test_who_moves_with_whom_is_said_with_the_lag() -> None:
    alert = market_alerts(market_fold(market_log(3)))[0]
    flags = ("contagion:BTC>ETH:2s", "contagion:BTC>SOL:0s", "blind:3,5")
    text = "\n".join(sentences(msgspec.structs.replace(alert, flags=flags, market_breadth=1)))
    for part in (
        "1 asset is in WATCH", "USD/s of ETH move as those of BTC do, 2 s later.",
        "SOL move as those of BTC do, at the same time.", "Blind in partitions 3,5:",
    ):  # fmt: skip
        assert part in text, part


def profiled() -> list[CascadeAlert]:
    tree = {
        "profile": "either",
        "relative": {"hours_min": 1},
        "rules": [{"name": "early", "level": "ALERT", "expression": "momentum_events >= 3"}],
    }
    _, outputs = steps_of(week_log(1, hours=4), DetectorSettings.model_validate(tree))
    return [one.record for one in outputs if isinstance(one.record, CascadeAlert)]


def test_it_is_said_what_carries_the_level() -> None:
    #  rises by                  the level is not above what is judged | by a rule | stands | falls
    told, ranks = dict[str, int](), LEVEL_RANKS
    for alert in profiled():
        text, judged = "\n".join(sentences(alert)), max(ranks[alert.absolute_level], ranks[alert.relative_level])
        is_more = ranks[alert.level] > judged
        rises = alert.kind == "RAISED"
        assert ("A custom rule raised it; met are: early." in text) is (rises and is_more)
        assert (f"{alert.level} stands because it was justified within the hold." in text) is (not rises and is_more)
        assert ("too little is known yet" in text) is (alert.relative_ratio is None)
        assert ("times its baseline" in text) is (alert.relative_ratio is not None)
        assert ("The cascade of BTC is over" in text) is (alert.kind == "ENDED")
        assert "Flags of single sizes: rule" not in text
        for part in text.split():
            assert "e-" not in part or part.isalpha(), part  # no exponents
        told[f"{rises} {is_more} {alert.relative_level}"] = 1
    assert {"True True", "True False", "False True"} <= {key.rpartition(" ")[0] for key in told}
    assert len({key.rpartition(" ")[2] for key in told}) > 2


def test_lag_and_mute_are_said_in_words() -> None:
    alert = next(one for one in alerts_of(1) if one.correlation_lag_ms is not None and one.leading_exchange)
    for lag_ms, part in (
        (300, "The others move 300 ms after "),
        (-20, "move 20 ms before "),
        (0, "at the same time as "),
    ):
        assert part in "\n".join(sentences(msgspec.structs.replace(alert, correlation_lag_ms=lag_ms)))
    muted = "\n".join(sentences(msgspec.structs.replace(alert, flags=("muted", "trend"))))
    assert "The settings mute the asset" in muted
    assert "Flags of single sizes: trend." in muted


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
    assert "there is no alert BTC:1760000000000:99 in" in missing.stderr
    assert "nothing of its episode stands there" in missing.stderr
    with pytest.raises(LiqcascadeError, match="its episode has the alerts 0 to "):
        find_alert(settings, f"{alert.episode_id}:9999", told=print)
    with pytest.raises(SettingsError, match="is no alert id"):
        find_alert(settings, "BTC:1760000000000:²", told=print)
    place = TopicPartition(topic_prefix + ALERTS.name, partition_of("BTC", 3), 2)
    admin = AdminClient(confluent_config(settings))
    admin.delete_records([place])[place].result()
    with pytest.raises(LiqcascadeError, match=" UTC is gone, alerts are kept for 90 days"):
        find_alert(settings, "BTC:1000000000000:0", told=print)
    wrong = run("explain", "BTC", **environment)
    assert wrong.returncode == 2
    assert "is no alert id" in wrong.stderr
