"""Several workers on one broker: what one is told all do, and tasks go to who is there."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from schemas.errors import RequestRefused
from schemas.topics import CONFIGS, LIQUIDATIONS
from sinks.app import SinkStage
from sinks.configs_state import Target
from sinks.rest_api import ConnectorsApi
from sinks.settings import RestSettings, SinkSettings, SinksSection
from sinks.worker import Worker
from tests.sinks.records import liquidation
from tests.sinks.stores import Store
from tests.sinks.topics import Log, wait_for

NAME = "second-of-redis"


@pytest.fixture
def store(servers: dict[str, Store]) -> Store:
    store = servers["redis"]
    store.server.start()
    store.empty()
    return store


@pytest.fixture
def settings(store: Store, log: Log) -> SinkSettings:
    section = SinksSection(enabled=(), backoff_ms_min=10, backoff_ms_max=100, flush_ms={"redis": 50})
    return store.settings(log.settings, section).model_copy(update={"rest": RestSettings(port=0)})


@contextmanager
def started(settings: SinkSettings) -> Iterator[str]:
    """A worker; gives the address of its REST interface."""
    stage = SinkStage(settings)
    stage.start()
    assert stage.worker is not None
    worker = stage.worker
    try:
        wait_for(lambda: not worker.rebalancing, "the worker")
        yield f"http://{worker.worker_id}"
    finally:
        stage.close()


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=10.0).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def first_of_two_ports() -> int:
    """A free port with a free one behind it."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as one, contextlib.suppress(OSError, OverflowError):
            port: int = one.getsockname()[1]
            socket.create_server(("127.0.0.1", port + 1)).close()
            return port


def ask(method: str, address: str, body: Any = None) -> Any:
    """Again while the workers are rebalancing, as clients of Connect do."""
    heard: list[httpx.Response] = []

    def settled() -> bool:
        heard.append(httpx.request(method, address, json=body, timeout=30.0))
        return heard[-1].status_code != httpx.codes.CONFLICT

    wait_for(settled, "the workers to agree")
    heard[-1].raise_for_status()
    return heard[-1].json() if heard[-1].content else None


def create(address: str, **properties: str) -> None:
    config = {"connector.class": "redis"} | {name.replace("_", "."): value for name, value in properties.items()}
    ask("POST", f"{address}/connectors", {"name": NAME, "config": config})


def tasks(address: str) -> list[tuple[str, str]]:
    """State and worker of each; none while this worker has not heard of the connector."""
    if NAME not in ask("GET", f"{address}/connectors"):
        return []
    status = ask("GET", f"{address}/connectors/{NAME}/status")
    return [(task["state"], task["worker_id"]) for task in status["tasks"]]


def of(*addresses: str) -> set[tuple[str, str]]:
    """A running task at each."""
    return {("RUNNING", address.removeprefix("http://")) for address in addresses}


def events(first: int, count: int) -> list[Any]:
    return [liquidation(number, asset=f"A{number % 17}") for number in range(first, first + count)]


def ids(count: int) -> Counter[str]:
    return Counter(f"binance:BTCUSDT:{number}" for number in range(count))


def test_tasks_are_shared_and_move_and_everything_lands_once(store: Store, settings: SinkSettings, log: Log) -> None:
    with ExitStack() as stack:
        with started(settings) as first:
            create(first, tasks_max="2")
            log.append(events(0, 500))
            second = stack.enter_context(started(settings))
            for address in (first, second):
                wait_for(lambda at=address: set(tasks(at)) == of(first, second), "a task at each")  # type: ignore[misc]
            log.append(events(500, 500))
            wait_for(lambda: store.landed(settings) == ids(1_000), "all")
        wait_for(lambda: tasks(second) == [*of(second)] * 2, "both tasks at the one that is left")
        log.append(events(1_000, 500))
        wait_for(lambda: store.landed(settings) == ids(1_500), "all")
    with started(settings) as third:
        assert ask("GET", f"{third}/connectors") == [NAME], "a worker that starts anew has the settings"
        wait_for(lambda: set(tasks(third)) == of(third), "the tasks")
        log.append(events(1_500, 10))
        wait_for(lambda: store.landed(settings) == ids(1_510), "all")


def test_what_one_worker_is_told_all_do(store: Store, settings: SinkSettings, log: Log) -> None:
    with started(settings) as first, started(settings) as second:
        create(first, tasks_max="2")
        connector = f"{second}/connectors/{NAME}"
        wait_for(lambda: set(tasks(second)) == of(first, second), "a task at each")
        ask("PUT", f"{connector}/pause")
        wait_for(lambda: {state for state, _ in tasks(first)} == {"PAUSED"}, "the pause")
        ask("PUT", f"{connector}/resume")
        wait_for(lambda: set(tasks(first)) == of(first, second), "the end of the pause")
        ask("PUT", f"{connector}/config", {"connector.class": "redis", "tasks.max": "4"})
        wait_for(lambda: [*map(set, [tasks(first)])] == [of(first, second)] and len(tasks(first)) == 4, "four tasks")
        ask("DELETE", connector)
        for address in (first, second):
            wait_for(lambda at=address: ask("GET", f"{at}/connectors") == [], "its end")  # type: ignore[misc]


