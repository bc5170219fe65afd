"""What stands in the topics, counted while it comes: records, ids that came twice, levels, the newest states."""

import threading
from collections import Counter
from typing import Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from runtime.kafka import confluent_config, topic_names
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import SchemaError
from schemas.records import AssetState, CascadeAlert, Liquidation, WindowAggregate
from schemas.topics import ALERTS, DEAD_LETTERS, LATE, LIQUIDATIONS, STATE, WINDOWS, Topic
from schemas.words import LEVEL_RANKS, Level, StateKind
from stack.log_range import spans

POLL_S: Final = 0.1
BATCH_MAX: Final = 1_000
COUNTED: Final = (LIQUIDATIONS, LATE, WINDOWS, ALERTS, STATE, DEAD_LETTERS)
IDS_MAX: Final = 5_000_000  # 8-byte hashes in a set take about 100 bytes each: 500 MB, twelve hours at 100/s

Row = tuple[str, str, str, float, float, int]  # exchange, instrument, side, price, quantity, event_time_ms


class Ledger:
    """Follows the topics in a thread of its own from their start; `catch_up` waits until it has read all of them."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka, self._names, self._codec = kafka, topic_names(kafka), Codec(kafka.schema_registry_url)
        self._positions: dict[tuple[str, int], int] = {}
        self._ids: dict[str, set[int]] = {topic.name: set() for topic in COUNTED}
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="ledger", daemon=True)
        self.records: Counter[str] = Counter()
        self.doubled: Counter[str] = Counter()
        self.by_exchange: Counter[str] = Counter()
        self.rows: Counter[int] = Counter()  # hashes of rows
        self.levels: Counter[str] = Counter()
        self.states: dict[str, AssetState] = {}
        self.alerts: list[CascadeAlert] = []
        self.highest = Level.NONE
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def distinct(self, topic: Topic) -> int:
        """Different ids in a topic."""
        return len(self._ids[topic.name])

    def behind(self, topics: tuple[Topic, ...] = COUNTED) -> int:
        """Records of the topics that are not read yet. Raises BrokerUnavailable."""
        ends = spans(self._kafka, [self._names.of(topic) for topic in topics])
        return sum(max(0, span.end - self._positions.get((span.topic, span.partition), span.start)) for span in ends)

    @property
    def open_episodes(self) -> dict[str, str]:
        """Assets that are not at NONE, by their newest alert."""
        newest = {alert.asset: alert.level for alert in self.alerts}
        return {asset: level for asset, level in newest.items() if level is not Level.NONE}

    def _follow(self) -> None:
        consumer = Consumer(
            confluent_config(self._kafka, group_id="liqcascade-ledger", enable_auto_commit=False, fetch_wait_max_ms=50)
        )
        try:
            consumer.assign(
                [
                    TopicPartition(span.topic, span.partition, span.start)
                    for span in spans(self._kafka, [self._names.of(topic) for topic in COUNTED])
                ]
            )
            while not self._stop.is_set():
                for message in consumer.consume(BATCH_MAX, timeout=POLL_S):
                    if message.error() is None:  # anything else is a broker that comes back
                        self._count(message)
        except (SchemaError, KafkaException) as exc:
            self.error = exc
        finally:
            consumer.close()

    def _count(self, message: Message) -> None:
        name, partition, offset = message.topic(), message.partition(), message.offset()
        assert name is not None
        assert partition is not None
        assert offset is not None
        topic = self._names.topic(name)
        assert topic is not None
        self.records[topic.name] += 1
        value = message.value() or b""
        if topic.record is not None:
            self._note(topic, self._codec.decode(topic.record, value))
        self._positions[(name, partition)] = offset + 1

    def _note(self, topic: Topic, record: object) -> None:
        if isinstance(record, Liquidation):
            self._seen(topic, record.event_id)
            if topic is LIQUIDATIONS:
                self.by_exchange[record.exchange] += 1
                self.rows[hash(row_of(record))] += 1
        elif isinstance(record, WindowAggregate):
            self._seen(topic, record.window_id)
        elif isinstance(record, CascadeAlert):
            self._seen(topic, record.alert_id)
            self.levels[record.level] += 1
            self.alerts.append(record)
            if LEVEL_RANKS[record.level] > LEVEL_RANKS[self.highest]:
                self.highest = record.level
        elif isinstance(record, AssetState) and record.kind is StateKind.ASSET:
            self.states[record.asset] = record

    def _seen(self, topic: Topic, identity: str) -> None:
        ids = self._ids[topic.name]
        number = hash(identity)
        if number in ids:
            self.doubled[topic.name] += 1
        elif len(ids) < IDS_MAX:
            ids.add(number)


def row_of(record: Liquidation) -> Row:
    """What the simulator's own account of a liquidation is compared with."""
    return record.exchange, record.instrument, record.side, record.price, record.quantity, record.event_time_ms
