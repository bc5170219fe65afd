"""Paths of Kafka Connect's REST interface, and what each does."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from multidict import MultiMapping

from runtime.kafka import ADMIN_TIMEOUT_S, confluent_config
from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable, RequestRefused
from sinks import rest_loggers, rest_offsets, rest_plugins
from sinks.configs import ConnectorConfig
from sinks.configs_state import Target
from sinks.rest_api import ConnectorsApi, texts
from sinks.rest_version import VERSION
from sinks.worker import Worker

Json = Any
NOT_STOPPED: Final = (
    "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the specified "
    "connector by issuing a 'PUT' request to the '/connectors/{name}/stop' endpoint"
)


class Answer(msgspec.Struct, frozen=True):
    """Status of HTTP, JSON (None: no body), path of what was created."""

    status: int
    body: Json = None
    location: str = ""


class Request(msgspec.Struct, frozen=True):
    """Names in the path, the query, and the JSON of the body (None: there was none)."""

    path: Mapping[str, str]
    query: MultiMapping[str]
    body: Json

    @property
    def name(self) -> str:
        """Of the connector."""
        return self.path["name"]

    @property
    def task(self) -> int:
        """Raises RequestRefused for what is no number."""
        if not self.path["task"].isdecimal():
            raise RequestRefused("HTTP 404 Not Found", 404)
        return int(self.path["task"])

    def is_set(self, name: str) -> bool:
        """Whether a query says true."""
        return self.query.get(name, "false").lower() == "true"


Call = Callable[[Request], Json]  # or an Answer, where not always the same status is meant


class Routes:
    """What each path does with one worker."""

    def __init__(self, worker: Worker) -> None:
        """Nothing is asked yet."""
        self._worker, self._api = worker, ConnectorsApi(worker)
        self._cluster_id = ""

    def table(self) -> list[tuple[str, str, int, Call]]:
        """Method, path, status of HTTP, function."""
        one, offsets = "/connectors/{name}", "/connectors/{name}/offsets"
        return [
            ("GET", "/", 200, self.root),
            ("GET", "/health", 200, self.health),
            *self._plugin_table(),
            *self._logger_table(),
            ("GET", "/connectors", 200, lambda r: self._api.all(r.query.getall("expand", []))),
            ("POST", "/connectors", 200, self.create),
            ("GET", one, 200, lambda r: self._api.info(r.name)),
            ("DELETE", one, 204, lambda r: self._api.delete(r.name)),
            ("GET", f"{one}/config", 200, lambda r: self._api.config(r.name)),
            ("PUT", f"{one}/config", 200, self.put),
            ("PATCH", f"{one}/config", 200, lambda r: self._api.patch(r.name, r.body)),
            ("GET", f"{one}/status", 200, lambda r: self._api.status(r.name)),
            ("PUT", f"{one}/pause", 202, lambda r: self._api.set_target(r.name, Target.PAUSED)),
            ("PUT", f"{one}/resume", 202, lambda r: self._api.set_target(r.name, Target.STARTED)),
            ("PUT", f"{one}/stop", 204, lambda r: self._api.set_target(r.name, Target.STOPPED)),
            ("POST", f"{one}/restart", 200, self.restart),
            ("GET", f"{one}/tasks", 200, lambda r: self._api.tasks(r.name)),
            ("GET", f"{one}/tasks/{{task}}/status", 200, lambda r: self._api.task_status(r.name, r.task)),
            ("POST", f"{one}/tasks/{{task}}/restart", 204, lambda r: self._api.restart_task(r.name, r.task)),
            ("GET", f"{one}/topics", 200, lambda r: self._api.topics(r.name)),
            ("PUT", f"{one}/topics/reset", 202, lambda r: self._api.reset_topics(r.name)),
            ("GET", offsets, 200, lambda r: rest_offsets.show(self._config(r.name))),
            ("PATCH", offsets, 200, lambda r: rest_offsets.alter(self._stopped(r.name), r.body)),
            ("DELETE", offsets, 200, lambda r: rest_offsets.reset(self._stopped(r.name))),
        ]

    def _plugin_table(self) -> list[tuple[str, str, int, Call]]:
        one, settings = "/connector-plugins/{kind}/config", self._worker.settings
        return [
            ("GET", "/connector-plugins", 200, lambda r: rest_plugins.plugins()),
            ("GET", one, 200, lambda r: rest_plugins.plugin_keys(r.path["kind"], settings)),
            ("PUT", f"{one}/validate", 200, lambda r: rest_plugins.validate(r.path["kind"], texts(r.body), settings)),
        ]

    def _logger_table(self) -> list[tuple[str, str, int, Call]]:
        one, worker = "/admin/loggers/{logger}", self._worker
        return [
            ("GET", "/admin/loggers", 200, lambda r: rest_loggers.loggers(worker)),
            ("GET", one, 200, lambda r: rest_loggers.logger(worker, r.path["logger"])),
            ("PUT", one, 200, self.set_level),
        ]

    def set_level(self, request: Request) -> Answer:
        """Of a logger; `scope` worker or cluster."""
        scope = request.query.get("scope", "worker")
        changed = rest_loggers.set_level(self._worker, request.path["logger"], request.body, scope)
        return Answer(204) if changed is None else Answer(200, changed)

    def root(self, request: Request) -> Answer:
        """Which worker this is."""
        self._cluster_id = self._cluster_id or _cluster_id(self._worker.settings.kafka)
        return Answer(200, {"version": VERSION, "commit": "unknown", "kafka_cluster_id": self._cluster_id})

    def health(self, request: Request) -> Answer:
        """Whether it can serve calls. How connectors are is another question: their status says it."""
        if self._worker.caught_up:
            message = "Worker has completed startup and is ready to handle requests."
            return Answer(200, {"status": "healthy", "message": message})
        return Answer(503, {"status": "starting", "message": "Worker is still starting up."})

    def create(self, request: Request) -> Answer:
        """A new connector."""
        made = self._api.create(request.body)
        return Answer(201, made, f"/connectors/{made['name']}")

    def put(self, request: Request) -> Answer:
        """A connector's settings."""
        is_new, info = self._api.put(request.name, request.body)
        return Answer(201, info, f"/connectors/{request.name}") if is_new else Answer(200, info)

    def restart(self, request: Request) -> Answer:
        """Without a query of its tasks or failed ones alone, nothing is told back, as Connect did from the start."""
        include, only = request.is_set("includeTasks"), request.is_set("onlyFailed")
        status = self._api.restart(request.name, include_tasks=include, only_failed=only)
        return Answer(202, status) if include or only else Answer(204)

    def _config(self, name: str) -> ConnectorConfig:
        self._api.config(name)
        config = self._worker.config(name)
        if config is None:
            raise RequestRefused(self._worker.invalid[name], 400)
        return config

    def _stopped(self, name: str) -> ConnectorConfig:
        config = self._config(name)
        if self._worker.log.state.target(name) is not Target.STOPPED:
            raise RequestRefused(NOT_STOPPED.format(name=name), 400)
        return config


def _cluster_id(settings: KafkaSettings) -> str:
    try:
        return str(AdminClient(confluent_config(settings)).list_topics(timeout=ADMIN_TIMEOUT_S).cluster_id)
    except KafkaException as exc:
        raise BrokerUnavailable(f"asking {settings.bootstrap_servers} which cluster it is: {exc}") from exc
