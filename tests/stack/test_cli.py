"""The command as a person or a program uses it: a process of its own, real servers, words on stdout and stderr."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer

from runtime.kafka import create_topics, producer_config
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.topics import DEAD_LETTERS, LIQUIDATIONS
from tests.schemas.test_records import example

COMMANDS = [
    [], ["demo"], ["produce"], ["process"], ["sink"], ["tail"], ["decode"], ["topics"], ["doctor"],
    ["audit"], ["dead-letters", "replay"],
    ["stack", "up"], ["stack", "down"], ["stack", "status"], ["settings", "show"],
]  # fmt: skip
CLOSED = "127.0.0.1:9"  # the discard port: nobody listens


def run(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LIQCASCADE_")}
    return subprocess.run(
        [sys.executable, "-m", "stack.cli", *arguments],
        input=stdin, env=clean | {"COLUMNS": "200"} | environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command) or "liqcascade")
def test_help_is_there_with_an_example(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert ("Example: " in done.stdout) or not command


def test_settings_that_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[kafka]\npartitionz = 3\n")
    done = run("settings", "show", LIQCASCADE_SETTINGS=str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip().splitlines() == [
        "error: settings: kafka.partitionz is not a setting (see `liqcascade settings show`)"
    ]


def test_settings_shown_can_be_read_again_and_hide_secrets(tmp_path: Path) -> None:
    shown = run("settings", "show", LIQCASCADE_KAFKA__SASL_PASSWORD="hunter2")
    assert shown.returncode == 0
    assert "hunter2" not in shown.stdout
    file = tmp_path / "liqcascade.toml"
    file.write_text(shown.stdout)
    again = run("settings", "show", LIQCASCADE_SETTINGS=str(file), LIQCASCADE_KAFKA__SASL_PASSWORD="hunter2")
    assert (again.returncode, again.stdout) == (0, shown.stdout)


@pytest.mark.parametrize("stage", ["process", "topics", "tail"])
def test_a_refused_connection_is_one_sentence(stage: str) -> None:
    arguments = [stage, "alerts.cascades"] if stage == "tail" else [stage]
    done = run(*arguments, LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS=CLOSED)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert f"connecting to Kafka at {CLOSED}" in done.stderr
    assert "kafka.bootstrap_servers" in done.stderr


def test_an_unknown_exchange_is_one_sentence_that_names_the_known_ones() -> None:
    done = run("produce", "--exchange", "mtgox")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert all(name in done.stderr for name in ("mtgox", "binance", "bybit", "okx"))


def test_doctor_names_each_server_that_is_away_and_what_to_do() -> None:
    done = run(
        "doctor", "--json",
        LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS=CLOSED,
        LIQCASCADE_DATABASE__URL=f"postgresql://x@{CLOSED}/x",
        LIQCASCADE_REDIS__URL=f"redis://{CLOSED}/0",
    )  # fmt: skip
    findings = {row["check"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1
    assert not any(findings[check]["ok"] for check in ("kafka", "database", "redis"))
    assert "database.url" in findings["database"]["advice"]


def test_doctor_is_content_with_servers_and_topics(kafka: str, postgres_url: str, redis_url: str) -> None:
    urls = {
        "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "LIQCASCADE_DATABASE__URL": postgres_url,
        "LIQCASCADE_REDIS__URL": redis_url,
    }
    create_topics(KafkaSettings(bootstrap_servers=kafka))
    done = run("doctor", **urls)
    assert done.returncode == 0, done.stdout


def test_tail_prints_records_decoded_and_dead_letters_as_safe_text(kafka: str, topic_prefix: str) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix)
    create_topics(settings, [LIQUIDATIONS, DEAD_LETTERS])
    producer = Producer(producer_config(settings))
    for _ in range(3):
        value = Codec().encode(LIQUIDATIONS, example())
        producer.produce(topic_prefix + LIQUIDATIONS.name, key=b"BTC", value=value)
    producer.produce(topic_prefix + DEAD_LETTERS.name, key=b"x", value=b"\x1b[31mred\xff", headers={"reason": b"why"})
    assert producer.flush(30) == 0
    urls = {"LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": kafka, "LIQCASCADE_KAFKA__TOPIC_PREFIX": topic_prefix}
    rows = run("tail", "market.liquidations", "--from-start", "--limit", "3", "--json", **urls)
    assert [json.loads(line)["value"]["side"] for line in rows.stdout.splitlines()] == ["LONG"] * 3
    assert "side=LONG" in run("tail", "market.liquidations", "--no-follow", "--last", "1", **urls).stdout
    letter = run("tail", "dead-letters", "--no-follow", **urls).stdout
    assert "why" in letter
    assert "\x1b[31m" not in letter


def test_topics_are_listed_with_their_records(kafka: str, topic_prefix: str) -> None:
    urls = {"LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": kafka, "LIQCASCADE_KAFKA__TOPIC_PREFIX": topic_prefix}
    before = [json.loads(line) for line in run("topics", "--json", **urls).stdout.splitlines()]
    assert {row["records"] for row in before} == {None}
    after = [json.loads(line) for line in run("topics", "--create", "--json", **urls).stdout.splitlines()]
    assert {row["records"] for row in after} == {0}
    assert {row["topic"] for row in after} == {row["topic"] for row in before}


def test_decode_prints_events_and_refusals_with_their_lines() -> None:
    frames = (
        '{"topic":"allLiquidation.BTCUSDT","type":"snapshot","ts":1791565601482,"data":[{"T":1791565600992,'
        '"s":"BTCUSDT","S":"Buy","v":"0.006","p":"82396.90"}]}\n'
        '{"success":true,"ret_msg":"","conn_id":"x","op":"subscribe"}\n'
        "nonsense\n"
    )
    done = run("decode", "--exchange", "bybit", "--kind", "liquidation", stdin=frames)
    event, refusal = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 1
    assert (event["side"], event["quantity"], event["notional_usd"]) == ("LONG", 0.006, 494.3814)
    assert refusal["line"] == 3
    assert run("decode", "--exchange", "bybit", "--kind", "liquidation", stdin=frames.split("\n")[0]).returncode == 0


def test_a_closed_pipe_ends_quietly(kafka: str, topic_prefix: str) -> None:
    command = f"{sys.executable} -m stack.cli topics --json | head -n 1"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": kafka, "LIQCASCADE_KAFKA__TOPIC_PREFIX": topic_prefix},
    )  # fmt: skip
    assert done.stderr == ""