def test_a_failed_task_is_seen_and_restarted_from_any_worker(store: Store, settings: SinkSettings, log: Log) -> None:
    log.append([liquidation(1, price=0.0)])
    with started(settings) as first, started(settings) as second:
        create(first, errors_tolerance="none")
        for address in (first, second):
            wait_for(lambda at=address: tasks(at)[0][0] == "FAILED", "the failure")  # type: ignore[misc]
        status = ask("GET", f"{second}/connectors/{NAME}/tasks/0/status")
        assert "errors.tolerance is none" in status["trace"]
        assert ask("GET", f"{first}/connectors/{NAME}/status")["connector"]["state"] == "RUNNING"
        ask("PUT", f"{second}/connectors/{NAME}/config", {"connector.class": "redis", "errors.tolerance": "all"})
        wait_for(lambda: tasks(first)[0][0] == "RUNNING", "the task with new settings")
        for address in (first, second):
            ask("POST", f"{address}/connectors/{NAME}/restart?includeTasks=true")
            wait_for(lambda: tasks(first)[0][0] == "RUNNING", "the task after the restart")


def test_connectors_of_the_settings_are_made_once(store: Store, settings: SinkSettings, log: Log) -> None:
    wanted = settings.model_copy(
        update={
            "sinks": SinksSection(enabled=("redis",), connectors={NAME: {"connector.class": "redis", "flush.ms": "70"}})
        }
    )
    with started(wanted) as address:
        assert sorted(ask("GET", f"{address}/connectors")) == ["redis", NAME]
        ask("PUT", f"{address}/connectors/{NAME}/config", {"connector.class": "redis", "flush.ms": "90"})
    with started(wanted) as address:
        assert ask("GET", f"{address}/connectors/{NAME}/config")["flush.ms"] == "90", "what people set is kept"


def test_a_record_that_nobody_understands_stops_no_worker(store: Store, settings: SinkSettings, log: Log) -> None:
    log.append([b"no JSON", b'{"properties": 7}', None], CONFIGS)
    with started(settings) as address:
        create(address, topics=log.names.of(LIQUIDATIONS))
        wait_for(lambda: set(tasks(address)) == of(address), "the task")


def test_a_worker_that_does_not_know_the_others_writes_nothing(settings: SinkSettings) -> None:
    worker = Worker(settings, "here:1")  # it does not run, so it has not joined
    try:
        api = ConnectorsApi(worker)
        for call in (
            lambda: api.create({"name": NAME, "config": {"connector.class": "redis"}}),
            lambda: api.put(NAME, {"connector.class": "redis"}),
            lambda: api.delete(NAME),
            lambda: api.set_target(NAME, Target.PAUSED),
            lambda: api.restart(NAME, include_tasks=True, only_failed=False),
        ):
            with pytest.raises(RequestRefused, match="conflicting operation") as caught:
                call()
            assert caught.value.status == httpx.codes.CONFLICT
    finally:
        worker.membership.close()
        worker.log.close()


def test_workers_of_one_command_share_the_tasks_and_end_together(
    store: Store, settings: SinkSettings, log: Log
) -> None:
    first = first_of_two_ports()
    environment = {
        "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "LIQCASCADE_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "LIQCASCADE_KAFKA__PARTITIONS": "4",
        "LIQCASCADE_REDIS__URL": settings.redis.url.get_secret_value(),
        "LIQCASCADE_SINKS__ENABLED": "[]",
        "LIQCASCADE_REST__PORT": str(first),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "stack.cli", "sink", "--workers", "2"], env=os.environ | environment
    )
    try:
        addresses = [f"http://127.0.0.1:{port}" for port in (first, first + 1)]
        for address in addresses:
            wait_for(lambda at=address: answers(at), "the worker")  # type: ignore[misc]
        create(addresses[0], tasks_max="2", flush_ms="50")
        wait_for(lambda: NAME in ask("GET", f"{addresses[1]}/connectors"), "the other one to hear of it")
        wait_for(lambda: set(tasks(addresses[1])) == of(*addresses), "a task at each")
        log.append(events(0, 100))
        wait_for(lambda: store.landed(settings) == ids(100), "all")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not any(answers(address) for address in addresses)
    finally:
        process.kill()
        process.wait()
