"""Levels of loggers while a process runs."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from runtime.clock import wall_clock_ms
from runtime.log_levels import LEVELS, OWN, LogLevels
from runtime.logs import configure
from runtime.settings import LogSettings


@pytest.fixture(autouse=True)
def before() -> Iterator[None]:
    """Loggers are a process' own: what is changed here is put back."""
    libraries = {
        name: logger.level
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
    }
    yield
    for name, level in libraries.items():
        logging.getLogger(name).setLevel(level)


def begun() -> LogLevels:
    configure(LogSettings(format="json", level="warning"), stage="sink")
    return LogLevels()


def test_our_own_records_are_let_through_and_held_back(capsys: pytest.CaptureFixture[str]) -> None:
    levels, log = begun(), structlog.get_logger()
    log.debug("before")
    assert levels.set(OWN, "DEBUG") == [OWN]
    log.debug("between")
    assert levels.set(OWN, "OFF") == [OWN]
    log.error("after")
    err = capsys.readouterr().err
    assert "between" in err
    assert "before" not in err
    assert "after" not in err


def test_a_namespace_holds_what_is_below_it_and_nothing_beside(capsys: pytest.CaptureFixture[str]) -> None:
    levels, begun_ms = begun(), wall_clock_ms()
    for name in ("some", "some.part", "somewhere"):
        logging.getLogger(f"levels.{name}")
    assert levels.set("levels.some", "INFO") == ["levels.some", "levels.some.part"]
    assert levels.set("levels.some", "INFO") == []
    logging.getLogger("levels.some.part").info("heard")
    logging.getLogger("levels.somewhere").info("unheard")
    err = capsys.readouterr().err
    assert "heard" in err
    assert "unheard" not in err
    found = levels.all()
    assert found["levels.some.part"].level == "INFO"
    assert (found["levels.some"].last_modified or 0) >= begun_ms
    assert (found["levels.somewhere"].level, found["levels.somewhere"].last_modified) == ("WARN", None)
    assert levels.set("levels.new", "ERROR") == ["levels.new"]


@pytest.mark.parametrize("level", LEVELS)
def test_root_means_all(level: str) -> None:
    levels = begun()
    logging.getLogger("levels.part").setLevel(logging.INFO)
    levels.set("Root", level)
    found = levels.all()
    assert {one.level for name, one in found.items() if name != OWN} == ({level} - {"OFF"})
    assert logging.getLogger("levels.part").level == LEVELS[level]
