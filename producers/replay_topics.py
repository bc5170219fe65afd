"""Replayed events -> topics of their own."""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from confluent_kafka import Producer

from producers.decode import Event
from runtime.kafka import create_topics, producer_config, topic_names
from runtime.receipts import Receipts
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import BrokerUnavailable
from schemas.records import Funding, Liquidation, OpenInterest, Record
from schemas.topics import FUNDING, LIQUIDATIONS, OPEN_INTEREST, Topic

TOPIC_OF: Final[dict[type[Record], Topic]] = {
    Liquidation: LIQUIDATIONS,
    OpenInterest: OPEN_INTEREST,
    Funding: FUNDING,
}
FLUSH_S: Final = 60.0
QUEUE_WAIT_S: Final = 0.05


class TopicWriter:
    """Publishes events to topics under a prefix, each with the time at which it was received; a context manager.

    Raises BrokerUnavailable when a record cannot be delivered, at the latest at the end."""

    def __init__(self, settings: KafkaSettings, prefix: str) -> None:
        settings = settings.model_copy(update={"topic_prefix": prefix})
        create_topics(settings, TOPIC_OF.values())
        self._servers, self._names, self._codec = (
            settings.bootstrap_servers,
            topic_names(settings),
            Codec(settings.schema_registry_url),
        )
        self._producer = Producer(producer_config(settings))
        self._receipts = Receipts()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._receipts.wait(self._producer, FLUSH_S, doing=f"publishing to {self._servers}")
        else:
            self._producer.flush(FLUSH_S)

    def write(self, events: Sequence[Event]) -> None:
        """Queue events; waits while the queue is full."""
        answer = self._receipts.answer
        for event in events:
            topic = TOPIC_OF[type(event)]
            value, time_ms = self._codec.encode(topic, event), event.received_time_us // 1_000 or event.event_time_ms
            while True:
                try:
                    self._producer.produce(
                        self._names.of(topic), value, event.asset.encode(), timestamp=time_ms, on_delivery=answer
                    )
                    self._receipts.sent()
                    break
                except BufferError:
                    self._producer.poll(QUEUE_WAIT_S)
            self._producer.poll(0)
        if self._receipts.failure:
            raise BrokerUnavailable(f"publishing to {self._servers}: {self._receipts.failure}")
