"""How a simulated exchange misbehaves on command. Pure: time is an argument.

Each fault is for one exchange and some seconds. What it does to a frame is done to its text, so the account, which is
made from what was meant, stays a witness."""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

from schemas.errors import SettingsError

FAULTS: Final = {
    "drop": "connections break without a word",
    "close": "connections are closed cleanly",
    "cut-24h": "connections are closed as those are that are a day old",
    "stall": "connections stay open, heartbeats are answered, no data come",
    "ban": "connections are closed and refused, REST answers 429, 418 or 403 with the exchange's header",
    "duplicate": "each frame comes twice",
    "reorder": "frames come some at a time, the newest first",
    "half-frame": "a frame of liquidations ends in the middle",
    "fragment": "a frame of liquidations comes in two websocket fragments",
    "unknown-field": "objects have a field that nobody knows",
    "changed-side": "the words of the side are new ones",
    "swapped-sides": "the words of the side, or its signs, have changed places",
    "backlog": "connections are closed; who subscribes again gets old rows first, known and unknown ones",
    "clock-skew": "the exchange's clock is wrong",
}
CLOSING: Final = {"drop": "", "close": "closed", "cut-24h": "a connection lives 24 h", "ban": "banned",
                  "backlog": "maintenance"}  # fmt: skip
DAMAGING: Final = frozenset({"half-frame", "changed-side"})  # the rows of such a frame cannot be understood
SWAPPING: Final = "swapped-sides"  # the rows of such a frame are understood, and are not true
SECONDS_MAX: Final = 3_600.0
OFFSET_S_MAX: Final = 3_600.0
OFFSET_S: Final = 20.0  # of a clock that is wrong, unless told otherwise
NEW_FIELD: Final = '"novelty":1,'


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at which exchange, in ms since the epoch by the simulator's clock."""

    exchange: str
    kind: str
    from_ms: int
    to_ms: int
    offset_s: float = 0.0

    def fields(self) -> dict[str, Any]:
        """For the status."""
        return {"exchange": self.exchange, "kind": self.kind, "from_ms": self.from_ms, "to_ms": self.to_ms}


def fault(exchange: str, kind: str, *, now_ms: int, seconds: float, offset_s: float = OFFSET_S) -> Fault:
    """From now on for so long. Raises SettingsError when there is no such fault or a figure is out of range."""
    if kind not in FAULTS:
        raise SettingsError(f"fault: {kind!r} is unknown; choose one of {', '.join(FAULTS)}")
    if not 0 < seconds <= SECONDS_MAX or not abs(offset_s) <= OFFSET_S_MAX:
        raise SettingsError(f"fault: seconds must be in 0 … {SECONDS_MAX:g}, offset_s within ± {OFFSET_S_MAX:g}")
    skew_s = offset_s if kind == "clock-skew" else 0.0
    return Fault(exchange, kind, now_ms, now_ms + int(seconds * 1000), skew_s)


class FaultLog:
    """Every fault that there was. `active` is what an exchange suffers now."""

    def __init__(self) -> None:
        self.all: list[Fault] = []
        self._under: dict[str, list[Fault]] = {}

    def add(self, fault: Fault) -> None:
        """It begins."""
        self.all.append(fault)
        self._under.setdefault(fault.exchange, []).append(fault)

    def end(self) -> None:
        """Every fault is over."""
        self._under.clear()

    def active(self, exchange: str, now_ms: int) -> frozenset[str]:
        """Kinds of fault of that exchange at that moment."""
        under = self._under.get(exchange)
        if not under:
            return frozenset()
        under[:] = [each for each in under if now_ms < each.to_ms]
        return frozenset(each.kind for each in under)

    def left_ms(self, exchange: str, kind: str, now_ms: int) -> int:
        """How long it still lasts; 0: it does not."""
        return max((each.to_ms - now_ms for each in self._under.get(exchange, ()) if each.kind == kind), default=0)

    def skew_ms(self, exchange: str, now_ms: int) -> int:
        """How much that exchange's clock is ahead."""
        return int(1000 * sum(e.offset_s for e in self._under.get(exchange, ()) if now_ms < e.to_ms))


def spoil(text: str, kinds: Set[str], side_words: Mapping[str, str]) -> str:
    """A frame's text as the faults leave it. side_words: pattern -> its replacement."""
    if "unknown-field" in kinds:
        text = text.replace('{"', "{" + NEW_FIELD + '"')
    if "changed-side" in kinds:
        for pattern, new in side_words.items():
            text = re.sub(pattern, new, text)
    return text[: len(text) // 2] if "half-frame" in kinds else text
