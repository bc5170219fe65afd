"""`python -m benchmarks._worker EVENTS`: the worker as `liqcascade process` runs it, watched from a thread.

When EVENTS liquidations are folded and all that came of them is acknowledged, one line of JSON and an orderly end.
What it knows it knows from the worker's own Prometheus metrics."""

import json
import os
import resource
import signal
import sys
import threading
import time
from typing import Final

from prometheus_client import REGISTRY

import processors.app
from processors.settings import ProcessorSettings
from runtime.settings import load

LOOK_S: Final = 0.02
SENT: Final = (
    "liqcascade_detector_outputs_total",
    "liqcascade_detector_journal_entries_total",
    "liqcascade_detector_snapshot_rows_total",
)


def main(arguments: list[str]) -> None:
    """Run until done."""
    settings = load(ProcessorSettings)
    watcher = threading.Thread(target=watch, args=(int(arguments[0]),), daemon=True)
    watcher.start()
    processors.app.run(settings)


def watch(events: int) -> None:
    """Print {"wall_s", "cpu_s", "outputs", …} from the first assignment to the last acknowledgement, then end."""
    while not (recoveries := _sum("liqcascade_detector_recovery_seconds_count")):
        time.sleep(LOOK_S)
    recovery_s = _sum("liqcascade_detector_recovery_seconds_sum") / recoveries
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    while _sum("liqcascade_detector_events_total") < events or sum(map(_sum, SENT)) > _sum(
        "liqcascade_detector_confirmed_total"
    ):
        time.sleep(LOOK_S)
    result = {
        "wall_s": recovery_s + time.perf_counter() - started_s,
        "cpu_s": time.process_time() - started_cpu_s,
        "recovery_s": recovery_s,
        "outputs": _sum("liqcascade_detector_outputs_total"),
        "runs": _sum("liqcascade_detector_runs_total"),
        "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024,
        "reread": _sum("liqcascade_detector_reread_total"),
    }
    print(json.dumps(result), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


def _sum(name: str) -> float:
    """A figure of the worker, over its labels."""
    samples = [sample for metric in REGISTRY.restricted_registry([name]).collect() for sample in metric.samples]
    return sum(sample.value for sample in samples if sample.name == name)


if __name__ == "__main__":
    main(sys.argv[1:])
