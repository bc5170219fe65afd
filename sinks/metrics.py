"""What the sinks tell Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter("liqcascade_sink_records", "Records landed.", ["sink"])
DEAD_LETTERS = Counter("liqcascade_sink_dead_letters", "Records that went to the dead letters.", ["sink", "stage"])
OUTAGES = Counter("liqcascade_sink_outages", "Times that the sink had to pause.", ["sink"])
MISSING = Counter("liqcascade_sink_missing_records", "Records that retention deleted before they landed.", ["sink"])
RUNNING = Gauge("liqcascade_sink_running", "1: the sink lands records; 0: it waits, or has ended.", ["sink"])
LAG = Gauge("liqcascade_sink_lag_ms", "Broker's append time to landing, of the newest record landed.", ["sink"])
PUT_SECONDS = Histogram(
    "liqcascade_sink_put_seconds",
    "Time of one batch in the store.",
    ["sink"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30),
)
