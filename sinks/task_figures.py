"""What one task tells Prometheus, under the project's names and under Kafka Connect's."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from runtime.clock import wall_clock_ms
from sinks import metrics
from sinks.connector import Batch
from sinks.dead_letters import Stage


class Figures:
    """The counters and gauges of one task, by connector and number."""

    def __init__(self, connector: str, task: int) -> None:
        """All are there from the start, so that a rate begins at zero."""
        self._sink, labels = connector, (connector, str(task))
        self._labels = labels
        self._counters = {
            counter: counter.labels(*labels)
            for counter in (
                metrics.READ, metrics.SENT, metrics.COMMITTED, metrics.COMMITS_SKIPPED, metrics.ERRORS,
                metrics.FAILURES, metrics.SKIPPED, metrics.RETRIES, metrics.LOGGED, metrics.LETTERS_SENT,
                metrics.LETTERS_FAILED,
            )
        }  # fmt: skip
        self._puts = metrics.Sample(metrics.PUT_AVERAGE.labels(*labels), metrics.PUT_GREATEST.labels(*labels))
        self._batches = metrics.Sample(metrics.BATCH_AVERAGE.labels(*labels), metrics.BATCH_GREATEST.labels(*labels))
        self._records = metrics.RECORDS.labels(connector)
        self._seconds = metrics.PUT_SECONDS.labels(connector)

    def read(self, messages: int) -> None:
        """So many came from Kafka."""
        self._counters[metrics.READ].inc(messages)

    @contextmanager
    def put(self, records: int) -> Iterator[None]:
        """Around the put of a batch."""
        begun_s = time.perf_counter()
        yield
        took_s = time.perf_counter() - begun_s
        self._counters[metrics.SENT].inc(records)
        self._seconds.observe(took_s)
        self._puts.add(took_s * 1_000)
        self._batches.add(records)

    def landed(self, batches: Sequence[Batch], refused: int) -> None:
        """These are in the store for good, but for the refused ones."""
        self._counters[metrics.COMMITTED].inc()
        self._records.inc(sum(len(batch.records) for batch in batches) - refused)
        metrics.ACTIVE.labels(*self._labels).set(0)
        newest = [batch.records[-1].append_time_ms for batch in batches if batch.records]
        if newest:
            metrics.LAG.labels(self._sink).set(wall_clock_ms() - newest[-1])

    def held(self, records: int) -> None:
        """So many are put and have not landed for good."""
        metrics.ACTIVE.labels(*self._labels).set(records)

    def partitions(self, count: int) -> None:
        """So many are this task's."""
        metrics.PARTITIONS.labels(*self._labels).set(count)

    def refused(self, stage: Stage) -> None:
        """One record."""
        self._counters[metrics.ERRORS].inc()
        metrics.LAST_ERROR.labels(*self._labels).set(wall_clock_ms())
        metrics.DEAD_LETTERS.labels(self._sink, stage.value).inc()

    def failed(self) -> None:
        """By a record, the task."""
        self._counters[metrics.FAILURES].inc()

    def logged(self) -> None:
        """One refused record."""
        self._counters[metrics.LOGGED].inc()

    def letters(self, count: int, *, taken: bool) -> None:
        """So many dead letters went to the broker."""
        self._counters[metrics.LETTERS_SENT].inc(count)
        if taken:
            self._counters[metrics.SKIPPED].inc(count)
        else:
            self._counters[metrics.LETTERS_FAILED].inc(count)

    def outage(self) -> None:
        """One began."""
        metrics.OUTAGES.labels(self._sink).inc()
        self._counters[metrics.COMMITS_SKIPPED].inc()

    def retried(self) -> None:
        """The store is going to be tried again."""
        self._counters[metrics.RETRIES].inc()

    def running(self, is_running: bool) -> None:
        """Whether records land."""
        metrics.RUNNING.labels(self._sink).set(is_running)

    def end(self) -> None:
        """Gauges of a task that has ended say nothing more."""
        for gauge in (metrics.PARTITIONS, metrics.ACTIVE):
            gauge.labels(*self._labels).set(0)
