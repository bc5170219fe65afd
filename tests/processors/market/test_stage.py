"""The market stage on a broker: its topics hold what the fold gives, each alert once, whoever owns it."""

import subprocess
import sys
import time

import pytest

from processors.history import partition_of
from processors.market.past import OWN_KEY
from schemas.headers import SENT_HEADER
from schemas.records import AssetState, CascadeAlert
from schemas.topics import ALERTS, MARKET, STATE
from tests.processors.market.states import CODEC, PARTITIONS, alerts, fold, random_log
from tests.processors.market.topics import MarketTopics
from tests.stack.waiting import eventually

RUN = """
import sys, threading
from runtime.settings import KafkaSettings
from processors.market.stage import MarketStage
from tests.processors.market.states import new_fold
kafka = KafkaSettings.model_validate_json(sys.argv[1])
MarketStage(kafka, group=kafka.topic_prefix + "market", new_fold=lambda _: new_fold()).start()
threading.Event().wait()
"""


@pytest.fixture
def topics(kafka: str, topic_prefix: str, compiled: None) -> MarketTopics:
    return MarketTopics(kafka, topic_prefix)


def assert_each_once(found: list[CascadeAlert], topics: MarketTopics) -> None:
    assert found == topics.folded()
    assert len({one.alert_id for one in found}) == len(found) > 20


def test_alerts_are_those_of_the_fold_and_each_stands_once(topics: MarketTopics) -> None:
    # states   |-----------|-----------|-----------|-----------|
    # owners   |-- first, kill -9 ---| |- second, SIGTERM -| |-- third
    states = [one.state for one in random_log(0, 400)]
    third = len(states) // 3
    topics.append(states[:third])
    command = [sys.executable, "-c", RUN, topics.kafka.model_dump_json()]
    with subprocess.Popen(command) as killed:
        try:
            eventually(lambda: len(topics.alerts()) >= 3, "the first owner publishes")
            topics.append(states[third : 2 * third])
        finally:
            killed.kill()
    stage = topics.stage()
    stage.start()
    topics.append(states[2 * third :])
    expected = len(alerts(fold(random_log(0, 400))))
    eventually(lambda: len(topics.alerts()) >= expected, "the second owner has caught up")
    stage.stop()
    assert_each_once(topics.alerts(), topics)
    published = topics.read(ALERTS, partition_of(MARKET, PARTITIONS))
    sent_ms = [int(dict(one.headers)[SENT_HEADER]) / 1_000 for one in published]
    assert all(0 < at_ms <= time.time() * 1_000 for at_ms in sent_ms)

    third_owner = topics.stage()  # begins where the second one ended, with its state
    third_owner.start()
    topics.append([one.state for one in random_log(1, 1_000)][12_000:])
    progressed = len(topics.folded())
    eventually(lambda: len(topics.alerts()) >= progressed, "the third owner has caught up")
    third_owner.stop()
    assert topics.alerts() == topics.folded()


def test_a_group_that_was_forgotten_goes_on_where_its_own_progress_ends(topics: MarketTopics) -> None:
    log = random_log(2, 400)
    half = len(log) // 2
    first = topics.stage(group="before")
    first.start()
    topics.append([one.state for one in log[:half]])
    eventually(lambda: len(topics.alerts()) >= len(alerts(fold(log[:half]))), "the first group is done")
    first.stop()
    second = topics.stage(group="after")
    second.start()
    topics.append([one.state for one in log[half:]])
    eventually(lambda: len(topics.alerts()) >= len(alerts(fold(log))), "the second group is done")
    second.stop()
    assert_each_once(topics.alerts(), topics)
    own = [CODEC.decode(AssetState, one.value or b"") for one in topics.read(STATE, 0) if one.key == OWN_KEY]
    assert len({one.source_offset for one in own}) == len(own) > 100, "nothing was told twice"


def test_two_members_share_what_one_can_do(topics: MarketTopics) -> None:
    log = random_log(3, 400)
    stages = [topics.stage() for _ in range(2)]
    for stage in stages:
        stage.start()
    third = len(log) // 3
    topics.append([one.state for one in log[:third]])
    eventually(lambda: len(topics.alerts()) >= len(alerts(fold(log[:third]))), "one of them folds")
    topics.append([b"junk", *[one.state for one in log[third : 2 * third]]])
    stages[0].stop()
    topics.append([one.state for one in log[2 * third :]])
    eventually(lambda: len(topics.alerts()) >= len(alerts(fold(log))), "the other one folds")
    stages[1].stop()
    assert_each_once(topics.alerts(), topics)
