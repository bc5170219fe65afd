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

from processors.history import partition_of
from processors.host import metrics
from processors.host.log import LogReader
from processors.market.fold import MEMORY_MS, Heard, MarketFold, MarketOutput
from processors.market.records import MARKET, PARTITION
from runtime.kafka import confluent_config, producer_config, topic_names
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import BrokerUnavailable, LiqcascadeError, SchemaError
from schemas.records import AssetState, CascadeAlert
from schemas.topics import ALERTS, STATE

BATCH_MAX: Final = 1_000  # records a turn: 20 ms of decoding
POLL_S: Final = 0.2
COMMIT_EVERY_S: Final = 1.0
FLUSH_S_MAX: Final = 10.0
SESSION_MS: Final = 6_000  # a dead worker's place moves after this
REBUILD_MS: Final = 2 * MEMORY_MS  # by the broker's clock, which may run past the log's time by as much
LOOK_BACK_MS: Final = 86_400_000  # an episode that began earlier is begun anew
RETRY_S: Final = 2.0
STOP_S_MAX: Final = 3.0  # of the 5 s in which a worker ends
log = structlog.get_logger(__name__)


class MarketStage:
    """`start()`, then `stop()`. Works in a thread of its own; what goes wrong is logged and begun again."""

    def __init__(self, kafka: KafkaSettings, *, group: str, new_fold: Callable[[], MarketFold]) -> None:
        self._kafka, self._group, self._new_fold = kafka, group, new_fold
        self._names = topic_names(kafka)
        self._codec = Codec(kafka.schema_registry_url)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="market", daemon=True)
        self._fold: MarketFold | None = None  # while the partition is ours
        self._publish_from = 0
        self._said: set[str] = set()  # ids of alerts that stand in their topic
        self._position = -1
        self._failed: list[str] = []  # deliveries
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
        self._failed.clear()
        committed_s = time.monotonic()

        def revoked(consumer: Consumer, partitions: Iterable[TopicPartition]) -> None:
            self._give_back(consumer, producer)

        def lost(consumer: Consumer, partitions: Iterable[TopicPartition]) -> None:
            self._fold = None

        try:
            consumer.subscribe([self._names.of(STATE)], on_assign=self._take_over, on_revoke=revoked, on_lost=lost)
            while not self._ending.is_set():
                first = consumer.poll(POLL_S)  # `consume` alone would wait for a full batch
                messages = [first, *consumer.consume(BATCH_MAX, 0)] if first is not None else []
                for message in messages:
                    self._hear(message, producer)
                producer.poll(0)
                if self._failed:
                    raise BrokerUnavailable(f"publishing the market's records: {self._failed[0]}")
                if time.monotonic() - committed_s > COMMIT_EVERY_S:
                    committed_s = time.monotonic()
                    self._commit(consumer, producer)
            self._give_back(consumer, producer)
        finally:
            self._fold = None
            consumer.close()

    def _take_over(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if not partitions:
            return
        (committed,) = consumer.committed(partitions, timeout=FLUSH_S_MAX)
        start, self._said = self._where_to_begin(committed.offset)
        self._publish_from = max(committed.offset, 0)
        self._position = -1
        self._fold = self._new_fold()
        consumer.assign([TopicPartition(self._names.of(STATE), PARTITION, start)])
        self.trouble = ""
        log.info("folding the market", position=committed.offset, begins=start, alerts=len(self._said))

    def _where_to_begin(self, committed: int) -> tuple[int, set[str]]:
        """Offset from which the state at `committed` can be built, and the alerts that were published in that time."""
        name = self._names.of(STATE)
        with LogReader(self._kafka, {}, ending=self._ending) as asking:
            low, high = asking.bounds(name, PARTITION)
            if committed <= low or high <= low:
                return low, self._alerts(asking, 0)[0]
            with LogReader(self._kafka, {(name, PARTITION): committed - 1}, ending=self._ending) as reader:
                time_ms = next((record.timestamp for record in reader.to_end()), 0)
            said, episode_ms = self._alerts(asking, time_ms - LOOK_BACK_MS)
            return asking.offset_at(name, PARTITION, min(time_ms, episode_ms) - REBUILD_MS), said

    def _alerts(self, asking: LogReader, from_ms: int) -> tuple[set[str], int]:
        """Ids of the market's alerts from a time on, and when the last episode of them was raised."""
        name, partition = self._names.of(ALERTS), partition_of(MARKET, self._kafka.partitions)
        start = asking.offset_at(name, partition, from_ms)
        ids: set[str] = set()
        episode, raised_ms = "", 1 << 60
        with LogReader(self._kafka, {(name, partition): start}, ending=self._ending) as reader:
            for record in reader.to_end():
                if record.key != MARKET.encode():
                    continue
                alert = self._codec.decode(CascadeAlert, record.value or b"")
                ids.add(alert.alert_id)
                if alert.episode_id != episode:
                    episode, raised_ms = alert.episode_id, record.timestamp
                    if alert.sequence:
                        log.warning("an episode of the market is too old to be built again", episode=episode)
        return ids, raised_ms

    def _hear(self, message: Message, producer: Producer) -> None:
        error, offset = message.error(), message.offset()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF or error.retriable():
                return
            raise BrokerUnavailable(f"reading {self._names.of(STATE)}: {error.str()}")
        assert offset is not None
        if self._fold is None:
            return  # given back meanwhile
        value = message.value()
        try:
            state = self._codec.decode(AssetState, value if isinstance(value, bytes) else b"")
        except SchemaError as exc:
            log.warning("foreign record passed over", topic=STATE.name, offset=offset, reason=str(exc))
            return
        for output in self._fold.fold([Heard(offset, state)]):
            if offset >= self._publish_from:
                self._publish(output, producer)
        self._position = offset + 1

    def _publish(self, output: MarketOutput, producer: Producer) -> None:
        if output.id and output.id in self._said:
            self._said.discard(output.id)
            metrics.SUPPRESSED.inc()
            return
        value = self._codec.encode(output.topic, output.record)
        while True:
            try:
                producer.produce(self._names.of(output.topic), value, output.key, on_delivery=self._delivered)
                metrics.MARKET_OUTPUTS.labels(output.topic.name).inc()
                return
            except BufferError:  # the broker is slow: what was handed over is sent first
                producer.poll(POLL_S)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed.append(error.str())

    def _commit(self, consumer: Consumer, producer: Producer) -> None:
        """Commit the position once all before it is acknowledged; what is not committed is folded again."""
        if self._fold is None or self._position <= self._publish_from:
            return
        if producer.flush(FLUSH_S_MAX) or self._failed:
            raise BrokerUnavailable(f"publishing the market's records: {self._failed or 'no answer'}")
        consumer.commit(offsets=[TopicPartition(self._names.of(STATE), PARTITION, self._position)], asynchronous=False)
        self._publish_from = self._position

    def _give_back(self, consumer: Consumer, producer: Producer) -> None:
        try:
            self._commit(consumer, producer)
        except (BrokerUnavailable, KafkaException) as exc:
            log.warning("the market was given back before its position was committed", reason=str(exc))
        self._fold = None
