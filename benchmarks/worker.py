"""Our worker with everything on: a topic that lies ready, from the assignment to the last output acknowledged."""

import json
import os
import subprocess
import sys
import time
from typing import Any, Final

from benchmarks._workload import RATE_PER_S, Broker, assets, broker, preload
from schemas.errors import StackError

EVENTS: Final = {10: 1_000_000, 300: 300_000}  # by assets: ten seconds and more of work
WORKER_S_MAX: Final = 600.0


def run() -> dict[str, object]:
    """For 10 and 300 assets: events/s of wall time and of the worker's CPU time, and how much it published."""
    result: dict[str, object] = {}
    for count, events in EVENTS.items():
        with broker() as own:
            preload(own.kafka, events, assets(count), end_ms=time.time_ns() // 1_000_000)
            figures = work(own, events)
        print(f"{count} assets: {figures}", file=sys.stderr)
        result |= {f"{name}_{count}": value for name, value in figures.items()}
    return result


def work(own: Broker, events: int) -> dict[str, Any]:
    """Let one worker fold all that lies in the topic. Raises StackError when it does not come to an end."""
    command = [sys.executable, "-m", "benchmarks._worker", str(events)]
    environment = own.environment | {"LIQCASCADE_LOG__LEVEL": "warning", "LIQCASCADE_LOG__FORMAT": "json"}
    try:
        done = subprocess.run(
            command, env={**os.environ, **environment}, stdout=subprocess.PIPE, timeout=WORKER_S_MAX, check=True
        )
    except subprocess.SubprocessError as exc:
        raise StackError(f"running the worker over {events} events: {exc}") from exc
    took = json.loads(done.stdout)
    return {
        "events": events,
        "log_s": events // RATE_PER_S,
        "events_per_s": round(events / took["wall_s"]),
        "events_per_cpu_s": round(events / took["cpu_s"]),
        "outputs": round(took["outputs"]),
        "memory_mb": round(took["memory_bytes"] / 1e6, 1),
        "recovery_s": round(took["recovery_s"], 2),
        "reread": round(took["reread"]),
    }
