"""The stage as a process: ready when it lands, loud when a store is out, gone within 5 s of a signal."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import psutil
import pytest

from runtime.kafka import create_topics, describe
from runtime.settings import KafkaSettings, load
from schemas.errors import SettingsError
from schemas.topics import ALERTS
from sinks import counts
from sinks.app import SinkStage
from sinks.settings import RestSettings, SinkSettings
from tests.sinks.records import alert, liquidation, state, window
from tests.sinks.stores import Store
from tests.sinks.topics import Log, wait_for

STAGE = """
from runtime.settings import load
from sinks.app import run
from sinks.settings import RestSettings, SinkSettings
run(load(SinkSettings))
"""


@pytest.fixture
def both(servers: dict[str, Store]) -> dict[str, Store]:
    stores = {name: servers[name] for name in ("timescale", "redis")}
    for store in stores.values():
        store.server.start()
        store.empty()
    return stores


@pytest.fixture
def settings(both: dict[str, Store], kafka_settings: KafkaSettings) -> SinkSettings:
    parts = [store.settings(kafka_settings, SinkSettings().sinks) for store in both.values()]
    rest = RestSettings(port=0)
    return SinkSettings(kafka=kafka_settings, database=parts[0].database, redis=parts[1].redis, rest=rest)


@pytest.fixture
def process(settings: SinkSettings) -> Iterator[subprocess.Popen[str]]:
    environment = {
        "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "LIQCASCADE_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "LIQCASCADE_KAFKA__PARTITIONS": "4",
        "LIQCASCADE_DATABASE__URL": settings.database.url.get_secret_value(),
        "LIQCASCADE_REDIS__URL": settings.redis.url.get_secret_value(),
        "LIQCASCADE_REST__PORT": "0",
        "LIQCASCADE_SINKS__FLUSH_MS__TIMESCALE": "100",
        "LIQCASCADE_SINKS__BACKOFF_MS_MAX": "500",
    }
    process = subprocess.Popen([sys.executable, "-c", STAGE], env=os.environ | environment, text=True)
    yield process
    process.kill()
    process.wait()


def address_of(process: subprocess.Popen[str]) -> str:
    found: list[str] = []

    def look() -> bool:
        found[:] = [
            f"http://{one.laddr.ip}:{one.laddr.port}"
            for one in psutil.Process(process.pid).net_connections()
            if one.status == psutil.CONN_LISTEN
        ]
        found[:] = [one for one in found if is_operations(one)]
        return bool(found)

    wait_for(look, "the operations server")
    return found[0]


def is_operations(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", timeout=10).status_code != 404  # the REST interface has no such path
    except httpx.HTTPError:
        return False


def ready(address: str) -> dict[str, str]:
    parts: dict[str, str] = httpx.get(f"{address}/readyz", timeout=10).json()
    return parts


def test_the_stage_lands_everything_and_ends_in_order(
    process: subprocess.Popen[str], settings: SinkSettings, both: dict[str, Store]
) -> None:
    address = address_of(process)
    well = {"worker": "ok", "timescale": "ok", "redis": "ok"}
    wait_for(lambda: ready(address) == well, "both sinks")
    log = Log(settings.kafka)
    log.append([liquidation(1), liquidation(2), window(1), state(), state(asset="*"), alert(1)])
    wait_for(
        lambda: counts.timescale_counts(settings) == {"liquidations": 2, "late": 0, "windows": 1, "alerts": 1}, "rows"
    )
    wait_for(lambda: counts.redis_counts(settings) == {"buckets": 1, "events": 2, "states": 2, "alerts": 1}, "keys")
    metrics = httpx.get(f"{address}/metrics").text
    assert 'liqcascade_sink_records_total{sink="timescale"} 4.0' in metrics
    assert 'liqcascade_sink_running{sink="redis"} 1.0' in metrics
    assert 'kafka_connect_sink_task_metrics_sink_record_read_total{connector="timescale",task="0"} 4.0' in metrics
    assert "kafka_connect_connect_worker_metrics_task_count 2.0" in metrics
    both["redis"].server.kill()
    wait_for(lambda: ready(address)["redis"].startswith("paused by outage: "), "the pause")
    assert ready(address)["timescale"] == "ok", "one store's outage is not the other's"
    assert httpx.get(f"{address}/readyz").status_code == 503
    assert httpx.get(f"{address}/healthz").status_code == 200
    both["redis"].server.start()
    wait_for(lambda: ready(address)["redis"] == "ok", "the end of the pause")
    log.append([liquidation(number) for number in range(3, 103)])
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


def test_stores_that_are_out_do_not_keep_the_stage_from_ending_in_time(
    process: subprocess.Popen[str], both: dict[str, Store]
) -> None:
    for store in both.values():
        store.server.kill()
    address = address_of(process)
    wait_for(lambda: str(ready(address)).count("paused by") == 2, "the pauses")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0


def test_the_topics_that_are_missing_are_made(settings: SinkSettings) -> None:
    stage = SinkStage(settings)
    stage.start()
    stage.close()
    assert f"{settings.kafka.topic_prefix}{ALERTS.name}" in describe(settings.kafka)
    assert create_topics(settings.kafka, [ALERTS]) == []


def test_a_sink_that_can_never_serve_is_said_before_anything_starts(settings: SinkSettings) -> None:
    broken = settings.model_copy(
        update={"redis": settings.redis.model_copy(update={"url": settings.redis.url.__class__("nonsense")})}
    )
    with pytest.raises(SettingsError, match=r"the connector redis cannot run: .*redis\.url") as caught:
        SinkStage(broken)
    assert "\n" not in str(caught.value)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIQCASCADE_DATABASE__URL", "postgresql://u:geheim@db/x")
    monkeypatch.setenv("LIQCASCADE_SINKS__FLUSH_MS__REDIS", "50")
    monkeypatch.setenv("LIQCASCADE_SINKS__ENABLED", '["redis"]')
    settings = load(SinkSettings)
    assert settings.sinks.flush_ms == {"redis": 50}
    assert settings.sinks.enabled == ("redis",)
    assert "geheim" not in repr(settings)
    monkeypatch.setenv("LIQCASCADE_SINKS__BATCH_RECORDS_MAX", "0")
    with pytest.raises(SettingsError, match=r"sinks\.batch_records_max"):
        load(SinkSettings)
