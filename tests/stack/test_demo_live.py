"""The demo on real exchanges says which it cannot reach, once a change, and refuses what only simulated ones can do."""

import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from stack.demo.house import House
from stack.demo.run import REACH_EVERY_S, Reach
from stack.demo.view import View


class Told:
    """A house and a view in one: what the producers say, and what the person is told."""

    def __init__(self) -> None:
        self.logs = Path("logs")
        self.missing: dict[str, str] = {}
        self.said: list[str] = []

    def out_of_reach(self) -> dict[str, str]:
        return self.missing

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def test_what_cannot_be_reached_is_said_at_every_change() -> None:
    told = Told()
    reach = Reach(cast(House, told), cast(View, told))
    told.missing = {"okx": "Name or service not known", "gate": ""}
    reach.look(0.0)
    assert told.said == []
    for at in range(1, 4):
        reach.look(at * REACH_EVERY_S)
    assert told.said == [
        "cannot reach okx (Name or service not known), gate (no answer yet); trying on. Check the network; "
        "details are in logs/produce.log"
    ]
    told.missing = {}
    reach.look(5 * REACH_EVERY_S)
    assert told.said[1:] == ["all exchanges are connected"]


@pytest.mark.parametrize("other", [("--frames", "."), ("--fault", "feed@3")], ids=" ".join)
def test_live_excludes_what_is_simulated(other: tuple[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stack.cli", "demo", "--live", *other], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--live" in done.stderr
