import socket
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from runtime.operations import OperationsServer
from runtime.settings import OperationsSettings
from schemas.errors import SettingsError

STATE: dict[str, str] = {}


@pytest.fixture
def server() -> Iterator[OperationsServer]:
    registry = CollectorRegistry()
    Counter("liqcascade_things", "Things.", registry=registry).inc(3)
    STATE.clear()
    STATE["feed"] = "ok"
    server = OperationsServer(
        OperationsSettings(), alive=lambda: {"loop": "ok"}, ready=lambda: STATE, registry=registry
    )
    server.start()
    yield server
    server.stop()


def test_metrics_are_served(server: OperationsServer) -> None:
    answer = httpx.get(server.address + "/metrics")
    assert "liqcascade_things_total 3.0" in answer.text
    assert answer.headers["content-type"].startswith("application/openmetrics-text")


def test_ready_follows_the_parts_and_names_the_one_that_is_not(server: OperationsServer) -> None:
    assert httpx.get(server.address + "/readyz").status_code == 200
    STATE["database"] = "connection refused"
    answer = httpx.get(server.address + "/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"feed": "ok", "database": "connection refused"}
    assert httpx.get(server.address + "/healthz").status_code == 200


def test_a_taken_port_is_a_settings_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = OperationsSettings(port=other.getsockname()[1])
        server = OperationsServer(settings, alive=dict, ready=dict, registry=CollectorRegistry())
        with pytest.raises(SettingsError, match=r"operations\.port"):
            server.start()


def test_stop_frees_the_port(server: OperationsServer) -> None:
    server.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.address + "/healthz")
