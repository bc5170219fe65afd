"""What one `produce` process takes in calm times: six exchanges with 300 symbols each, all three kinds of data."""

import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks._children import line_of, speaking
from benchmarks._listed import SYMBOLS
from benchmarks._produce import producing
from runtime.settings import KafkaSettings
from stack.embedded import EmbeddedStack

WARM_UP_S: Final = 30.0  # histories of funding are read and what is compiled at first use is
MEASURED_S: Final = 90.0


def run() -> dict[str, object]:
    """{"cpu_share_pct" of one core, "rss_mb", "rss_mb_peak", "frames_per_s", "rest_calls_per_s", "events_per_s" of all
    kinds, "symbols", "seconds"}."""
    with tempfile.TemporaryDirectory(prefix="liqcascade-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        stack = EmbeddedStack(folder)
        try:
            kafka = KafkaSettings(bootstrap_servers=stack.kafka.start())
            with speaking("benchmarks._listed") as simulator:
                origins = line_of(simulator)["origins"]
                with producing(kafka, origins, folder) as produce:
                    time.sleep(WARM_UP_S)
                    before, cpu_before = produce.metrics(), produce.cpu_s()[0]
                    start = time.monotonic()
                    time.sleep(MEASURED_S)
                    cpu_s, seconds = produce.cpu_s()[0] - cpu_before, time.monotonic() - start
                    after, rss_mb, rss_mb_peak = produce.metrics(), produce.rss_mb(), produce.rss_mb_peak()
        finally:
            stack.stop()

    def per_s(name: str) -> float:
        return round((after[name] - before[name]) / seconds, 1)

    return {
        "cpu_share_pct": round(100 * cpu_s / seconds, 2),
        "rss_mb": round(rss_mb, 1),
        "rss_mb_peak": round(rss_mb_peak, 1),
        "frames_per_s": per_s("liqcascade_frames_total"),
        "rest_calls_per_s": per_s("liqcascade_rest_calls_total"),
        "events_per_s": per_s("liqcascade_events_published_total"),
        "symbols": SYMBOLS * len(origins),
        "seconds": round(seconds, 1),
    }
