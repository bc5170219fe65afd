"""A file of history, imported and folded by workers, beside what `detect` makes of it."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest

from processors.detect import detect
from processors.detector import Delivered
from processors.history import read_history
from processors.import_history import _Writer, import_history
from processors.settings import DetectorSettings
from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable, SchemaError, SettingsError
from schemas.records import CascadeAlert, FeedHealth, Record, WindowAggregate
from schemas.topics import ALERTS, FEED_HEALTH, FUNDING, JOURNAL, LIQUIDATIONS, OPEN_INTEREST, WINDOWS
from schemas.words import Exchange, FeedState
from tests.processors.logs import START_MS, cascade_log, funding, open_interest
from tests.processors.topics import CODEC, DetectorTopics, Worker, eventually

PARTITIONS: Final = 3
CASCADES: Final = 2
APART_MS: Final = 3 * 3_600_000  # so that the second one has a baseline
CONTEXT_MS: Final = 200_000  # from the beginning of each
TREE: Final[dict[str, Any]] = {
    "profile": "either",
    "relative": {"hours_min": 1},
    "rules": [{"name": "early", "level": "CRITICAL", "expression": "momentum_events >= 4 and not long_share < 0.8"}],
    "assets": {"SOL": {"profile": "absolute", "levels": {"watch_events_per_s": 5}}},
}
SETTINGS: Final = DetectorSettings.model_validate(TREE)
GIVEN: Final = [
    (f"LIQCASCADE_DETECTOR__{key.upper()}", value if isinstance(value, str) else msgspec.json.encode(value).decode())
    for key, value in TREE.items()
]


def line(topic: str, append_time_ms: int, record: Record) -> bytes:
    plain = {"topic": topic, "append_time_ms": START_MS + append_time_ms, "value": msgspec.to_builtins(record)}
    return msgspec.json.encode(plain)


def history() -> list[bytes]:
    """Cascades of three assets in two partitions, with what is known beside them."""
    rows = []
    for turn in range(CASCADES):
        for one in cascade_log(turn, assets=("BTC", "ETH", "SOL")):
            if isinstance(one, Delivered):
                event = one.liquidation
                event = msgspec.structs.replace(
                    event,
                    event_id=f"{turn}/{event.event_id}",
                    event_time_ms=event.event_time_ms + turn * APART_MS,
                )
                rows.append(line(LIQUIDATIONS.name, one.append_time_ms - START_MS + turn * APART_MS, event))
        for ms in range(turn * APART_MS, turn * APART_MS + CONTEXT_MS, 5_000):
            for asset in ("BTC", "SOL", "NONE"):
                rows.append(
                    line(OPEN_INTEREST.name, ms, open_interest(asset=asset, coins=100.0 - ms % 60_000 / 10_000))
                )
                rows.append(line(FUNDING.name, ms + 7, funding(ms, 0.0004, asset=asset)))
    health = FeedHealth(
        exchange=Exchange.BYBIT, channel="liquidation", state=FeedState.LIVE, since_ms=0, event_time_ms=0
    )
    rows.append(line(FEED_HEALTH.name, 1_000, health))
    return rows


@pytest.fixture
def topics(kafka: str, topic_prefix: str, compiled: None) -> DetectorTopics:
    return DetectorTopics(kafka, topic_prefix, partitions=PARTITIONS, settings=SETTINGS)


def without_source(records: Iterable[Record]) -> list[bytes]:
    return sorted(
        msgspec.json.encode(msgspec.structs.replace(record, source_partition=None, source_offset=None))
        for record in records
    )


def published(topics: DetectorTopics) -> list[Record]:
    records: list[Record] = []
    for partition in topics.partitions:
        records += [CODEC.decode(CascadeAlert, one.value or b"") for one in topics.read(ALERTS, partition)]
        records += [CODEC.decode(WindowAggregate, one.value or b"") for one in topics.read(WINDOWS, partition)]
    return records


def states(worker: Worker) -> set[str]:
    try:
        parts = httpx.get(f"http://127.0.0.1:{worker.port}/readyz").json()
    except httpx.TransportError:
        return set()
    return {state for name, state in parts.items() if name.startswith("partition")}


def test_workers_that_come_and_go_and_are_killed_give_what_detect_gives(
    topics: DetectorTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    #  import   journal | liquidations
    #  first            |----- kill -9
    #  second                     |------------ SIGTERM
    #  third                         |----------------------
    lines = history()
    alerts, windows = detect(read_history(lines, partitions=PARTITIONS), SETTINGS)
    assert any("rule:early" in alert.flags for alert in alerts)
    assert {alert.relative_level for alert in alerts} > {"UNKNOWN", "EXTREME"}
    finish = _Writer.finish
    with ExitStack() as stack:
        workers: list[Worker] = []

        def finish_and_start(writer: _Writer) -> None:
            finish(writer)
            if not workers:
                workers.append(stack.enter_context(Worker(topics, tmp_path, settings=GIVEN)))
                eventually(lambda: "catching up" in states(workers[0]), "it has taken over")

        monkeypatch.setattr(_Writer, "finish", finish_and_start)
        counts = import_history(lines, topics.kafka, SETTINGS)
        assert counts[LIQUIDATIONS.name] == sum(LIQUIDATIONS.name.encode() in row for row in lines)
        eventually(lambda: topics.count(ALERTS) > 0, "the first has begun")
        workers[0].kill()
    with Worker(topics, tmp_path, settings=GIVEN) as second, Worker(topics, tmp_path, settings=GIVEN) as third:
        eventually(lambda: bool(second.partitions()), "the second owns some")
        assert second.stop() == 0
        eventually(lambda: topics.count(ALERTS) + topics.count(WINDOWS) >= len(alerts) + len(windows), "all is there")
        third.ready()
        assert third.stop() == 0
    assert without_source(published(topics)) == without_source([*alerts, *windows])
    assert topics.assert_published_as_replayed() == len(alerts) + len(windows)


def test_topics_in_use_are_refused(topics: DetectorTopics) -> None:
    lines = history()[:10]
    import_history(lines, topics.kafka, SETTINGS)
    with pytest.raises(SettingsError, match=r"market.liquidations/\d holds \d+ records already"):
        import_history(lines, topics.kafka, SETTINGS)


def test_a_worker_that_took_over_too_early_is_found_out(
    topics: DetectorTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processors.import_history._check_empty", lambda kafka: None)
    for partition in topics.partitions:
        topics.take_over(partition)  # as a worker does
    with pytest.raises(BrokerUnavailable, match=r"something else writes to .*journal/\d"):
        import_history(history()[:10], topics.kafka, SETTINGS)
    assert not any(topics.count(topic) for topic in (LIQUIDATIONS, OPEN_INTEREST))


def test_nothing_is_published_of_a_file_that_does_not_fit(topics: DetectorTopics) -> None:
    with pytest.raises(SchemaError, match="line 2"):
        import_history([history()[0], b"{"], topics.kafka, SETTINGS)
    assert not topics.count(JOURNAL)


def test_without_a_prefix_nothing_is_imported(kafka: str) -> None:
    with pytest.raises(SettingsError, match="--prefix"):
        import_history([], KafkaSettings(bootstrap_servers=kafka), SETTINGS)
