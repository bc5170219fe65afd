"""How long partitions stand still when their worker is gone at the height of a cascade: 300 assets, 1,000 liquidations
a second for the ten minutes whose ids the next owner must know."""

import sys
import time
from typing import Final

from benchmarks._workload import RATE_PER_S, assets, broker, preload
from benchmarks.worker import work
from processors.windows.seen import SPAN_MS

ASSETS: Final = 300
EVENTS: Final = RATE_PER_S * SPAN_MS // 1_000
TURNS: Final = 3


def run() -> dict[str, object]:
    """Seconds from the assignment until all partitions fold again, of a new log and of each owner after the first."""
    with broker() as own:
        preload(own.kafka, EVENTS, assets(ASSETS), end_ms=time.time_ns() // 1_000_000)
        first = work(own, EVENTS)
        print(f"{ASSETS} assets: {first}", file=sys.stderr)
        later = [work(own, 0)["recovery_s"] for _ in range(TURNS)]
    return {"events": EVENTS, "first_s": first["recovery_s"], "takeover_s": later}
