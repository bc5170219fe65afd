"""Records -> Kafka: idempotent, acks=all; a full queue makes the feeds wait, nothing is dropped, all is counted."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producers import metrics
from producers.presence import Presence
from runtime.kafka import producer_config, topic_names
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import BrokerUnavailable, FrameRefused
from schemas.records import FeedHealth, Funding, Liquidation, OpenInterest
from schemas.topics import DEAD_LETTERS, FEED_HEALTH, FUNDING, LIQUIDATIONS, OPEN_INTEREST, RAW_FRAMES, Topic

LINGER_MS: Final = 1  # latency before batching; a cascade fills batches by itself
QUEUE_KIBIBYTES_MAX: Final = 1_048_576  # 1 GiB: 100,000 records of 300 bytes are 30 MB, the rest is for dead letters
QUEUE_WAIT_S: Final = 0.005
POLL_S: Final = 0.02
REASON_CHARACTERS_MAX: Final = 500
DEAD_LETTER_BYTES_MAX: Final = 900_000  # of a message's 1 MB; a REST list has up to 3 MB and is cut
FOR_EVER: Final = 0  # librdkafka's word for it: a record waits for the broker however long that takes

RECORDS: Final = (
    (LIQUIDATIONS, Liquidation),
    (OPEN_INTEREST, OpenInterest),
    (FUNDING, Funding),
    (FEED_HEALTH, FeedHealth),
)
SOURCES: Final = {"open-interest": OPEN_INTEREST, "funding": FUNDING}  # topics of the channels but liquidations
TOPICS_OF_STAGE: Final = (*(topic for topic, _ in RECORDS), DEAD_LETTERS)

Delivered = Callable[[KafkaError | None, Message], None]


class Publisher:
    """One producer for all feeds. Every method raises BrokerUnavailable once a record could not be delivered."""

    def __init__(self, settings: KafkaSettings, *, queue_messages_max: int, presence: Presence | None = None) -> None:
        self._presence = presence
        self._servers = settings.bootstrap_servers
        self._codec = Codec(settings.schema_registry_url)
        self._names = topic_names(settings)
        self._failure: BrokerUnavailable | None = None
        self._callbacks: dict[tuple[str, str], Delivered] = {}
        self.published: Counter[tuple[str, str]] = Counter()  # (topic, exchange), acknowledged by the broker
        self._queued = 0  # by the event loop; `close` counts answers in a thread, so each has its own number
        self._answered = 0
        self._told: Counter[tuple[str, str]] = Counter()
        for topic, record in RECORDS:
            self._codec.ids.id_for(record, self._names.of(topic))  # a registry that refuses the schema stops the start
        self._producer = Producer(
            producer_config(
                settings,
                linger_ms=LINGER_MS,
                queue_buffering_max_messages=queue_messages_max,
                queue_buffering_max_kbytes=QUEUE_KIBIBYTES_MAX,
                message_timeout_ms=FOR_EVER,
            )
            | {"error_cb": self._error}
        )
        metrics.QUEUE.set_function(self.__len__)

    def __len__(self) -> int:
        """Records that the broker has not acknowledged; the client's own length also counts its error events."""
        return self._queued - self._answered

    async def liquidations(self, events: Sequence[Liquidation]) -> None:
        """Queue events of one exchange; waits while the queue is full."""
        if not events:
            return
        name, encode, produce = self._names.of(LIQUIDATIONS), self._codec.encode, self._producer.produce
        delivered = self._delivered(LIQUIDATIONS, events[0].exchange)
        for event in events:
            key, value = event.asset.encode(), encode(LIQUIDATIONS, event)
            try:
                produce(name, value, key, on_delivery=delivered)  # a coroutine each would cost 1 µs
                self._queued += 1
            except (BufferError, KafkaException):
                await self._produce(name, key, value, delivered)

    async def market(self, events: Sequence[OpenInterest | Funding]) -> None:
        """Queue open interest and funding of one exchange; waits while the queue is full."""
        for event in events:
            topic = FUNDING if isinstance(event, Funding) else OPEN_INTEREST
            value = self._codec.encode(topic, event)
            delivered = self._delivered(topic, event.exchange)
            await self._produce(self._names.of(topic), event.asset.encode(), value, delivered)

    async def raw_frame(self, frame: bytes, *, exchange: str, channel: str, received_time_us: int) -> None:
        """Queue a frame as it was received."""
        headers = [
            ("exchange", exchange.encode()),
            ("channel", channel.encode()),
            ("received_time_us", str(received_time_us).encode()),
        ]
        delivered = self._delivered(RAW_FRAMES, exchange)
        await self._produce(self._names.of(RAW_FRAMES), exchange.encode(), frame, delivered, headers)

    async def health(self, record: FeedHealth) -> None:
        """Queue the state of a channel, and show it in the metrics."""
        metrics.show_health(record)
        if self._presence is not None:
            self._presence.announce(record)
        value = self._codec.encode(FEED_HEALTH, record)
        key = f"{record.exchange}/{record.channel}".encode()
        await self._produce(self._names.of(FEED_HEALTH), key, value, self._delivered(FEED_HEALTH, record.exchange))

    async def dead_letter(
        self, frame: bytes, error: FrameRefused, *, exchange: str, channel: str, received_time_us: int
    ) -> None:
        """Queue a refused frame or body as it came, cut where a message cannot hold it; the headers say what, from
        where, when and why."""
        headers = [
            ("reason", str(error)[:REASON_CHARACTERS_MAX].encode(errors="replace")),
            ("error", type(error).__name__.encode()),
            ("exchange", exchange.encode()),
            ("channel", channel.encode()),
            ("received_time_us", str(received_time_us).encode()),
        ]
        if len(frame) > DEAD_LETTER_BYTES_MAX:
            headers.append(("cut_from_bytes", str(len(frame)).encode()))
        key = SOURCES.get(channel, LIQUIDATIONS).name.encode()
        delivered = self._delivered(DEAD_LETTERS, exchange)
        await self._produce(self._names.of(DEAD_LETTERS), key, frame[:DEAD_LETTER_BYTES_MAX], delivered, headers)

    async def serve(self) -> None:
        """Take in acknowledgements until cancelled."""
        while True:
            self._poll()
            self._tell()
            await asyncio.sleep(POLL_S)

    async def close(self, timeout_s: float) -> None:
        """Wait until everything is acknowledged. Raises BrokerUnavailable, with the number that is not."""
        await asyncio.to_thread(self._producer.flush, timeout_s)
        left = len(self)
        self._tell()
        if self._failure is not None:
            raise self._failure
        if left:
            raise BrokerUnavailable(
                f"publishing to {self._servers}: {left} records are lost, not acknowledged within {timeout_s:g} s; "
                "see what the broker says"
            )

    async def _produce(
        self, topic: str, key: bytes, value: bytes, delivered: Delivered, headers: list[tuple[str, bytes]] | None = None
    ) -> None:
        extra: dict[str, Any] = {"headers": headers} if headers else {}
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=delivered, **extra)
                self._queued += 1
                return
            except BufferError:
                metrics.QUEUE_FULL.inc()
                self._poll()
                await asyncio.sleep(QUEUE_WAIT_S)
            except KafkaException as exc:
                raise BrokerUnavailable(f"publishing to {topic} at {self._servers}: {exc}") from exc

    def _poll(self) -> None:
        self._producer.poll(0)
        if self._failure is not None:
            raise self._failure

    def _tell(self) -> None:
        """Bring /metrics up to date: a lock for every record would cost more than the record."""
        for (topic, exchange), count in list(self.published.items()):  # `close` counts in a thread
            new = count - self._told[topic, exchange]
            if new:
                self._told[topic, exchange] = count
                metrics.EVENTS_PUBLISHED.labels(exchange, topic).inc(new)

    def _delivered(self, topic: Topic, exchange: str) -> Delivered:
        key = (topic.name, exchange)
        callback = self._callbacks.get(key)
        if callback is None:

            def callback(error: KafkaError | None, message: Message) -> None:
                self._answered += 1
                if error is None:
                    self.published[key] += 1
                else:
                    self._fail(f"publishing to {message.topic()} at {self._servers}: {error.str()}")

            self._callbacks[key] = callback
        return callback

    def _error(self, error: KafkaError) -> None:
        if error.fatal():  # from all others librdkafka recovers by itself, and has logged them; records wait
            self._fail(f"publishing to {self._servers}: {error.str()}")

    def _fail(self, sentence: str) -> None:
        if self._failure is None:
            self._failure = BrokerUnavailable(sentence)
