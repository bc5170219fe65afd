"""Settings of connectors and what the shared topics say: no server."""

import json

import pytest
from pydantic import SecretStr

from schemas.errors import SettingsError
from schemas.topics import ALERTS, LIQUIDATIONS
from sinks.configs import masked, problems_of, read, unmasked
from sinks.configs_keys import keys_of
from sinks.configs_state import (
    ConnectState,
    LogLevel,
    Restart,
    Target,
    TaskStatus,
    config_record,
    level_record,
    restart_record,
    status_record,
    target_record,
    topic_record,
)
from sinks.registry import SINKS
from sinks.settings import DatabaseSettings, SinkSettings, SinksSection

STAGE = SinkSettings(
    database=DatabaseSettings(url=SecretStr("postgresql://u:geheim@db/x"), retention=False),
    sinks=SinksSection(flush_ms={"redis": 70}),
)
PLAIN = {"name": "x", "connector.class": "timescale"}


def test_what_a_connector_does_not_say_comes_from_the_worker() -> None:
    config = read(PLAIN, STAGE)
    assert config.settings.database == STAGE.database
    assert config.topics == SINKS["timescale"].topics
    assert (config.tasks_max, config.flush_ms, config.batch_records_max) == (1, 1_000, 1_000)
    assert (config.tolerates, config.retry_timeout_ms, config.dead_letters) == (True, -1, "dead-letters")
    assert read({"name": "x", "connector.class": "redis"}, STAGE).flush_ms == 70


@pytest.mark.parametrize(
    ("kind", "flush_ms"), [("timescale", 1_000), ("redis", 200), ("webhook", 200), ("parquet", 60_000)]
)
def test_how_long_a_record_may_wait(kind: str, flush_ms: int) -> None:
    (key,) = [key for key in keys_of(SINKS[kind], SinkSettings()) if key.name == "flush.ms"]
    assert key.default == str(flush_ms)


def test_what_a_connector_says_wins() -> None:
    given = {
        "database.url": "postgresql://other/y",
        "database.retention": "true",
        "topics": f"{LIQUIDATIONS.name}, {ALERTS.name}",
        "tasks.max": "3",
        "errors.tolerance": "NONE",
        "errors.deadletterqueue.topic.name": "",
        "webhook.kinds": "no section of this kind, and no family of its keys",
    }
    config = read(PLAIN | given, STAGE)
    assert config.settings.database == DatabaseSettings(url=SecretStr("postgresql://other/y"), retention=True)
    assert config.topics == (LIQUIDATIONS, ALERTS)
    assert (config.tasks_max, config.tolerates, config.dead_letters) == (3, False, "")


def test_lists_are_joined_by_commas() -> None:
    given = {"name": "x", "connector.class": "webhook", "webhook.url": "http://here/", "webhook.kinds": "RAISED, ENDED"}
    assert read(given, STAGE).settings.webhook.kinds == ("RAISED", "ENDED")
    wrong = problems_of(given | {"webhook.kinds": "SHOUTED,whispered"}, STAGE)
    assert [(key, len(sentences)) for key, sentences in wrong.items()] == [("webhook.kinds", 1)]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tasks.max", "0"),
        ("tasks.max", "many"),
        ("flush.ms", "60001"),
        ("batch.records.max", "-1"),
        ("errors.tolerance", "some"),
        ("errors.retry.timeout", "-2"),
        ("errors.tolerence", "all"),
        ("database.retention", "perhaps"),
        ("database.url", "nonsense"),
        ("database.password", "x"),
        ("topics", "market.liquidations,elsewhere"),
        ("topics.regex", ".*"),
        ("transforms", "t"),
        ("transforms.t.type", "x"),
        ("consumer.override.max.poll.records", "1"),
        ("connector.class", "org.example.Sink"),
        ("name", ""),
    ],
)
def test_what_does_not_fit_is_named(key: str, value: str) -> None:
    assert list(problems_of(PLAIN | {key: value}, STAGE)) == [key]
    with pytest.raises(SettingsError, match=r"contains the following 1 error\(s\):\n.*" + key):
        read(PLAIN | {key: value}, STAGE)


