"""Waiting for a condition with a deadline."""

import time
from collections.abc import Callable

DEADLINE_S = 30.0
POLL_S = 0.02


def eventually(condition: Callable[[], bool], what: str, *, deadline_s: float = DEADLINE_S) -> None:
    """Return once the condition holds; fail when it has not within the deadline."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {deadline_s:.0f} s: {what}"
        time.sleep(POLL_S)
