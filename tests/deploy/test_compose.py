"""The names in docker-compose.yml are those of the code."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel

from stack.cli.commands import register
from stack.settings import Settings
from tests.conftest import TIMESCALE_IMAGE

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
STAGES = ("produce", "process", "sink")
SERVERS = ("redpanda", "console", "timescaledb", "redis")


def commands() -> set[str]:
    app = typer.Typer()
    register(app)
    return {str(command.name or command.callback.__name__) for command in app.registered_commands if command.callback}


def setting(name: str) -> Any:
    """The field that an environment name sets; fails when there is none."""
    model: Any = Settings
    for part in name.removeprefix("LIQCASCADE_").lower().split("__"):
        assert issubclass(model, BaseModel), name
        assert part in model.model_fields, f"{name}: there is no setting {part}"
        model = model.model_fields[part].annotation
    return model


def test_there_is_one_service_a_stage_and_one_a_server() -> None:
    assert set(SERVICES) == {*STAGES, *SERVERS}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_a_command_that_is_there(stage: str) -> None:
    assert SERVICES[stage]["command"] == [stage]
    assert stage in commands()


@pytest.mark.parametrize("stage", STAGES)
def test_every_variable_is_a_setting(stage: str) -> None:
    for name in SERVICES[stage]["environment"]:
        setting(name)


@pytest.mark.parametrize("stage", STAGES)
def test_urls_name_services(stage: str) -> None:
    environment = SERVICES[stage]["environment"]
    hosts = {re.sub(r".*(//|@)", "", value).split(":")[0] for name, value in environment.items() if "URL" in name}
    assert hosts == {"redpanda", "timescaledb", "redis"}
    assert set(SERVICES[stage]["depends_on"]) <= set(SERVICES)


@pytest.mark.parametrize("service", [*STAGES, *SERVERS])
def test_ports_are_open_on_loopback_only(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", ()))


def test_what_a_sink_keeps_in_folders_outlives_its_container() -> None:
    (volume,) = SERVICES["sink"]["volumes"]
    name, _, folder = volume.partition(":")
    assert name in COMPOSE["volumes"]
    environment = SERVICES["sink"]["environment"]
    for key in ("LIQCASCADE_ARCHIVE__FOLDER", "LIQCASCADE_WEBHOOK__FOLDER"):
        assert environment[key].startswith(f"{folder}/")
    assert f"--owner liqcascade {folder}" in (ROOT / "deploy" / "Dockerfile").read_text()


@pytest.mark.parametrize("service", [*STAGES, *SERVERS])
def test_versions_are_pinned(service: str) -> None:
    tag = SERVICES[service]["image"].rpartition(":")[2]
    assert re.search(r"\d+\.\d+\.\d+", tag), SERVICES[service]["image"]


def test_tests_use_the_same_image_of_the_database() -> None:
    assert SERVICES["timescaledb"]["image"] == TIMESCALE_IMAGE


def test_the_image_has_every_package_and_the_console_reads_the_registry() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    for package in ("schemas", "runtime", "producers", "processors", "sinks", "stack"):
        assert f"COPY {package} {package}" in dockerfile
    console = yaml.safe_load((ROOT / "deploy" / "console.yml").read_text())
    assert console["kafka"]["brokers"] == [SERVICES["produce"]["environment"]["LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS"]]
    assert console["schemaRegistry"]["urls"] == [
        SERVICES["produce"]["environment"]["LIQCASCADE_KAFKA__SCHEMA_REGISTRY_URL"]
    ]
