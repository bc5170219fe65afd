"""What a demo is asked to do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.errors import SettingsError

FAULTS: Final = {
    "database": "the database is killed with -9 and started again",
    "redis": "Redis is killed with -9 and started again",
    "detector": "the detector is killed with -9 and started again",
    "producer": "the producer is killed with -9 and started again",
    "feed": "the exchanges close all connections",
}


@dataclass(frozen=True)
class Fault:
    """One fault: what, and how many seconds after everything is up."""

    name: str
    at_s: float


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """`seconds` None: until Ctrl-C. `frames`: a folder of captured frames to play instead of the scenario.

    `live`: the real exchanges instead of simulated ones; nothing is known then of what they sent."""

    seconds: float | None
    scenario: str
    seed: int
    frames: Path | None = None
    faults: tuple[Fault, ...] = ()
    data: Path | None = None
    live: bool = False


def parse_fault(text: str) -> Fault:
    """`database@20`. Raises SettingsError."""
    name, _, at = text.partition("@")
    if name not in FAULTS or not at.replace(".", "", 1).isdigit():
        raise SettingsError(f"--fault {text}: say NAME@SECONDS with one of {', '.join(FAULTS)}")
    return Fault(name, float(at))
