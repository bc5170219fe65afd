"""The market's topics of one test: append states, read alerts, run stages."""

import threading
from collections.abc import Iterable, Sequence

from confluent_kafka import Producer

from processors.history import partition_of
from processors.market.past import OWN_KEY
from processors.market.stage import MarketStage
from runtime.kafka import create_topics, producer_config, topic_names
from runtime.log_reader import LogReader, LogRecord
from runtime.settings import KafkaSettings
from schemas.records import AssetState, CascadeAlert
from schemas.topics import ALERTS, MARKET, STATE, Topic
from tests.processors.market.states import CODEC, PARTITIONS, alerts, new_fold

FLUSH_S_MAX = 30.0


class MarketTopics:
    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        self.kafka = KafkaSettings(bootstrap_servers=bootstrap_servers, topic_prefix=prefix, partitions=PARTITIONS)
        self.names = topic_names(self.kafka)
        create_topics(self.kafka)
        self._producer = Producer(producer_config(self.kafka, linger_ms=5))

    def append(self, states: Iterable[AssetState | bytes]) -> None:
        """As if each had been appended at its T."""
        for state in states:
            value = CODEC.encode(STATE, state) if isinstance(state, AssetState) else state
            time_ms = state.append_time_ms if isinstance(state, AssetState) else 0
            key = OWN_KEY if isinstance(state, AssetState) and state.asset == MARKET else "any"
            self._producer.produce(self.names.of(STATE), value, key, timestamp=time_ms)
        assert self._producer.flush(FLUSH_S_MAX) == 0

    def publish(self, alerts: Sequence[CascadeAlert]) -> None:
        """Put alerts to their topic, at their T."""
        partition = partition_of(MARKET, PARTITIONS)
        for alert in alerts:
            value = CODEC.encode(ALERTS, alert)
            self._producer.produce(self.names.of(ALERTS), value, MARKET, partition, timestamp=alert.append_time_ms)
        assert self._producer.flush(FLUSH_S_MAX) == 0

    def read(self, topic: Topic, partition: int) -> list[LogRecord]:
        with LogReader(self.kafka, {(self.names.of(topic), partition): 0}, ending=threading.Event()) as reader:
            return list(reader.to_end())

    def alerts(self) -> list[CascadeAlert]:
        records = self.read(ALERTS, partition_of(MARKET, PARTITIONS))
        return [CODEC.decode(CascadeAlert, one.value or b"") for one in records]

    def folded(self) -> list[CascadeAlert]:
        """What the fold gives over the whole topic."""
        log = self.read(STATE, 0)
        outputs, _ = new_fold().fold([one.offset for one in log], [one.value or b"" for one in log])
        return alerts(outputs)

    def stage(self, *, group: str = "market") -> MarketStage:
        return MarketStage(self.kafka, group=self.kafka.topic_prefix + group, new_fold=lambda _: new_fold())
