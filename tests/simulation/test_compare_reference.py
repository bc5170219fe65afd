"""The long comparison, shortly; `make compare-reference` tries a million."""

import json

import pytest

from processors.settings import DetectorSettings
from tests.simulation import compare_reference


def test_forty_assets_in_runs_give_what_the_reference_gives(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare_reference.main(["--count", "1500", "--seed", "3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["events"], told["different"]) == (1_500, 0)
    assert told["duplicates"] > 20
    assert told["outputs"] > 2_000


def test_difference_ends_it_and_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_reference, "DetectorSettings", lambda: DetectorSettings(state_interval_ms=150))
    assert compare_reference.main(["--count", "1500", "--seed", "3"]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["different"] == 1
    assert told.err.startswith("after ")
