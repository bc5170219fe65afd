"""The market stage in a worker: one member of its group reads signals.state, folds it and publishes what comes of it.

It commits a position only when all outputs before it are acknowledged. A new owner begins a while before that position,
folds what is in memory again without publishing it, and from the position on leaves out the alerts that it finds in
their topic: each id stands there once, but for an owner that was frozen and wakes late."""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from processors.host import metrics
from processors.market.fold import MarketFold, MarketOutput
from processors.market.past import LOOK_BACK_MS, MarketPast, in_force
from processors.market.records import PARTITION
from runtime.kafka import confluent_config, producer_config, topic_names
from runtime.receipts import Receipts
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import BrokerUnavailable, LiqcascadeError
from schemas.headers import SENT_HEADER
from schemas.topics import ALERTS, STATE

BATCH_MAX: Final = 500  # records a turn: the client makes them in half a millisecond, in which no other thread runs
POLL_S: Final = 0.2
COMMIT_EVERY_S: Final = 1.0
FLUSH_S_MAX: Final = 10.0
SESSION_MS: Final = 6_000  # a dead worker's place moves after this
STOOD_S_MAX: Final = SESSION_MS / 2_000  # between reading a batch and publishing what comes of it
RETRY_S: Final = 2.0
PURGE_S: Final = 1.0
PUBLISHING: Final = "publishing the market's records"
STOP_S_MAX: Final = 3.0  # of the 5 s in which a worker ends
log = structlog.get_logger(__name__)


