"""What Kafka Connect's REST interface does with connectors and tasks, without HTTP: values in, values out.

Paths, shapes, status codes and sentences are those of Apache Kafka Connect 4.1, noted from its own runtime
(tests/data/connect). Every function blocks until the worker itself has seen what was asked for."""

import json
from typing import Any, Final

from schemas.errors import RequestRefused, SettingsError
from schemas.topics import CONFIGS, STATUSES
from sinks.configs import is_secret, masked, read, unmasked
from sinks.configs_state import (
    CONNECTOR,
    TARGET,
    Restart,
    Target,
    TaskStatus,
    config_record,
    restart_record,
    status_key,
    target_record,
    topic_record,
)
from sinks.rest_version import VERSION
from sinks.worker import Worker

Json = Any
STATES: Final = {Target.STARTED: "RUNNING", Target.PAUSED: "PAUSED", Target.STOPPED: "STOPPED"}
INITIAL: Final = {"RUNNING": Target.STARTED, "PAUSED": Target.PAUSED, "STOPPED": Target.STOPPED}
MALFORMED: Final = 500  # what Connect answers to JSON that its parser cannot make a request of
ALSO: Final = (
    "\nYou can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`"
)


class ConnectorsApi:
    """Connectors of all workers, seen from one. Everything raises RequestRefused and BrokerUnavailable."""

    def __init__(self, worker: Worker) -> None:
        """Asks and tells this worker."""
        self._worker, self._log = worker, worker.log

    def all(self, expand: list[str]) -> Json:
        """Names, or what `expand` names of each."""
        names = list(self._log.state.configs)
        if not expand:
            return names
        views = {"status": self.status, "info": self.info}
        return {name: {view: views[view](name) for view in expand if view in views} for name in names}

    def info(self, name: str) -> Json:
        """Settings, secrets hidden, and tasks."""
        config = self.config(name)
        tasks = [{"connector": name, "task": number} for number in self._worker.tasks_of(name)]
        return {"name": name, "config": config, "tasks": tasks, "type": "sink"}

    def config(self, name: str) -> Json:
        """Settings, secrets hidden."""
        return masked(self._stored(name))

    def create(self, body: Json) -> Json:
        """A new one; `initial_state` may be RUNNING, PAUSED or STOPPED."""
        if not isinstance(body, dict) or not body.keys() <= {"name", "config", "initial_state"}:
            raise RequestRefused("a connector is created with name, config and perhaps initial_state", MALFORMED)
        state = body.get("initial_state") or "RUNNING"
        if str(state).upper() not in INITIAL:
            raise RequestRefused(f"initial_state {state!r} is none of {', '.join(INITIAL)}", MALFORMED)
        name = str(body.get("name") or "").strip()
        properties = self._named(name, body.get("config") or {})
        self._check(properties)
        if name in self._log.state.configs:
            raise RequestRefused(f"Connector {name} already exists", 409)
        self._write(name, properties, INITIAL[str(state).upper()])
        return {"name": name, "config": masked(properties), "tasks": [], "type": "sink"}

    def put(self, name: str, body: Json) -> tuple[bool, Json]:
        """Settings instead of those that were, or a new connector; True for a new one."""
        stored = self._log.state.configs.get(name)
        properties = unmasked(self._named(name, body), stored or {})
        self._check(properties)
        self._write(name, properties, Target.STARTED if stored is None else None)
        return stored is None, self.info(name) | ({"tasks": []} if stored is None else {})

    def patch(self, name: str, body: Json) -> Json:
        """Some settings; null takes one away."""
        if not isinstance(body, dict):
            raise RequestRefused("a patch is an object of settings", 400)
        stored = self._stored(name)
        given = unmasked(texts({key: value for key, value in body.items() if value is not None}), stored)
        merged = {key: value for key, value in (stored | given).items() if body.get(key, "") is not None}
        return self.put(name, merged)[1]

    def delete(self, name: str) -> None:
        """End its tasks and forget it; the store keeps its offsets."""
        self._settled()
        self._stored(name)
        state = self._log.state
        self._log.write(CONFIGS, [(CONNECTOR + name, None), (TARGET + name, None)])
        topics = state.topics.get(name, set())
        gone = [status_key(*task) for task in state.statuses if task[0] == name]
        gone += [topic_record(name, topic)[0] for topic in topics]
        self._log.write(STATUSES, [(key, None) for key in gone], wait=False)

    def set_target(self, name: str, target: Target) -> None:
        """Pause, resume, stop."""
        self._settled()
        if name not in self._log.state.configs:
            raise RequestRefused(f"Unknown connector {name}", 404)
        self._log.write(CONFIGS, [target_record(name, target)])

    def restart(self, name: str, *, include_tasks: bool, only_failed: bool) -> Json:
        """Returns the status that this leads to, tasks included."""
        self._settled()
        if name not in self._log.state.configs:
            raise RequestRefused(f"Unknown connector: {name}", 404)
        self._ask(Restart(name, include_tasks=include_tasks, only_failed=only_failed))
        status = self.status(name)
        tasks = status["tasks"] if include_tasks else []
        for part in (status["connector"], *tasks):
            if part["state"] == "FAILED" or not only_failed:
                part["state"] = "RESTARTING"
        return status

    def restart_task(self, name: str, number: int) -> None:
        """One task."""
        self._settled()
        if number not in self._worker.tasks_of(name):
            raise RequestRefused(f"Unknown task: {name}-{number}", 404)
        self._ask(Restart(name, task=number))

    def status(self, name: str) -> Json:
        """States of the connector and its tasks, and why where one is not well."""
        if name not in self._log.state.configs:
            raise RequestRefused(f"No status found for connector {name}", 404)
        tasks = [{"id": number} | _state(self._worker.status((name, number))) for number in self._worker.tasks_of(name)]
        owner = str(tasks[0]["worker_id"]) if tasks else self._worker.worker_id
        problem = self._worker.invalid.get(name, "")
        state = "FAILED" if problem else STATES[self._log.state.target(name)]
        connector = _state(TaskStatus(state, owner, trace=problem))
        return {"name": name, "connector": connector, "tasks": tasks, "type": "sink"}

    def task_status(self, name: str, number: int) -> Json:
        """Of one task."""
        if number not in self._worker.tasks_of(name):
            raise RequestRefused(f"No status found for task {name}-{number}", 404)
        return {"id": number} | _state(self._worker.status((name, number)))

    def tasks(self, name: str) -> Json:
        """Each with the settings that it has."""
        config = self.config(name)
        return [
            {"id": {"connector": name, "task": number}, "config": config | {"task.class": "sinks.task.Task"}}
            for number in self._worker.tasks_of(name)
        ]

    def topics(self, name: str) -> Json:
        """Topics that the connector has read of since its creation or the last reset."""
        return {name: {"topics": sorted(self._log.state.topics.get(name, set()))}}

    def reset_topics(self, name: str) -> None:
        """Forget them."""
        topics = self._log.state.topics.get(name, set())
        self._log.write(STATUSES, [(topic_record(name, topic)[0], None) for topic in topics])

    def _settled(self) -> None:
        if self._worker.rebalancing:
            raise RequestRefused(
                "Cannot complete request because of a conflicting operation (e.g. worker rebalance)", 409
            )

    def _stored(self, name: str) -> dict[str, str]:
        found = self._log.state.configs.get(name)
        if found is None:
            raise RequestRefused(f"Connector {name} not found", 404)
        return found

    def _named(self, name: str, body: Json) -> dict[str, str]:
        properties = texts(body)
        inner = properties.setdefault("name", name)
        if inner != name:
            raise RequestRefused(
                f"Connector name configuration ({inner}) doesn't match connector name in the URL ({name})", 400
            )
        return properties

    def _check(self, properties: dict[str, str]) -> None:
        self._settled()
        if not properties.get("connector.class"):
            shown = ", ".join(f"{key}={value}" for key, value in masked(properties).items())
            raise RequestRefused(f"Connector config {{{shown}}} contains no connector type", 400)
        try:
            read(properties, self._worker.settings)
        except SettingsError as exc:
            raise RequestRefused(str(exc) + ALSO, 400) from exc

    def _write(self, name: str, properties: dict[str, str], target: Target | None) -> None:
        records = [] if target is None else [target_record(name, target)]
        self._log.write(CONFIGS, [*records, config_record(name, properties)])

    def _ask(self, restart: Restart) -> None:
        self._log.write(CONFIGS, [restart_record(restart)])


def _state(status: TaskStatus) -> dict[str, str]:
    found = {"state": status.state, "worker_id": status.worker_id, "version": VERSION}
    return found | ({"trace": status.trace} if status.trace else {})


def texts(body: Json) -> dict[str, str]:
    """Settings of a body; numbers and truth values as the text that they are in JSON, as Connect takes them.

    Raises RequestRefused."""
    if not isinstance(body, dict):
        raise RequestRefused("the settings of a connector are an object", 400)
    for key, value in body.items():
        if isinstance(value, dict | list) or value is None:
            shown = "" if is_secret(key) else f", was {json.dumps(value)[:200]}"
            raise RequestRefused(f"{key}: a setting is text, a number or a truth value{shown}", 400)
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in body.items()}
