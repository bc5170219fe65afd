"""Waiting for a condition with a deadline."""

import time
from collections.abc import Callable

DEADLINE_S = 30.0
POLL_S = 0.02


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Return once the condition holds; fail when it has not within 30 s."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:.0f} s: {what}"
        time.sleep(POLL_S)