class MarketStage:
    """`start()`, then `stop()`. Works in a thread of its own; what goes wrong is logged and begun again."""

    def __init__(self, kafka: KafkaSettings, *, group: str, new_fold: Callable[[Codec], MarketFold]) -> None:
        self._kafka, self._group, self._new_fold = kafka, group, new_fold
        self._names = topic_names(kafka)
        self._codec = Codec(kafka.schema_registry_url)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="market", daemon=True)
        self._fold: MarketFold | None = None  # while the partition is ours
        self._start = self._publish_from = 0
        self._read_s = 0.0
        self._said: set[str] = set()  # ids of alerts that stand in their topic
        self._position = -1
        self._receipts = Receipts()
        self.trouble = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Publish what was folded, commit, leave the group."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S_MAX)

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._follow()
            except (LiqcascadeError, KafkaException) as exc:
                self.trouble = str(exc)
                log.error("the market stage begins again", reason=str(exc))
            except Exception:  # our own bug: it must not end in silence
                self.trouble = "folding the market failed"
                log.exception("folding the market failed")
            self._ending.wait(RETRY_S)

    def _follow(self) -> None:
        consumer = Consumer(
            confluent_config(
                self._kafka,
                group_id=self._group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                session_timeout_ms=SESSION_MS,
            )
        )
        producer = Producer(producer_config(self._kafka, linger_ms=0))
        self._receipts = Receipts()
        committed_s = time.monotonic()

        def revoked(consumer: Consumer, partitions: Iterable[TopicPartition]) -> None:
            self._give_back(consumer, producer)

        def lost(consumer: Consumer, partitions: Iterable[TopicPartition]) -> None:
            self._fold = None

        try:
            consumer.subscribe([self._names.of(STATE)], on_assign=self._take_over, on_revoke=revoked, on_lost=lost)
            while not self._ending.is_set():
                self._hear(self._read(consumer), producer)
                producer.poll(0)
                if self._receipts.failure:
                    raise BrokerUnavailable(f"{PUBLISHING}: {self._receipts.failure}")
                if time.monotonic() - committed_s > COMMIT_EVERY_S:
                    committed_s = time.monotonic()
                    self._commit(consumer, producer)
            self._give_back(consumer, producer)
        finally:
            self._fold = None
            producer.purge()  # what is still on its way must not arrive behind what the next owner publishes
            producer.flush(PURGE_S)
            consumer.close()

    def _take_over(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if not partitions:
            return
        (committed,) = consumer.committed(partitions, timeout=FLUSH_S_MAX)
        past = MarketPast(self._kafka, self._codec, ending=self._ending)
        self._publish_from, self._start, self._said = _where_to_begin(past, committed.offset)
        self._begin(consumer)
        self.trouble = ""
        log.info("folding the market", position=self._publish_from, begins=self._start, alerts=len(self._said))

    def _begin(self, consumer: Consumer) -> None:
        self._position = -1
        self._fold = self._new_fold(self._codec)
        consumer.assign([TopicPartition(self._names.of(STATE), PARTITION, self._start)])

    def _read(self, consumer: Consumer) -> list[Message]:
        first = consumer.poll(POLL_S)  # `consume` alone would wait for a full batch
        if first is None:
            return []
        fold, self._read_s = self._fold, time.monotonic()
        messages = [first, *consumer.consume(BATCH_MAX - 1, 0)]
        if self._fold is fold:
            return messages
        if self._fold is not None:  # taken over again between two of them: which is which cannot be told
            self._begin(consumer)
        return []

    def _hear(self, messages: list[Message], producer: Producer) -> None:
        """Fold what was read and publish what comes of it."""
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                records.append(message)
            elif error.code() != KafkaError._PARTITION_EOF and not error.retriable():
                raise BrokerUnavailable(f"reading {self._names.of(STATE)}: {error.str()}")
        if self._fold is None or not records:
            return  # given back meanwhile
        offsets = [message.offset() or 0 for message in records]
        outputs, refused = self._fold.fold(offsets, [_bytes(message.value()) for message in records])
        if time.monotonic() - self._read_s > STOOD_S_MAX:
            raise BrokerUnavailable(f"{PUBLISHING}: the worker stood still, and may not own them now")
        for offset, reason in refused:
            log.warning("foreign record passed over", topic=STATE.name, offset=offset, reason=str(reason))
        for output in outputs:
            if output.offset >= self._publish_from:
                self._publish(output, producer)
        self._position = offsets[-1] + 1

    def _publish(self, output: MarketOutput, producer: Producer) -> None:
        if output.id and output.id in self._said:
            self._said.discard(output.id)
            metrics.SUPPRESSED.inc()
            return
        name, value = self._names.of(output.topic), self._codec.encode(output.topic, output.record)
        headers: list[tuple[str, str | bytes | None]] = []
        if output.topic is ALERTS:
            headers.append((SENT_HEADER, b"%d" % (time.time_ns() // 1_000)))
        while True:
            try:
                producer.produce(name, value, output.key, on_delivery=self._receipts.answer, headers=headers)
                self._receipts.sent()
                metrics.MARKET_OUTPUTS.labels(output.topic.name).inc()
                return
            except BufferError:  # the broker is slow: what was handed over is sent first
                producer.poll(POLL_S)

    def _commit(self, consumer: Consumer, producer: Producer) -> None:
        """Commit the position once all before it is acknowledged; what is not committed is folded again."""
        if self._fold is None or self._position <= self._publish_from:
            return
        self._receipts.wait(producer, FLUSH_S_MAX, doing=PUBLISHING)
        consumer.commit(offsets=[TopicPartition(self._names.of(STATE), PARTITION, self._position)], asynchronous=False)
        self._publish_from = self._position

    def _give_back(self, consumer: Consumer, producer: Producer) -> None:
        try:
            self._commit(consumer, producer)
        except (BrokerUnavailable, KafkaException) as exc:
            log.warning("the market was given back before its position was committed", reason=str(exc))
        self._fold = None


def _where_to_begin(past: MarketPast, committed: int) -> tuple[int, int, set[str]]:
    """Offset from which on to publish, offset at which to begin, and ids of the alerts that were published already."""
    low, high = past.bounds()
    position = committed if committed >= 0 else past.folded() or low  # a group that is new, or was forgotten
    if position <= low or high <= low:
        return low, low, {alert.alert_id for alert in past.alerts(0)}
    alerts = past.alerts(past.appended_ms(position - 1) - LOOK_BACK_MS)
    episode = in_force(alert for alert in alerts if (alert.source_offset or 0) < position)
    if episode is not None and episode.offset is None:
        log.warning("an episode of the market is too old to be built again", episode=episode.episode_id)
    return position, past.start(position, episode), {alert.alert_id for alert in alerts}


def _bytes(value: str | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else b""
