"""Records that cannot land, kept with the reason under the header names of Kafka Connect.

Source of the names: org.apache.kafka.connect.runtime.errors.DeadLetterQueueReporter of Apache Kafka 4.1. Beside
them stand the record's own headers, its key in `__connect.errors.key`, and the length of a value that had to be cut."""

import traceback
from collections import OrderedDict
from enum import StrEnum
from functools import partial
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaException, Message, Producer

from runtime.kafka import producer_config
from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable, LiqcascadeError
from sinks.connector import Position

HEADER: Final = "__connect.errors."
MESSAGE_CHARACTERS_MAX: Final = 1_000
TRACE_CHARACTERS_MAX: Final = 8_000
# A broker takes 1 MiB a record by default, headers included: 1,000,000 of value, 4 * 9,000 of reason, 10,000 of the
# record's own headers. A longer value is cut, and a header says how long it was.
VALUE_BYTES_MAX: Final = 1_000_000
HEADERS_BYTES_MAX: Final = 10_000
RECORD_BYTES_MAX: Final = 1_048_500
ACKNOWLEDGE_S_MAX: Final = 15.0
REMEMBERED_MAX: Final = 10_000  # places of 150 B: 1.5 MB

Headers = tuple[tuple[str, bytes | None], ...]
Place = tuple[Position, int]  # of a record in its topic


class Stage(StrEnum):
    """What failed, in Connect's words."""

    VALUE_CONVERTER = "VALUE_CONVERTER"
    TASK_PUT = "TASK_PUT"


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One refused record as it lay in its topic, and why. `class_name`: what refused it."""

    position: Position
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    error: LiqcascadeError
    stage: Stage
    class_name: str


class DeadLetters:
    """Sends the refused records of one task. `send` queues, `flush` waits until the broker has them all.

    A record that was acknowledged, or of which nothing is known yet, is not sent again when an outage brings it back;
    after a crash it may be."""

    def __init__(self, settings: KafkaSettings, topic: str, *, connector: str, task: int) -> None:
        """`topic`: full name. The producer connects by itself when the first record is sent."""
        self._producer = Producer(producer_config(settings, message_max_bytes=RECORD_BYTES_MAX))
        self._topic, self._connector, self._task = topic, connector, task
        self._on_their_way: set[Place] = set()
        self._sent: OrderedDict[Place, None] = OrderedDict()
        self._failures: list[str] = []

    def send(self, letter: Letter) -> None:
        """Queue one record. Raises BrokerUnavailable when the queue is full."""
        place = (letter.position, letter.offset)
        if place in self._sent or place in self._on_their_way:
            return
        value = letter.value
        try:
            self._producer.produce(
                self._topic,
                key=letter.position[0].encode(),
                value=value if value is None else value[:VALUE_BYTES_MAX],
                headers=[*_own(letter.headers), *self._reason(letter)],
                on_delivery=partial(self._delivered, place),
            )
        except (BufferError, KafkaException) as exc:
            raise BrokerUnavailable(f"sending a dead letter of {letter.position[0]}: {exc}") from exc
        self._on_their_way.add(place)

    def flush(self) -> None:
        """Wait for the acknowledgements. Raises BrokerUnavailable: send again what was sent since the last one."""
        self._producer.flush(ACKNOWLEDGE_S_MAX)  # what it returns also counts the client's own error events
        failures, self._failures = self._failures, []
        left = len(self._on_their_way)
        if left or failures:
            raise BrokerUnavailable(
                f"sending dead letters to {self._topic}: {left + len(failures)} were not acknowledged "
                f"({failures[0] if failures else 'no answer'}); they are sent again"
            )

    def _reason(self, letter: Letter) -> list[tuple[str, bytes]]:
        error = letter.error
        trace = "".join(traceback.format_exception(error))
        reason = {
            "topic": letter.position[0],
            "partition": str(letter.position[1]),
            "offset": str(letter.offset),
            "connector.name": self._connector,
            "task.id": str(self._task),
            "stage": letter.stage.value,
            "class.name": letter.class_name,
            "exception.class.name": f"{type(error).__module__}.{type(error).__qualname__}",
            "exception.message": str(error)[:MESSAGE_CHARACTERS_MAX],
            "exception.stacktrace": trace[-TRACE_CHARACTERS_MAX:],
        }
        if letter.value is not None and len(letter.value) > VALUE_BYTES_MAX:
            reason["value.bytes"] = str(len(letter.value))
        found = [(HEADER + name, text.encode(errors="backslashreplace")) for name, text in reason.items()]
        return found if letter.key is None else [*found, (HEADER + "key", letter.key[:HEADERS_BYTES_MAX])]

    def _delivered(self, place: Place, error: object, message: Message) -> None:
        self._on_their_way.discard(place)
        if error is not None:
            self._failures.append(str(error))
            return
        self._sent[place] = None
        if len(self._sent) > REMEMBERED_MAX:
            self._sent.popitem(last=False)


def headers_of(message: Message) -> Headers:
    """The headers of a message, in order; () for the many that have none."""
    found: Any = message.headers()
    return tuple(found) if found else ()


def _own(headers: Headers) -> list[tuple[str, bytes | None]]:
    """As many of the record's own headers as there is room for."""
    kept, left = [], HEADERS_BYTES_MAX
    for name, value in headers:
        left -= len(name.encode()) + len(value or b"")
        if left < 0:
            break
        kept.append((name, value))
    return kept
