"""Settings of the running detector by command: set, shown, refused, and what a worker publishes at its start."""

import json
import threading

from processors.host.settings_topic import publish_own, read_settings
from processors.settings import DetectorSettings
from runtime.kafka import create_topics
from runtime.settings import KafkaSettings
from schemas.topics import SETTINGS
from tests.stack.test_cli import run

NEVER = threading.Event()


def test_settings_are_set_shown_and_unset_by_asset(kafka: str, topic_prefix: str) -> None:
    environment = {"LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": kafka, "LIQCASCADE_KAFKA__TOPIC_PREFIX": topic_prefix}
    set_ = run("settings", "set", "BTC", "levels.watch_events_per_s=5", "windows.trend.flag_events=9", **environment)
    assert set_.returncode == 0, set_.stderr
    shown = json.loads(run("settings", "in-force", "BTC", "--json", **environment).stdout)
    assert (shown["levels"]["watch_events_per_s"], shown["windows"][4]["flag_events"]) == (5, 9)
    wrong = run("settings", "set", "BTC", "levels.watch_events_per_s=50", **environment)
    assert wrong.returncode == 2
    assert "detector.assets.BTC.levels: alert_events_per_s must be above" in wrong.stderr
    assert run("settings", "unset", "BTC", "levels.watch_events_per_s", **environment).returncode == 0
    all_ = run("settings", "in-force", **environment).stdout
    assert "assets.BTC.windows.trend.flag_events = 9" in all_
    assert "assets.BTC.levels" not in all_


def test_a_worker_publishes_its_tree_where_it_differs_from_that_of_the_last_one(kafka: str, topic_prefix: str) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix)
    create_topics(settings, [SETTINGS])
    first, second = DetectorSettings(), DetectorSettings(hold_ms=9_000)
    assert publish_own(settings, first, ending=NEVER)
    assert not publish_own(settings, first, ending=NEVER)
    environment = {"LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": kafka, "LIQCASCADE_KAFKA__TOPIC_PREFIX": topic_prefix}
    assert run("settings", "set", "*", "hold_ms=8000", "windows.trend.flag_events=9", **environment).returncode == 0
    assert not publish_own(settings, first, ending=NEVER)  # what a command has changed outlives a restart
    in_force = read_settings(settings, first, ending=NEVER).settings
    assert (in_force.hold_ms, in_force.windows[4].flag_events) == (8_000, 9)
    assert publish_own(settings, second, ending=NEVER)  # a changed file takes over
    assert read_settings(settings, first, ending=NEVER).settings == second
