"""The REST interface beside Kafka Connect's own: method, path, status and shape of every answer."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from runtime.settings import KafkaSettings, OperationsSettings, RedisSettings
from schemas.topics import LIQUIDATIONS
from sinks.app import SinkStage
from sinks.settings import RestSettings, SinkSettings, SinksSection
from tests.sinks.connect_calls import NAME, fits, play
from tests.sinks.real_connect import ANSWERS, cached, given, real_connect, words
from tests.sinks.records import liquidation
from tests.sinks.topics import Log, wait_for


def started(settings: SinkSettings) -> Iterator[str]:
    stage = SinkStage(settings)
    stage.start()
    assert stage.worker is not None
    try:
        worker = stage.worker
        wait_for(lambda: not worker.rebalancing, "the worker")
        yield f"http://{worker.worker_id}"
    finally:
        stage.close()


@pytest.fixture
def settings(kafka_settings: KafkaSettings, redis_url: str) -> SinkSettings:
    return SinkSettings(
        kafka=kafka_settings,
        redis=RedisSettings(url=SecretStr(redis_url.rpartition("/")[0] + "/8")),
        sinks=SinksSection(enabled=(), backoff_ms_max=100),
        rest=RestSettings(port=0),
        operations=OperationsSettings(port=0),
    )


@pytest.fixture
def address(settings: SinkSettings) -> Iterator[str]:
    yield from started(settings)


def config_of(settings: SinkSettings) -> dict[str, str]:
    topic = settings.kafka.topic_prefix + LIQUIDATIONS.name
    url = settings.redis.url.get_secret_value()
    return {"name": NAME, "connector.class": "redis", "topics": topic, "tasks.max": "1", "redis.url": url}


def recorded() -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = json.loads(ANSWERS.read_text())
    return answers


def differences(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[str]:
    return [
        f"{our['method']} {our['path']}: {our['status']} {our['shape']}, not {their['status']} {their['shape']}"
        for our, their in zip(ours, theirs, strict=True)
        if our["status"] != their["status"] or not fits(our["shape"], their["shape"])
    ]


def test_every_call_is_answered_as_kafka_connect_does(address: str, settings: SinkSettings) -> None:
    config = config_of(settings)
    answers = play(address, {"$class": "redis"} | words(config, config["topics"]))
    assert differences(answers, recorded()) == []


@pytest.mark.skipif(not cached(), reason="the runtime of Kafka Connect is not in the cache: make connect-answers")
def test_the_recorded_answers_are_kafka_connects(kafka_settings: KafkaSettings, log: Log, tmp_path: Path) -> None:
    with real_connect(kafka_settings, tmp_path) as theirs:
        answers = play(theirs, given(kafka_settings, tmp_path))
    assert differences(recorded(), answers) == []


def test_secrets_are_seen_by_nobody_and_survive_being_sent_back(address: str, settings: SinkSettings) -> None:
    config = config_of(settings) | {"redis.url": "redis://:geheim@127.0.0.1:1/0"}
    made = httpx.post(f"{address}/connectors", json={"name": NAME, "config": config})
    assert made.status_code == 201
    shown = httpx.get(f"{address}/connectors/{NAME}/config").json()
    assert shown["redis.url"] == "[hidden]"
    assert httpx.put(f"{address}/connectors/{NAME}/config", json=shown | {"flush.ms": "50"}).status_code == 200
    status = f"{address}/connectors/{NAME}/status"
    wait_for(lambda: "127.0.0.1:1/0" in str(httpx.get(status).json()["tasks"]), "the outage that names the address")
    pages = ["/connectors?expand=info&expand=status", f"/connectors/{NAME}", f"/connectors/{NAME}/tasks"]
    assert not any("geheim" in httpx.get(address + page).text for page in pages)
    checked = httpx.put(f"{address}/connector-plugins/redis/config/validate", json=config)
    assert checked.status_code == 200
    assert "geheim" not in checked.text


def test_an_outage_is_told_and_is_no_failure(address: str, settings: SinkSettings) -> None:
    config = config_of(settings) | {"redis.url": "redis://127.0.0.1:1/0"}
    httpx.put(f"{address}/connectors/{NAME}/config", json=config).raise_for_status()
    status = f"{address}/connectors/{NAME}/status"
    heard: list[dict[str, Any]] = []

    def told() -> bool:
        heard.append(httpx.get(status).json())
        return any("trace" in task and task["state"] != "UNASSIGNED" for task in heard[-1].get("tasks", ()))

    wait_for(told, "the reason")
    found = heard[-1]
    assert found["connector"]["state"] == "RUNNING"
    assert found["tasks"][0]["state"] == "PAUSED"
    assert found["tasks"][0]["trace"].startswith("paused by outage: ")


def test_records_are_landed_again_from_offsets_that_a_person_sets(
    address: str, settings: SinkSettings, log: Log
) -> None:
    config, connector = config_of(settings), f"{address}/connectors/{NAME}"
    log.append([liquidation(number) for number in range(3)])
    httpx.put(f"{connector}/config", json=config).raise_for_status()

    def offsets() -> int:
        rows = httpx.get(f"{connector}/offsets").json()["offsets"]
        return sum(row["offset"]["kafka_offset"] for row in rows)

    wait_for(lambda: offsets() == 3, "the offsets")
    read = {NAME: {"topics": [config["topics"]]}}
    wait_for(lambda: httpx.get(f"{connector}/topics").json() == read, "the topics")
    httpx.put(f"{connector}/stop").raise_for_status()
    wait_for(lambda: httpx.get(f"{connector}/status").json()["tasks"] == [], "the stop")
    (row,) = [row for row in httpx.get(f"{connector}/offsets").json()["offsets"] if row["offset"]["kafka_offset"]]
    altered = httpx.patch(f"{connector}/offsets", json={"offsets": [row | {"offset": {"kafka_offset": 1}}]}, timeout=30)
    assert altered.status_code == 200, altered.text
    assert offsets() == 1
    unknown = {"partition": {"kafka_topic": "x", "kafka_partition": 0}, "offset": None}
    assert httpx.patch(f"{connector}/offsets", json={"offsets": [unknown]}, timeout=30).status_code == 400
    httpx.put(f"{connector}/resume").raise_for_status()
    wait_for(lambda: offsets() == 3, "the offsets again")


def test_settings_that_do_not_fit_are_named(address: str, settings: SinkSettings) -> None:
    config = config_of(settings) | {"flush.ms": "soon", "redis.host": "x", "transforms": "t", "topics": "other"}
    answer = httpx.put(f"{address}/connectors/{NAME}/config", json=config)
    assert answer.status_code == 400
    for part in ("4 error(s)", "flush.ms: 'soon'", "redis.host: is no key", "transforms: ", "cannot land 'other'"):
        assert part in answer.json()["message"]
    ignored = config_of(settings) | {"key.converter": "org.apache.kafka.connect.storage.StringConverter"}
    assert httpx.put(f"{address}/connectors/{NAME}/config", json=ignored).status_code == 201


@pytest.mark.parametrize("keys", [{"token": "t0ken"}, {"username": "ops", "password": "pw"}], ids=str)
def test_who_has_no_key_is_turned_away(settings: SinkSettings, keys: dict[str, str]) -> None:
    rest = RestSettings.model_validate({"port": 0} | keys)
    for address in started(settings.model_copy(update={"rest": rest})):
        assert httpx.get(f"{address}/connectors").status_code == 401
        assert httpx.get(f"{address}/connectors", headers={"Authorization": "Bearer no"}).status_code == 401
        if "token" in keys:
            found = httpx.get(f"{address}/connectors", headers={"Authorization": "Bearer t0ken"})
        else:
            found = httpx.get(f"{address}/connectors", auth=("ops", "pw"))
        assert found.status_code == 200


def test_a_body_must_say_that_it_is_json(address: str) -> None:
    """What a page in a browser can send without being asked is never taken."""
    answer = httpx.post(f"{address}/connectors", content="{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
