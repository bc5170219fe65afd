"""One idempotent producer for all that the detector writes; its reports arrive on the event loop."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from processors.host import metrics
from runtime.kafka import producer_config
from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable

QUEUE_MAX: Final = 100_000  # records in the client: 30 MB of windows, or 1 s of the fastest fold seen
QUEUE_KBYTES_MAX: Final = 262_144  # 256 MB: 2,000 rows of state at 110 KB
POLL_S: Final = 0.1
CLOSE_S_MAX: Final = 1.0  # what flows wait for is confirmed by then; the loop stands still meanwhile


class Report(NamedTuple):
    """What became of one record. `error` is empty when the broker has it; `append_time_ms` is the broker's."""

    error: str
    offset: int
    append_time_ms: int


OnReport = Callable[[Report], None]


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
        self._reports: deque[tuple[OnReport, Report]] = deque()
        self._sent = 0  # by the loop
        self._answered = 0  # by whoever polls; the client's own length also counts its error events
        self._waked = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="publisher", daemon=True)

    def start(self) -> None:
        """Make the producer and the thread that waits for its reports."""
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(
            producer_config(
                self._settings,
                linger_ms=0,  # an alert waits for nobody; what queues up meanwhile is still sent in batches
                queue_buffering_max_messages=QUEUE_MAX,
                queue_buffering_max_kbytes=QUEUE_KBYTES_MAX,
            )
            | {"error_cb": self._on_error}
        )
        self._thread.start()

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes,
        value: bytes | None,
        on_report: OnReport,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> bool:
        """Hand a record to the producer; False when its queue is full: try again at the next `on_room`."""

        try:
            self._producer.produce(
                topic, value, key, partition, on_delivery=partial(self._delivered, on_report), headers=list(headers)
            )
            self._sent += 1
        except BufferError:
            return False
        except KafkaException as exc:
            failed = Report(exc.args[0].str(), 0, 0)  # a record that is too large, a producer that is broken
            self._loop.call_soon(on_report, failed)
        return True

    def _delivered(self, on_report: OnReport, error: KafkaError | None, message: Message) -> None:
        self._answered += 1
        report = Report(error.str() if error else "", message.offset() or 0, message.timestamp()[1])
        self._reports.append((on_report, report))

    def close(self) -> int:
        """End the thread, send what is queued; returns how many records were not confirmed."""
        self._stopping.set()
        self._thread.join()
        self._producer.flush(CLOSE_S_MAX)
        return self._sent - self._answered

    def _poll(self) -> None:
        while not self._stopping.is_set():
            if self._producer.poll(POLL_S) and self._reports and not self._waked:
                self._waked = True
                self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        self._waked = False  # before reading: a report that comes now wakes again
        confirmed = newest_ms = 0
        while self._reports:
            on_report, report = self._reports.popleft()
            if not report.error:
                confirmed += 1
                newest_ms = report.append_time_ms
            on_report(report)
        if confirmed:
            self.clock.observe(newest_ms)
        metrics.CONFIRMED.inc(confirmed)
        if self._sent - self._answered < QUEUE_MAX // 2:
            self._on_room()

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            fatal = BrokerUnavailable(f"publishing to {self._settings.bootstrap_servers}: {error.str()}; start again")
            self._loop.call_soon_threadsafe(self._on_fatal, fatal)


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
