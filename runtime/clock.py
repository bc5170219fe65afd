"""The wall clock, for shells; pure code takes the time as an argument."""

import time


def wall_clock_ms() -> int:
    """Now, ms since 1970 UTC."""
    return time.time_ns() // 1_000_000
