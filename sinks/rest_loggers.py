"""Loggers as Connect's clients ask for them: which there are, and what they let through.

Paths, shapes, status codes and sentences are those of Apache Kafka Connect 4.1, noted from its own runtime."""

from typing import Any

import msgspec
import structlog

from runtime.log_levels import LEVELS
from schemas.errors import RequestRefused
from schemas.topics import CONFIGS
from sinks.configs_state import LogLevel, level_record
from sinks.worker import Worker

Json = Any

log = structlog.get_logger()


def loggers(worker: Worker) -> Json:
    """All of this worker's."""
    return {name: msgspec.to_builtins(level) for name, level in worker.log_levels.all().items()}


def logger(worker: Worker, name: str) -> Json:
    """One. Raises RequestRefused."""
    found = worker.log_levels.all().get(name)
    if found is None:
        raise RequestRefused(f"Logger {name} not found.", 404)
    return msgspec.to_builtins(found)


def set_level(worker: Worker, name: str, body: Json, scope: str) -> Json:
    """At this worker, and returns which loggers are different now; or at all of the cluster, and returns nothing.

    Raises RequestRefused, BrokerUnavailable."""
    wanted = body.get("level") if isinstance(body, dict) else None
    if wanted is None:
        raise RequestRefused("Desired 'level' parameter was not specified in request.", 400)
    level = str(wanted).upper()
    if level not in LEVELS:
        raise RequestRefused(f"invalid log level '{wanted}'.", 404)
    if scope.lower() == "cluster":
        worker.log.write(CONFIGS, [level_record(LogLevel(name, level))])
        return None
    if scope.lower() != "worker":
        log.warning("there is no such scope; the level is set at this worker", scope=scope)
    return worker.log_levels.set(name, level)
