"""Settings and baselines that change while a worker runs: what they do, what the journal says, what a replay gives."""

import time
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from processors.host.settings_topic import publish_settings
from processors.in_force import read
from processors.market.settings import MarketSettings
from processors.replay import Replay
from processors.settings import DetectorSettings
from runtime.kafka import producer_config
from schemas.records import AssetState, CascadeAlert, JournalEntry
from schemas.topics import ALERTS, JOURNAL, LIQUIDATIONS, SETTINGS, STATE
from tests.processors.topics import CODEC, FLUSH_S_MAX, DetectorTopics, Worker, eventually, liquidation

HOURS_3_MS = 3 * 3_600_000
AHEAD_MS = 300_000  # of the clock: however long this test takes, nothing is late


@pytest.fixture
def topics(kafka: str, topic_prefix: str, compiled: None) -> DetectorTopics:
    return DetectorTopics(kafka, topic_prefix, partitions=1)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def burst(topics: DetectorTopics, asset: str, count: int, *, first: int, time_ms: int) -> None:
    """So many from a time on, 20 ms apart, each appended at its time and with an id of its own."""
    producer, name = Producer(producer_config(topics.kafka)), topics.names.of(LIQUIDATIONS)
    for number in range(count):
        at_ms = time_ms + 20 * number
        event = liquidation(first + number, event_time_ms=at_ms, asset=asset)
        event = msgspec.structs.replace(event, notional_usd=1_000.0)
        producer.produce(name, CODEC.encode(LIQUIDATIONS, event), asset, 0, timestamp=at_ms)
    assert producer.flush(FLUSH_S_MAX) == 0


def journal(topics: DetectorTopics) -> list[JournalEntry]:
    return [CODEC.decode(JournalEntry, record.value or b"") for record in topics.read(JOURNAL, 0)]


def settings_journaled(topics: DetectorTopics) -> list[DetectorSettings]:
    contexts = [entry.context for entry in journal(topics)]
    found = [context for context in contexts if context is not None and context.topic == SETTINGS.name]
    assert all(context.key == b"*" for context in found)
    return [DetectorSettings.model_validate(read(context.value).settings) for context in found]


def alerts(topics: DetectorTopics, asset: str) -> list[CascadeAlert]:
    found = [CODEC.decode(CascadeAlert, record.value or b"") for record in topics.read(ALERTS, 0)]
    return [alert for alert in found if alert.asset == asset]


def states(topics: DetectorTopics, asset: str) -> list[AssetState]:
    found = [CODEC.decode(AssetState, record.value or b"") for record in topics.read(STATE, 0)]
    return [state for state in found if state.asset == asset]


def assert_replayed(topics: DetectorTopics, settings: DetectorSettings) -> None:
    replay = Replay(topics.kafka, settings, MarketSettings(), from_ms=0, to_ms=None)
    replayed = replay.run(verify=True, told=lambda records: None)
    assert (replayed.first_difference, replayed.doubled) == (None, 0)
    assert replayed.verified == len(topics.read(ALERTS, 0)) > 0


def test_a_record_changes_what_a_running_worker_does(topics: DetectorTopics, tmp_path: Path) -> None:
    with Worker(topics, tmp_path) as worker:
        worker.ready()
        eventually(lambda: len(settings_journaled(topics)) == 1, "its own tree is in force")
        (own,) = topics.read(SETTINGS, 0)
        assert read(own.value or b"").origin == "worker"

        publish_settings(topics.kafka, "BTC", "command", {"levels": {"watch_events_per_s": 2}})
        publish_settings(topics.kafka, "ETH", "command", {"mute": True})
        publish_settings(topics.kafka, "BTC", "command", {"levels": {"watch_per_s": 1}})
        eventually(lambda: bool(settings_journaled(topics)[-1].of("ETH").mute), "what the records come to is in force")
        last = settings_journaled(topics)[-1]
        assert last.of("BTC").levels.watch_events_per_s == 2
        assert last.of("SOL") == DetectorSettings()
        refused = "liqcascade_detector_context_refused_total 1.0"
        eventually(lambda: refused in worker.metrics(), "the one that does not fit is counted")
        assert "detector.assets.BTC.levels.watch_per_s is not a setting" in worker.said()

        first_ms = now_ms() + AHEAD_MS
        burst(topics, "SOL", 8, first=100, time_ms=first_ms)
        burst(topics, "BTC", 8, first=0, time_ms=first_ms + 1_000)  # 4/s: enough for 2/s alone
        burst(topics, "ETH", 60, first=200, time_ms=first_ms + 2_000)  # 30/s: ALERT, were it not muted
        eventually(lambda: bool(alerts(topics, "BTC")), "the changed threshold is passed")
        eventually(
            lambda: any(state.absolute_level == "ALERT" for state in states(topics, "ETH")), "the muted asset is shown"
        )
        assert worker.stop() == 0
    raised = alerts(topics, "BTC")[0]
    assert (raised.kind, raised.level, raised.windows[2].events) == ("RAISED", "WATCH", 5)
    assert not alerts(topics, "ETH")
    assert not alerts(topics, "SOL")
    assert all(state.level == "NONE" and "muted" in state.flags for state in states(topics, "ETH"))
    assert_replayed(topics, DetectorSettings())

    with Worker(topics, tmp_path, settings=[("LIQCASCADE_DETECTOR__HOLD_MS", "9000")]) as changed:
        changed.ready()
        eventually(lambda: settings_journaled(topics)[-1] == DetectorSettings(hold_ms=9_000), "the file takes over")
        assert changed.stop() == 0
    assert [read(record.value or b"").origin for record in topics.read(SETTINGS, 0)][-1] == "worker"


def test_a_baseline_is_in_force_from_its_entry_on(topics: DetectorTopics, tmp_path: Path) -> None:
    # hours    -3                         0
    # events    .                         ########
    # entries                    baseline ^ 5 events in 2 s, the floor
    settings = DetectorSettings.model_validate({"profile": "relative", "relative": {"hours_min": 1}})
    given = [("LIQCASCADE_DETECTOR__PROFILE", "relative"), ("LIQCASCADE_DETECTOR__RELATIVE__HOURS_MIN", "1")]
    burst(topics, "BTC", 1, first=0, time_ms=now_ms() - HOURS_3_MS)
    with Worker(topics, tmp_path, settings=given) as worker:
        worker.ready()
        eventually(lambda: any(entry.baseline is not None for entry in journal(topics)), "time has passed to now")
        burst(topics, "BTC", 8, first=1, time_ms=now_ms() + AHEAD_MS)
        eventually(lambda: bool(alerts(topics, "BTC")), "1.6 times the baseline")
        assert worker.stop() == 0
    baseline = next(entry.baseline for entry in journal(topics) if entry.baseline is not None)
    assert [one.events for one in baseline.windows] == [5, 8, 12]
    assert all(one.events[0] == 1 and not any(one.events[1:]) for one in baseline.maxima)
    raised = alerts(topics, "BTC")[0]
    assert (raised.profile, raised.level, raised.relative_ratio) == ("RELATIVE", "WATCH", 1.6)
    assert_replayed(topics, settings)
