"""Whether the broker has the records that were handed to a client."""

import threading
import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from schemas.errors import BrokerUnavailable

FLUSH_S: Final = 1.0  # at a time; the answers of one caller may come while another waits for its own


class Receipts:
    """Counts the answers to one caller's records: pass `answer` as on_delivery, call `sent` for each, then `wait`.

    What `Producer.flush` returns, and its length, also count the client's own error events: with them a broker that was
    gone for a moment looks like records that are lost, and who sends those again doubles them."""

    def __init__(self, on_written: Callable[[Message], None] | None = None) -> None:
        """`on_written`: called with each record that the broker has, at the offset that it got."""
        self._on_written = on_written
        self._lock = threading.Lock()  # answers arrive in whichever threads wait for the same producer
        self._sent = self._answered = self._failed = 0
        self.failure = ""  # the first one

    def sent(self) -> None:
        """One more record was handed to the client."""
        with self._lock:
            self._sent += 1

    def answer(self, error: KafkaError | None, message: Message) -> None:
        """The client's report on one of them."""
        if error is None and self._on_written is not None:
            self._on_written(message)
        with self._lock:
            self._answered += 1
            if error is not None:
                self._failed += 1
                self.failure = self.failure or f"{message.topic()}: {error.str()}"

    @property
    def missing(self) -> int:
        """Records that the broker does not have, as far as is known."""
        with self._lock:
            return self._sent - self._answered + self._failed

    def wait(self, producer: Producer, seconds_max: float, *, doing: str) -> None:
        """Wait until each is answered. Raises BrokerUnavailable, which begins with `doing`, unless all are written."""
        deadline_s = time.monotonic() + seconds_max
        while self._sent > self._answered and (left_s := deadline_s - time.monotonic()) > 0:
            producer.flush(min(FLUSH_S, left_s))
        missing = self.missing
        if missing:
            why = self.failure or f"no answer within {seconds_max:.0f} s"
            raise BrokerUnavailable(f"{doing}: {missing} of {self._sent} records were not acknowledged ({why})")
