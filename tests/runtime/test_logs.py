import json
import logging

import pytest
import structlog

from runtime.logs import configure
from runtime.settings import LogSettings


def test_lines_are_json_and_text_from_outside_cannot_forge_one(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(format="json"), stage="produce")
    structlog.get_logger().warning("frame refused", frame='x"}\n{"event": "forged"', symbol="牛来USDT")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    record = json.loads(lines[0])
    assert record["stage"] == "produce"
    assert record["symbol"] == "牛来USDT"
    assert record["level"] == "warning"


def test_libraries_speak_through_the_same_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(format="json", level="info"), stage="sink")
    logging.getLogger("some.library").warning("disk %s", "full")
    logging.getLogger("some.library").info("chatter")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["disk full"]


def test_console_lines_hold_no_raw_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(format="console"), stage="produce")
    structlog.get_logger().warning("frame refused", frame="a\x1b[31m\nb")
    err = capsys.readouterr().err
    assert "\x1b[31m" not in err
    assert len(err.splitlines()) == 1
