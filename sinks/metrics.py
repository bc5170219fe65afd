"""What the sinks tell Prometheus: the project's own figures by sink, and those of Kafka Connect under its names.

Source of the names: the JMX beans kafka.connect:type=sink-task-metrics, connector-task-metrics, task-error-metrics and
connect-worker-metrics of Apache Kafka 4.1, as the JMX exporter writes them (kafka_connect_<type>_<attribute>)."""

import time
from collections.abc import Callable
from typing import Final

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

TASK: Final = ("connector", "task")
SINK_TASK: Final = "kafka_connect_sink_task_metrics_"
ERROR: Final = "kafka_connect_task_error_metrics_"
READ = Counter(SINK_TASK + "sink_record_read", "Records read from Kafka.", TASK)
SENT = Counter(SINK_TASK + "sink_record_send", "Records handed to the store.", TASK)
PARTITIONS = Gauge(SINK_TASK + "partition_count", "Partitions of the task.", TASK)
ACTIVE = Gauge(SINK_TASK + "sink_record_active_count", "Records read that have not landed yet.", TASK)
PUT_AVERAGE = Gauge(SINK_TASK + "put_batch_avg_time_ms", "Mean time of a batch in the store.", TASK)
PUT_GREATEST = Gauge(SINK_TASK + "put_batch_max_time_ms", "Longest time of a batch in the store.", TASK)
COMMITTED = Counter(SINK_TASK + "offset_commit_completion", "Times that offsets moved.", TASK)
COMMITS_SKIPPED = Counter(SINK_TASK + "offset_commit_skip", "Times that an outage kept offsets from moving.", TASK)
BATCH_AVERAGE = Gauge("kafka_connect_connector_task_metrics_batch_size_avg", "Mean records of a batch.", TASK)
BATCH_GREATEST = Gauge("kafka_connect_connector_task_metrics_batch_size_max", "Most records of a batch.", TASK)
# Gauges, though they only rise: a counter's name would get _total behind it, and Kafka's do not have it.
ERRORS = Gauge(ERROR + "total_record_errors", "Records that the decoder or the store refused.", TASK)
FAILURES = Gauge(ERROR + "total_record_failures", "Records that failed the task.", TASK)
SKIPPED = Gauge(ERROR + "total_records_skipped", "Refused records that were gone around.", TASK)
RETRIES = Gauge(ERROR + "total_retries", "Tries to reach a store again.", TASK)
LOGGED = Gauge(ERROR + "total_errors_logged", "Refused records that were logged.", TASK)
LETTERS_SENT = Gauge(ERROR + "deadletterqueue_produce_requests", "Dead letters handed to the producer.", TASK)
LETTERS_FAILED = Gauge(ERROR + "deadletterqueue_produce_failures", "Dead letters that the broker did not take.", TASK)
LAST_ERROR = Gauge(ERROR + "last_error_timestamp", "When a record was refused, ms since 1970 UTC.", TASK)
CONNECTORS = Gauge("kafka_connect_connect_worker_metrics_connector_count", "Connectors of this worker.")
TASKS = Gauge("kafka_connect_connect_worker_metrics_task_count", "Tasks of this worker.")

SAMPLE_S: Final = 30.0  # Kafka's own sample: what is shown covers the running one and the one before


class Sample:
    """Mean and greatest of what was seen in the last 30 to 60 s."""

    def __init__(self, average: Gauge, greatest: Gauge, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        """The gauges follow."""
        self._average, self._greatest, self._clock_s = average, greatest, clock_s
        self._count, self._sum, self._max = [0, 0], [0.0, 0.0], [0.0, 0.0]
        self._begun_s = clock_s()

    def add(self, value: float) -> None:
        """One more."""
        for _ in range(min(2, int((self._clock_s() - self._begun_s) / SAMPLE_S))):
            self._count, self._sum, self._max = [0, self._count[0]], [0.0, self._sum[0]], [0.0, self._max[0]]
            self._begun_s = self._clock_s()
        self._count[0] += 1
        self._sum[0] += value
        self._max[0] = max(self._max[0], value)
        self._average.set(sum(self._sum) / sum(self._count))
        self._greatest.set(max(self._max))
