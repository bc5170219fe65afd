"""Records that cannot land, kept with the reason under the header names of Kafka Connect.

Source of the names: org.apache.kafka.connect.runtime.errors.DeadLetterQueueReporter of Apache Kafka 4.1."""

from enum import StrEnum
from typing import Final

from confluent_kafka import KafkaException, Message, Producer

from runtime.kafka import producer_config, topic_names
from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable, LiqcascadeError
from schemas.topics import DEAD_LETTERS
from sinks.connector import Position

HEADER: Final = "__connect.errors."
MESSAGE_CHARACTERS_MAX: Final = 1_000
# A broker takes 1 MiB a record by default, headers included: a longer value is cut, and a header says how long it was.
VALUE_BYTES_MAX: Final = 1_000_000
ACKNOWLEDGE_S_MAX: Final = 15.0


class Stage(StrEnum):
    """What failed, in Connect's words."""

    VALUE_CONVERTER = "VALUE_CONVERTER"
    TASK_PUT = "TASK_PUT"


class DeadLetters:
    """Sends refused records of one sink. `send` queues, `flush` waits until the broker has them all."""

    def __init__(self, settings: KafkaSettings, sink: str) -> None:
        """The producer connects by itself when the first record is sent."""
        self._producer = Producer(producer_config(settings))
        self._topic, self._sink = topic_names(settings).of(DEAD_LETTERS), sink
        self._failures: list[str] = []

    def send(self, position: Position, offset: int, value: bytes | None, error: LiqcascadeError, stage: Stage) -> None:
        """Queue one record. Raises BrokerUnavailable when the queue is full."""
        headers = {
            "topic": position[0],
            "partition": str(position[1]),
            "offset": str(offset),
            "connector.name": self._sink,
            "stage": stage.value,
            "exception.class.name": f"{type(error).__module__}.{type(error).__qualname__}",
            "exception.message": str(error)[:MESSAGE_CHARACTERS_MAX],
        }
        if value is not None and len(value) > VALUE_BYTES_MAX:
            headers["value.bytes"] = str(len(value))
            value = value[:VALUE_BYTES_MAX]
        try:
            self._producer.produce(
                self._topic,
                key=position[0].encode(),
                value=value,
                headers=[(HEADER + name, text.encode()) for name, text in headers.items()],
                on_delivery=self._delivered,
            )
        except (BufferError, KafkaException) as exc:
            raise BrokerUnavailable(f"sending a dead letter of {position[0]}: {exc}") from exc

    def flush(self) -> None:
        """Wait for the acknowledgements. Raises BrokerUnavailable; what was not acknowledged is then forgotten."""
        left = self._producer.flush(ACKNOWLEDGE_S_MAX)
        if left:
            self._producer.purge()
            self._producer.flush(ACKNOWLEDGE_S_MAX)
        failures, self._failures = self._failures, []
        if left or failures:
            raise BrokerUnavailable(
                f"sending dead letters to {self._topic}: {left + len(failures)} were not acknowledged "
                f"({failures[0] if failures else 'no answer'}); they are sent again"
            )

    def _delivered(self, error: object, message: Message) -> None:
        if error is not None:
            self._failures.append(str(error))
