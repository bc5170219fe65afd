"""Levels of the loggers of this process, while it runs: the project's own and those of libraries.

Names of levels are log4j's, as Kafka Connect's clients know them."""

import logging
import threading
from typing import Final

import msgspec
import structlog

from runtime.clock import wall_clock_ms

ROOT: Final = "root"  # all of them, and libraries that have none of their own
OWN: Final = "liqcascade"
LEVELS: Final = {
    "ALL": logging.NOTSET + 1,
    "TRACE": logging.DEBUG - 5,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
    "OFF": logging.CRITICAL + 10,
}


class LoggerLevel(msgspec.Struct, frozen=True):
    """What a logger lets through; `last_modified` None: it is as it was at the start."""

    level: str
    last_modified: int | None = None


class LogLevels:
    """The levels of this process; one a process, from any thread."""

    def __init__(self) -> None:
        """Changes nothing."""
        self._modified_ms: dict[str, int] = {}
        self._lock = threading.Lock()

    def all(self) -> dict[str, LoggerLevel]:
        """By name; without those that are off."""
        return {name: LoggerLevel(level, self._modified_ms.get(name)) for name, level in _levels().items()}

    def set(self, namespace: str, level: str) -> list[str]:
        """Of a logger and all below it; returns those that are different now. `level`: one of LEVELS."""
        with self._lock:
            number = LEVELS[level]
            is_root = namespace.lower() in ("", ROOT)
            if not is_root and namespace != OWN:
                logging.getLogger(namespace)  # from now on there is one
            before = _levels()
            if is_root or namespace == OWN:
                # Our own records know five levels: what is below is DEBUG, and none of them is above CRITICAL.
                own = min(max(number, logging.DEBUG), logging.CRITICAL)
                structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(own))
            if is_root:
                logging.getLogger().setLevel(number)
            for name, logger in _libraries().items():
                if is_root or name == namespace or name.startswith(f"{namespace}."):
                    logger.setLevel(number)
            after = _levels() | dict.fromkeys(before.keys() - _levels().keys(), "OFF")
            changed = sorted(name for name, found in after.items() if before.get(name) != found)
            self._modified_ms |= dict.fromkeys(changed, wall_clock_ms())
            return changed


def _libraries() -> dict[str, logging.Logger]:
    known = dict(logging.root.manager.loggerDict)
    return {name: logger for name, logger in known.items() if isinstance(logger, logging.Logger)}


def _levels() -> dict[str, str]:
    own = structlog.get_logger().bind().get_effective_level()
    numbers = {ROOT: logging.root.level, OWN: own}
    numbers |= {name: logger.getEffectiveLevel() for name, logger in _libraries().items()}
    return {name: _name(number) for name, number in sorted(numbers.items()) if _name(number) != "OFF"}


def _name(number: int) -> str:
    """The lowest level that is let through."""
    return next((name for name, least in LEVELS.items() if number <= least), "OFF")