def test_what_every_client_sends_is_taken() -> None:
    sent = {"key.converter": "x", "value.converter.schema.registry.url": "http://y", "config.action.reload": "none"}
    assert problems_of(PLAIN | sent | {"errors.deadletterqueue.context.headers.enable": "true"}, STAGE) == {}


def test_secrets_are_masked_and_come_back() -> None:
    stored = PLAIN | {"database.url": "postgresql://u:geheim@db/x", "value.converter.auth.password": "geheim"}
    shown = masked(stored)
    assert "geheim" not in str(shown)
    assert shown["name"] == "x"
    assert unmasked(shown | {"tasks.max": "2"}, stored) == stored | {"tasks.max": "2"}
    assert not any(key.default and "geheim" in key.default for key in keys_of(SINKS["timescale"], STAGE))
    assert "geheim" not in str(problems_of(PLAIN | {"database.url": "postgresql://u:geheim@[/"}, STAGE))


def test_the_state_is_the_newest_value_of_each_key() -> None:
    state = ConnectState()
    assert state.target("x") is Target.STARTED
    for name in ("x", "y-0"):
        state.apply(*config_record(name, PLAIN))
        state.apply(*target_record(name, Target.STOPPED))
        state.apply(*status_record(name, 11, TaskStatus("RUNNING", "here:1")))
        state.apply(*topic_record(name, "a-topic"))
    state.apply(*target_record("x", Target.PAUSED))
    state.apply(topic_record("x", "a-topic")[0], None)
    assert state.configs == {"x": PLAIN, "y-0": PLAIN}
    assert state.targets == {"x": Target.PAUSED, "y-0": Target.STOPPED}
    assert state.statuses.keys() == {("x", 11), ("y-0", 11)}
    assert state.topics == {"x": set(), "y-0": {"a-topic"}}
    state.apply("connector-x", None)
    assert state.configs == {"y-0": PLAIN}


def test_a_level_of_a_logger_is_an_event() -> None:
    state, wanted = ConnectState(), LogLevel("liqcascade", "DEBUG")
    assert level_record(wanted) == ("logger-cluster-liqcascade", b'{"level": "DEBUG"}')
    assert state.apply(*level_record(wanted)) == wanted
    assert state.apply("logger-cluster-liqcascade", None) is None


def test_a_restart_is_an_event() -> None:
    state, wanted = ConnectState(), Restart("x", include_tasks=True, only_failed=True)
    assert state.apply(*restart_record(wanted)) == wanted
    assert state.apply("restart-connector-x", b'{"include-tasks":true,"only-failed":false}') == Restart(
        "x", include_tasks=True
    ), "as Kafka Connect writes it"


def test_kafka_connects_own_words_for_a_stop_are_understood() -> None:
    state = ConnectState()
    state.apply("target-state-x", json.dumps({"state": "PAUSED", "state.v2": "STOPPED"}).encode())
    state.apply("target-state-y", json.dumps({"state": "PAUSED"}).encode())
    assert state.targets == {"x": Target.STOPPED, "y": Target.PAUSED}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("", b"{}"),
        ("other", b"{}"),
        ("connector-x", b"no JSON"),
        ("connector-x", b"[1]"),
        ("connector-x", b'{"properties": {"a": 1}}'),
        ("target-state-x", b'{"state": "RESTING"}'),
        ("status-task-x", b"{}"),
        ("status-task-x-0", b"{}"),
        ("connector-x", b"{}"),
        ("target-state-x", b"{}"),
        ("target-state-x", b"7"),
        ("restart-connector-x", b"7"),
    ],
)
def test_what_is_no_record_changes_nothing(key: str, value: bytes) -> None:
    state = ConnectState()
    with pytest.raises((ValueError, LookupError, TypeError)):
        state.apply(key, value)
    assert (state.configs, state.targets, state.statuses) == ({}, {}, {})
