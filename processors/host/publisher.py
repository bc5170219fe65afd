"""Two idempotent producers for all that the detector writes; their reports arrive on the event loop.

A broker answers the requests of one connection in turn: so alerts and the journal, which holds alerts back, have one
of their own, and do not wait for the windows and states of other partitions."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Producer

from processors.host import metrics
from processors.outputs.output import Message
from runtime.kafka import producer_config
from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable

IN_FLIGHT_MAX: Final = 20_000  # records handed over and not confirmed, when more of them wait: 14 MB of states, 0.2 s
BATCH_MAX: Final = 1_000  # records handed over at once: 1 ms
QUEUE_MAX: Final = 100_000  # records in the client, those that wait for nobody (alerts, journal, state) among them
BULK_LINGER_MS: Final = 10  # each state in a request of its own costs the broker more than all else; a tick is 100 ms
QUEUE_KBYTES_MAX: Final = 262_144  # 256 MB: 2,000 rows of state at 110 KB
URGENT_KBYTES_MAX: Final = 65_536  # 64 MB: 16,000 entries with a week of 4 KB
REPORTS_MAX: Final = 500  # looked at before others may run: 3 ms
POLL_S: Final = 0.1
CLOSE_S_MAX: Final = 1.0  # what flows wait for is confirmed by then; the loop stands still meanwhile


Header = tuple[str, bytes]


class Report(NamedTuple):
    """What became of records that were handed over together.

    `error` is empty when the broker has all of them; `offset` is the last one's, -1 when the broker did not say;
    `append_time_ms` is the broker's."""

    records: int
    error: str
    offset: int
    append_time_ms: int


OnReport = Callable[[Report], None]


class _Batch:
    """Counts what becomes of records that were handed over together; `on_done(batch)` after the last, maybe twice.

    The thread that polls writes what is delivered, the loop what is not: so no report is lost without a lock."""

    __slots__ = (
        "_delivered",
        "_on_done",
        "_refused",
        "append_time_ms",
        "error",
        "is_done",
        "offset",
        "on_report",
        "records",
    )

    def __init__(self, records: int, on_report: OnReport, on_done: Callable[["_Batch"], None]) -> None:
        self.records, self.on_report, self._on_done = records, on_report, on_done
        self._delivered = self._refused = self.append_time_ms = 0
        self.offset = -1
        self.error = ""
        self.is_done = False  # for whoever is told

    def delivered(self, error: KafkaError | None, message: confluent_kafka.Message) -> None:
        """The client's report of one record."""
        self._delivered += 1
        if error is not None:
            self.error = self.error or error.str()
        if self._delivered + self._refused == self.records:
            offset = message.offset()
            self.offset = -1 if offset is None else offset
            self.append_time_ms = message.timestamp()[1]
            self._on_done(self)

    def not_taken(self, left: int, errors: Sequence[str]) -> None:
        """The client has no room for the last ones, or has refused some for ever."""
        self.error = self.error or next(iter(errors), "")
        self._refused += len(errors)
        self.records -= left
        if self._delivered + self._refused == self.records:
            self._on_done(self)


class BrokerClock:
    """The broker's time, from the append times that it reports: never ahead of it, whatever this machine's clock says.

    An append time was true when it was reported or earlier, and the monotonic clock runs on from there."""

    def __init__(self) -> None:
        self._behind_ms: int | None = None

    def observe(self, append_time_ms: int) -> None:
        """An append time that was learned now."""
        self._behind_ms = append_time_ms - _monotonic_ms()

    def now_ms(self) -> int:
        """The broker's time, or a little before it; 0 before any was observed."""
        return 0 if self._behind_ms is None else self._behind_ms + _monotonic_ms()


