"""The market's alerts once more from signals.state: from any place, beside what was published."""

import random
import threading
from functools import cache

import msgspec
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from processors.market.fold import MEMORY_MS
from processors.market.past import Episode, MarketPast, in_force
from processors.market.records import progress_of
from processors.market.replay import MarketReplay
from processors.replay import Replay, Replayed
from processors.settings import DetectorSettings
from runtime.kafka import confluent_config
from schemas.records import CascadeAlert
from schemas.topics import STATE
from schemas.words import AlertKind
from tests.processors.market.states import CODEC, SETTINGS, alerts, encoded, new_fold, random_log
from tests.processors.market.topics import FLUSH_S_MAX, MarketTopics

LOG = random_log(5, 1_500)


@cache
def expected() -> list[CascadeAlert]:
    """The alerts of the whole log."""
    return folded_from(0)


def folded_from(start: int) -> list[CascadeAlert]:
    outputs, _ = new_fold().fold(range(start, len(LOG)), values()[start:])
    return alerts(outputs)


@cache
def values() -> list[bytes]:
    return [encoded(one.state) for one in LOG]


@pytest.fixture(scope="module")
def published(kafka: str, compiled: None) -> MarketTopics:
    """States of a quarter of an hour, and what a stage published of them; tests only read."""
    topics = MarketTopics(kafka, "market-replay.")
    topics.append(one.state for one in LOG)
    topics.publish(expected())
    return topics


def replay(topics: MarketTopics, from_ms: int, to_ms: int | None = None) -> Replayed:
    done: list[int] = []
    again = Replay(topics.kafka, DetectorSettings(), SETTINGS, from_ms=from_ms, to_ms=to_ms)
    result = again.run(verify=True, told=done.append)
    assert 0 < sum(done) <= again.records
    return result


def test_a_fold_may_begin_anywhere(published: MarketTopics) -> None:
    past = MarketPast(published.kafka, CODEC, ending=threading.Event())
    dice, starts = random.Random(5), list[int]()
    for _ in range(5):
        at = dice.randrange(len(LOG) // 2, len(LOG))
        start = past.start(at, in_force(one for one in expected() if (one.source_offset or 0) < at))
        starts.append(start)
        wanted = [one for one in expected() if (one.source_offset or 0) >= at]
        assert [one for one in folded_from(start) if (one.source_offset or 0) >= at] == wanted
        assert start == 0 or LOG[start].state.append_time_ms <= LOG[at].state.append_time_ms - MEMORY_MS
    assert max(starts) > 0


@pytest.mark.parametrize("number", [0, 40, -1])
def test_a_range_gives_what_was_published(published: MarketTopics, number: int) -> None:
    from_ms = expected()[number].append_time_ms
    result = replay(published, from_ms, from_ms + 200_000)
    wanted = [one for one in expected() if from_ms <= one.append_time_ms < from_ms + 200_000]
    assert result.alerts == wanted
    assert (result.verified, result.first_difference, result.not_verified) == (len(wanted), None, [])


def test_what_is_missing_altered_doubled_or_not_of_the_fold_is_told(kafka: str, topic_prefix: str) -> None:
    topics = MarketTopics(kafka, topic_prefix)
    topics.append(one.state for one in LOG)
    altered = msgspec.structs.replace(expected()[30], market_breadth=0)
    foreign = msgspec.structs.replace(expected()[31], alert_id=expected()[31].episode_id + ":999")
    topics.publish([*expected()[:30], altered, *expected()[31:60], *expected()[61:], expected()[12], foreign])
    result = replay(topics, 0)
    assert (result.different, result.missing, result.doubled, result.extra) == (1, 1, 1, 1)
    assert result.verified == len(expected()) - 2
    first = result.first_difference
    assert first is not None
    assert (first.alert_id, first.field, first.published) == (altered.alert_id, "market_breadth", 0)


def test_the_replay_goes_as_far_as_the_stage_has_come(kafka: str, topic_prefix: str) -> None:
    topics = MarketTopics(kafka, topic_prefix)
    last = expected()[50]
    topics.append(one.state for one in LOG)
    topics.append([progress_of(last.append_time_ms, last.source_offset or 0), progress_of(last.append_time_ms, 7)])
    topics.publish(expected()[:60])
    result = replay(topics, 0)
    assert result.alerts == expected()[:51]
    assert (result.verified, result.first_difference) == (51, None)


def test_episodes_that_began_in_what_is_gone_are_named(kafka: str, topic_prefix: str) -> None:
    topics = MarketTopics(kafka, topic_prefix)
    topics.append(one.state for one in LOG)
    topics.publish(expected())
    cut = next(one for one in expected()[40:] if one.sequence > 3)
    place = TopicPartition(topics.names.of(STATE), 0, cut.source_offset or 0)
    admin = AdminClient(confluent_config(topics.kafka))
    admin.delete_records([place])[place].result(FLUSH_S_MAX)
    result = replay(topics, 0)
    sure_ms = LOG[cut.source_offset or 0].state.append_time_ms + MEMORY_MS
    later = [one for one in expected() if int(one.episode_id[2:]) >= sure_ms]
    assert (result.verified, result.first_difference) == (len(later), None)
    assert cut.episode_id in result.not_verified
    assert len(later) > 10


def test_an_episode_is_in_force_until_its_end_was_told() -> None:
    began = expected()[0]
    own = [one for one in expected() if one.episode_id == began.episode_id]
    assert own[-1].kind is AlertKind.ENDED
    assert in_force([]) is None
    assert in_force([began]) == Episode(began.episode_id, began.source_offset)
    assert in_force(reversed(own[:-1])) == Episode(began.episode_id, began.source_offset)
    assert in_force([*own, own[2]]) is None  # doubled by an owner that woke late
    assert in_force(own[1:-1]) == Episode(began.episode_id, None)  # it began too long ago


def test_a_topic_without_states_gives_nothing(kafka: str, topic_prefix: str) -> None:
    topics = MarketTopics(kafka, topic_prefix)
    market = MarketReplay(topics.kafka, CODEC, new_fold, from_ms=0, to_ms=None, ending=threading.Event())
    assert list[CascadeAlert](market.run(lambda records: None)) == []
    assert (market.span, market.sure_ms) == ((0, 0), 0)
