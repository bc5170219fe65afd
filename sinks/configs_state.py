"""What connect.configs and connect.status say: connectors, what they shall do, how their tasks are. Pure.

Keys and values are those of Kafka Connect's config and status topics. Source: KafkaConfigBackingStore and
KafkaStatusBackingStore of Apache Kafka 4.1."""

import json
from enum import StrEnum
from typing import Any, Final

import msgspec

CONNECTOR: Final = "connector-"
TARGET: Final = "target-state-"
RESTART: Final = "restart-connector-"
LOGGER: Final = "logger-cluster-"
STATUS: Final = "status-task-"
TOPIC: Final = "status-topic-"
OF_CONNECTOR: Final = ":connector-"


class Target(StrEnum):
    """What a connector shall do."""

    STARTED = "STARTED"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"


class TaskStatus(msgspec.Struct, frozen=True):
    """How a task is, as its worker says. `state`: Connect's word; `instance`: which start of which worker."""

    state: str
    worker_id: str
    instance: str = ""
    trace: str = ""


class Restart(msgspec.Struct, frozen=True, rename="kebab"):
    """Somebody wants this. `task` None: of the connector, with its tasks where `include_tasks`."""

    connector: str
    task: int | None = None
    include_tasks: bool = False
    only_failed: bool = False


class LogLevel(msgspec.Struct, frozen=True):
    """Somebody wants this level of a logger at every worker that runs now."""

    logger: str
    level: str


class ConnectState:
    """The newest value of each key. `apply` in the order of each topic."""

    def __init__(self) -> None:
        """Nothing is known."""
        self.configs: dict[str, dict[str, str]] = {}
        self.targets: dict[str, Target] = {}
        self.statuses: dict[tuple[str, int], TaskStatus] = {}
        self.topics: dict[str, set[str]] = {}

    def target(self, name: str) -> Target:
        """STARTED unless somebody said otherwise."""
        return self.targets.get(name, Target.STARTED)

    def apply(self, key: str, value: bytes | None) -> Restart | LogLevel | None:
        """Take one record over; a restart and a level are returned, since they are events and no state.

        Raises ValueError for a key or a value that is none of these; the state is as before then."""
        content: Any = None if value is None else json.loads(value)
        if not isinstance(content, dict | None):
            raise ValueError(f"the value of {key!r} is no object")
        if key.startswith(RESTART):
            return None if content is None else msgspec.convert(content | {"connector": key[len(RESTART) :]}, Restart)
        if key.startswith(LOGGER):
            return None if content is None else msgspec.convert(content | {"logger": key[len(LOGGER) :]}, LogLevel)
        if key.startswith(CONNECTOR):
            name = key[len(CONNECTOR) :]
            found = None if content is None else msgspec.convert(content["properties"], dict[str, str])
            _put(self.configs, name, found)
        elif key.startswith(TARGET):
            # Connect writes STOPPED beside the word PAUSED that its older versions know
            target = None if content is None else Target(str(content.get("state.v2") or content["state"]))
            _put(self.targets, key[len(TARGET) :], target)
        elif key.startswith(STATUS):
            name, _, number = key[len(STATUS) :].rpartition("-")
            status = None if content is None else msgspec.convert(content, TaskStatus)
            _put(self.statuses, (name, int(number)), status)
        elif key.startswith(TOPIC) and OF_CONNECTOR in key:
            topic, _, name = key[len(TOPIC) :].partition(OF_CONNECTOR)
            seen = self.topics.setdefault(name, set())
            seen.discard(topic) if content is None else seen.add(topic)
        else:
            raise ValueError(f"{key!r} is no key of connect.configs or connect.status")
        return None


def _put(into: dict[Any, Any], key: Any, value: Any) -> None:
    if value is None:
        into.pop(key, None)
    else:
        into[key] = value


def config_record(name: str, properties: dict[str, str]) -> tuple[str, bytes]:
    """Key and value."""
    return CONNECTOR + name, json.dumps({"properties": properties}).encode()


def target_record(name: str, target: Target) -> tuple[str, bytes]:
    """Key and value."""
    known = Target.PAUSED if target is Target.STOPPED else target
    return TARGET + name, json.dumps({"state": known, "state.v2": target}).encode()


def restart_record(restart: Restart) -> tuple[str, bytes]:
    """Key and value."""
    return RESTART + restart.connector, msgspec.json.encode(restart)


def level_record(wanted: LogLevel) -> tuple[str, bytes]:
    """Key and value."""
    return LOGGER + wanted.logger, json.dumps({"level": wanted.level}).encode()


def status_key(name: str, task: int) -> str:
    """Key of a task's status."""
    return f"{STATUS}{name}-{task}"


def status_record(name: str, task: int, status: TaskStatus) -> tuple[str, bytes]:
    """Key and value."""
    return status_key(name, task), msgspec.json.encode(status)


def topic_record(name: str, topic: str) -> tuple[str, bytes]:
    """Key and value: the connector has read of this topic."""
    return f"{TOPIC}{topic}{OF_CONNECTOR}{name}", json.dumps({"topic": {"name": topic, "connector": name}}).encode()