class Publisher:
    """`start()` on the loop, `send()` from the loop, `close()` at the end.

    Both callbacks run on the loop: `on_room` after reports that leave room in the queue, `on_fatal` when the producer
    can never send again."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        on_room: Callable[[], None],
        on_fatal: Callable[[BrokerUnavailable], None],
    ) -> None:
        self._settings, self._on_room, self._on_fatal = settings, on_room, on_fatal
        self.clock = BrokerClock()
        self._reports: deque[_Batch] = deque()
        self._sent = self._answered = 0  # records; the client's own length also counts its error events
        self._waked = False
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Make the producers and the threads that wait for their reports."""
        self._loop = asyncio.get_running_loop()
        self._urgent = self._new_producer(linger_ms=0, queue_kbytes_max=URGENT_KBYTES_MAX)
        self._bulk = self._new_producer(linger_ms=BULK_LINGER_MS, queue_kbytes_max=QUEUE_KBYTES_MAX)
        for name, producer in (("publisher", self._bulk), ("urgent publisher", self._urgent)):
            thread = threading.Thread(target=self._poll, args=(producer,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes,
        value: bytes | None,
        on_report: OnReport,
        headers: Sequence[Header] = (),
        *,
        urgent: bool = True,
    ) -> bool:
        """Hand a record to its producer, before all that waits for room; False when the client's queue is full."""
        producer = self._urgent if urgent else self._bulk
        batch = _Batch(1, on_report, self._done)
        try:
            producer.produce(topic, value, key, partition, on_delivery=batch.delivered, headers=list(headers))
        except BufferError:
            return False
        except KafkaException as exc:
            batch.not_taken(0, [exc.args[0].str()])  # a record that is too large, a producer that is broken
        self._sent += 1
        return True

    def send_batch(self, topic: str, partition: int, messages: Sequence[Message], on_report: OnReport) -> int:
        """Hand records of one partition to the producer in this order; returns how many of the first it has taken, of
        which there will be one report: the rest when there is room, at the next `on_room`."""
        room = min(IN_FLIGHT_MAX - (self._sent - self._answered), BATCH_MAX)
        if room <= 0:
            return 0
        part = list(messages[:room])
        batch = _Batch(len(part), on_report, self._done)
        left = 0
        try:
            taken = self._bulk.produce_batch(topic, part, partition, on_delivery=batch.delivered)
        except KafkaException as exc:
            batch.not_taken(0, [exc.args[0].str()] * len(part))
        else:
            if taken < len(part):
                errors = [error for message in part if (error := message.pop("_error", None)) is not None]
                left = sum(error.code() == KafkaError._QUEUE_FULL for error in errors)  # all from the first such on
                if left == len(part):
                    return 0
                batch.not_taken(left, [error.str() for error in errors[: len(errors) - left]])
        self._sent += len(part) - left
        return len(part) - left

    def close(self) -> int:
        """End the threads, send what is queued; returns how many records were not confirmed."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        deadline_s = time.monotonic() + CLOSE_S_MAX
        for producer in (self._urgent, self._bulk):
            producer.flush(max(0.0, deadline_s - time.monotonic()))
        while self._reports:
            self._hand_over()
        return self._sent - self._answered

    def _new_producer(self, *, linger_ms: int, queue_kbytes_max: int) -> Producer:
        return Producer(
            producer_config(
                self._settings,
                linger_ms=linger_ms,
                queue_buffering_max_messages=QUEUE_MAX,
                queue_buffering_max_kbytes=queue_kbytes_max,
            )
            | {"error_cb": self._on_error}
        )

    def _poll(self, producer: Producer) -> None:
        while not self._stopping.is_set():
            producer.poll(POLL_S)

    def _done(self, batch: _Batch) -> None:
        self._reports.append(batch)
        self._wake()

    def _wake(self) -> None:
        if not self._waked:
            self._waked = True
            self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        self._waked = False  # before reading: a report that comes now wakes again
        confirmed = newest_ms = 0
        for _ in range(min(len(self._reports), REPORTS_MAX)):
            batch = self._reports.popleft()
            if batch.is_done:
                continue
            batch.is_done = True
            self._answered += batch.records
            if not batch.error:
                confirmed += batch.records
                newest_ms = batch.append_time_ms
            batch.on_report(Report(batch.records, batch.error, batch.offset, batch.append_time_ms))
        if confirmed:
            self.clock.observe(newest_ms)
        metrics.CONFIRMED.inc(confirmed)
        if self._sent - self._answered < IN_FLIGHT_MAX // 2:
            self._on_room()
        if self._reports:
            self._wake()

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            fatal = BrokerUnavailable(f"publishing to {self._settings.bootstrap_servers}: {error.str()}; start again")
            self._loop.call_soon_threadsafe(self._on_fatal, fatal)


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
