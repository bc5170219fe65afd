"""The market stage on a broker: its topics hold what the fold gives, each alert once, also after kill -9."""

import subprocess
import sys
import threading

from confluent_kafka import Producer

from processors.history import partition_of
from processors.host.log import LogReader, LogRecord
from processors.market.fold import Heard, MarketFold
from processors.market.records import MARKET
from processors.market.stage import MarketStage
from runtime.kafka import create_topics, producer_config, topic_names
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.records import AssetState, CascadeAlert
from schemas.topics import ALERTS, STATE, Topic
from tests.processors.test_market import PARTITIONS, alerts, new_fold, random_log
from tests.stack.waiting import eventually

CODEC = Codec()
RUN = """
import sys, threading
from runtime.settings import KafkaSettings
from processors.market.stage import MarketStage
from tests.processors.test_market import new_fold
kafka = KafkaSettings.model_validate_json(sys.argv[1])
MarketStage(kafka, group=kafka.topic_prefix + "market", new_fold=new_fold).start()
threading.Event().wait()
"""


class MarketTopics:
    def __init__(self, kafka: KafkaSettings) -> None:
        self.kafka, self.names = kafka, topic_names(kafka)
        create_topics(kafka)
        self._producer = Producer(producer_config(kafka, linger_ms=5))

    def append(self, states: list[AssetState]) -> None:
        for state in states:
            self._producer.produce(self.names.of(STATE), CODEC.encode(STATE, state), state.asset or "progress/0")
        assert self._producer.flush(30) == 0

    def read(self, topic: Topic, partition: int) -> list[LogRecord]:
        with LogReader(self.kafka, {(self.names.of(topic), partition): 0}, ending=threading.Event()) as reader:
            return list(reader.to_end())

    def alerts(self) -> list[CascadeAlert]:
        records = self.read(ALERTS, partition_of(MARKET, self.kafka.partitions))
        return [CODEC.decode(CascadeAlert, one.value or b"") for one in records]

    def folded(self) -> list[CascadeAlert]:
        """What the fold gives over the whole topic."""
        fold: MarketFold = new_fold()
        log = [Heard(one.offset, CODEC.decode(AssetState, one.value or b"")) for one in self.read(STATE, 0)]
        return alerts(fold.fold(log))

    def stage(self) -> MarketStage:
        return MarketStage(self.kafka, group=self.kafka.topic_prefix + "market", new_fold=new_fold)


def test_alerts_are_those_of_the_fold_and_each_stands_once(kafka: str, topic_prefix: str) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=PARTITIONS)
    topics = MarketTopics(settings)
    states = [one.state for one in random_log(0, 400)]
    third = len(states) // 3
    topics.append(states[:third])
    command = [sys.executable, "-c", RUN, settings.model_dump_json()]
    with subprocess.Popen(command) as killed:
        try:
            eventually(lambda: len(topics.alerts()) >= 3, "the first owner publishes")
            topics.append(states[third : 2 * third])
        finally:
            killed.kill()
    stage = topics.stage()
    stage.start()
    topics.append(states[2 * third :])
    expected = len(alerts(new_fold().fold(random_log(0, 400))))
    eventually(lambda: len(topics.alerts()) >= expected, "the second owner has caught up")
    stage.stop()
    found = topics.alerts()
    assert found == topics.folded()
    assert len({one.alert_id for one in found}) == len(found) > 20

    third_owner = topics.stage()  # begins where the second one ended, with its state
    third_owner.start()
    topics.append([one.state for one in random_log(1, 1_000)][12_000:])
    progressed = len(topics.folded())
    eventually(lambda: len(topics.alerts()) >= progressed, "the third owner has caught up")
    third_owner.stop()
    assert topics.alerts() == topics.folded()
