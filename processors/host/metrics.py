"""What the host counts for Prometheus."""

from functools import cache
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

EVENTS: Final = Counter("liqcascade_detector_events", "Liquidations folded")
RUNS: Final = Counter("liqcascade_detector_runs", "Runs of consecutive liquidations folded")
OUTPUTS: Final = Counter("liqcascade_detector_outputs", "Records published", ["topic"])
SUPPRESSED: Final = Counter("liqcascade_detector_suppressed", "Outputs that a former owner had published already")
MARKET_OUTPUTS: Final = Counter("liqcascade_market_outputs", "Records published by the market stage", ["topic"])
CONFIRMED: Final = Counter("liqcascade_detector_confirmed", "Records of every kind that the broker has acknowledged")
JOURNALED: Final = Counter("liqcascade_detector_journal_entries", "Journal entries written", ["kind"])
REFUSED: Final = Counter("liqcascade_detector_dead_letters", "Liquidations that could not be decoded")
CONTEXT_REFUSED: Final = Counter("liqcascade_detector_context_refused", "Records of context that could not be decoded")
REREAD: Final = Counter("liqcascade_detector_reread", "Stretches of the log that were read again by the host itself")
GAPS: Final = Counter("liqcascade_detector_gaps", "Stretches of the log in which there was nothing to read")
FAILED: Final = Counter("liqcascade_detector_flow_failures", "Partitions that were started again from their snapshot")
STALLED: Final = Counter("liqcascade_detector_stalls", "Times that records lay ready and did not come")
HANGS: Final = Counter("liqcascade_detector_hangs", "Partitions that were started again after lag without progress")
LAG: Final = Gauge("liqcascade_detector_lag", "Liquidations not folded yet", ["partition"])
DUPLICATES: Final = Gauge(
    "liqcascade_detector_duplicates",
    "Liquidations that came again within ten minutes, since the takeover",
    ["partition"],
)
FORGOTTEN: Final = Gauge(
    "liqcascade_detector_ids_forgotten", "Ids forgotten within ten minutes for want of room", ["partition"]
)
SHORT_WEEKS: Final = Gauge(
    "liqcascade_detector_short_weeks",
    "Assets whose baselines are of less than their week, because neither state nor journal told it",
    ["partition"],
)
SNAPSHOT_ROWS: Final = Counter("liqcascade_detector_snapshot_rows", "Rows of state written")
SNAPSHOT_BYTES: Final = Counter("liqcascade_detector_snapshot_bytes", "Bytes of state written")
RECOVERY_S: Final = Histogram(
    "liqcascade_detector_recovery_seconds",
    "From assignment until the state is restored and the journal replayed",
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100),
)


@cache
def outputs(topic: str) -> Counter:
    """Records published to a topic; to find a label costs more than to count."""
    return OUTPUTS.labels(topic)
