"""A range of the topics once more, beside what was published of it."""

from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from processors.detector import Delivered
from processors.import_history import import_history
from processors.journal import interleaved
from processors.lead_in import BACK_MS_MAX, LEAD_MS, began_ms, lead_in, open_episodes
from processors.market.settings import MarketSettings
from processors.replay import Replay, Replayed
from processors.settings import DetectorSettings
from runtime.kafka import producer_config
from schemas.errors import SettingsError
from schemas.records import CascadeAlert, Record
from schemas.topics import ALERTS, FUNDING, LIQUIDATIONS, OPEN_INTEREST
from schemas.words import AlertKind
from stack.cli import app, commands
from stack.cli.replay import to_time_ms
from tests.processors.logs import (
    START_MS,
    cascade_log,
    fold_all,
    funding,
    liquidation,
    new_detector,
    open_interest,
    tick,
)
from tests.processors.test_detect import line
from tests.processors.topics import CODEC, FLUSH_S_MAX, DetectorTopics

HOUR_MS = 3_600_000
SETTINGS = DetectorSettings()
CASCADES_MS = (0, 27 * HOUR_MS)
MIDDLE_MS = START_MS + CASCADES_MS[-1] + 20_000  # of the last cascade


def history() -> list[bytes]:
    """Two cascades 27 h apart, with what is known beside them."""
    rows: list[tuple[str, int, Record]] = []
    for at_ms in CASCADES_MS:
        for one in cascade_log(3, assets=("BTC", "ETH")):
            if isinstance(one, Delivered):
                time_ms, event = one.append_time_ms - START_MS + at_ms, one.liquidation
                event = msgspec.structs.replace(
                    event, event_id=f"{at_ms}/{event.event_id}", event_time_ms=event.event_time_ms + at_ms
                )
                rows.append((LIQUIDATIONS.name, time_ms, event))
    for ms in range(0, 28 * HOUR_MS, 300_000):
        rows.append((OPEN_INTEREST.name, ms, open_interest(coins=100.0 - ms / HOUR_MS % 1)))
        rows.append((FUNDING.name, ms + 7, funding(ms, 0.0004 + ms % 7 / 10_000)))
    return [line(*row) for row in sorted(rows, key=lambda row: row[1])]


@pytest.fixture
def topics(kafka: str, topic_prefix: str, compiled: None) -> DetectorTopics:
    """History, and beside it the alerts that a worker would have published of it."""
    topics = DetectorTopics(kafka, topic_prefix, partitions=2)
    import_history(history(), topics.kafka, SETTINGS)
    return topics


def publish(topics: DetectorTopics, alerts: list[tuple[int, bytes]]) -> None:
    producer = Producer(producer_config(topics.kafka))
    for partition, value in alerts:
        producer.produce(topics.names.of(ALERTS), value, "any", partition)
    assert producer.flush(FLUSH_S_MAX) == 0


def given(topics: DetectorTopics) -> list[tuple[int, bytes]]:
    return [(number, value) for number in topics.partitions for value in topics.replayed(number, run=500)[ALERTS.name]]


def verify(topics: DetectorTopics, from_ms: int, to_ms: int | None = None) -> Replayed:
    replay = Replay(topics.kafka, SETTINGS, MarketSettings(), from_ms=from_ms, to_ms=to_ms)
    done: list[int] = []
    result = replay.run(verify=True, told=done.append)
    assert 0 < replay.records * 0.5 < sum(done)
    return result


def decoded(value: bytes) -> CascadeAlert:
    return CODEC.decode(CascadeAlert, value)


def test_a_range_gives_what_was_published_and_names_the_first_difference(
    topics: DetectorTopics, tmp_path: Path
) -> None:
    alerts = given(topics)
    wanted = [one for one in alerts if MIDDLE_MS <= decoded(one[1]).append_time_ms < MIDDLE_MS + 10_000]
    altered = msgspec.structs.replace(decoded(wanted[3][1]), probability=0.125)
    publish(topics, [one for one in alerts if one not in (wanted[3], wanted[7])])
    publish(topics, [(wanted[3][0], CODEC.encode(ALERTS, altered)), wanted[9]])

    result = verify(topics, MIDDLE_MS, MIDDLE_MS + 10_000)
    assert len(wanted) > 10
    assert len(result.alerts) == len(wanted)
    assert {alert.alert_id for alert in result.alerts} == {decoded(value).alert_id for _, value in wanted}
    assert (result.verified, result.different, result.missing) == (len(wanted) - 2, 1, 1)
    assert (result.extra, result.doubled, result.not_verified) == (0, 1, [])
    first = result.first_difference
    assert first is not None
    assert (first.alert_id, first.field, first.published) == (altered.alert_id, "probability", 0.125)
    assert first.replayed == decoded(wanted[3][1]).probability

    if not app.registered_commands:
        commands.register(app)
    environment = {
        "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": topics.kafka.bootstrap_servers,
        "LIQCASCADE_KAFKA__TOPIC_PREFIX": topics.kafka.topic_prefix,
        "LIQCASCADE_KAFKA__PARTITIONS": "2",
    }
    arguments = ["--from", str(MIDDLE_MS), "--to", str(MIDDLE_MS + 10_000), "--alerts", str(tmp_path / "a"), "--verify"]
    ran = CliRunner().invoke(app, ["replay", *arguments], env=environment)
    assert ran.exit_code == 1
    assert msgspec.json.decode(ran.stdout.splitlines()[-1])["first_difference"]["field"] == "probability"
    assert len((tmp_path / "a").read_bytes().splitlines()) == len(wanted)

    later = verify(topics, MIDDLE_MS + 10_000)
    assert (later.first_difference, later.missing, later.extra) == (None, 0, 0)
    assert later.alerts[-1].kind is AlertKind.ENDED
    assert later.verified == len(later.alerts)


def test_open_episodes_are_those_whose_newest_alert_does_not_end_them() -> None:
    outputs = fold_all(new_detector(), cascade_log(1, assets=("BTC", "ETH")))
    alerts = [one.record for one in outputs if isinstance(one.record, CascadeAlert)]
    began = {alert.episode_id: began_ms(alert.episode_id) for alert in alerts}
    assert open_episodes(alerts) == {}
    assert open_episodes([*alerts, alerts[3]]) == {}  # doubled by an owner that woke late
    assert open_episodes(alert for alert in alerts if alert.kind is not AlertKind.ENDED) == began


def test_an_episode_that_began_a_day_ago_is_beyond_reach() -> None:
    #          -24 h + 25 min          0
    #  A    |------|------------------|
    #  B           |------------------|
    reach_ms = LEAD_MS
    lead = lead_in({"A": reach_ms - 1, "B": reach_ms}, BACK_MS_MAX)
    assert (lead.beyond, lead.to_ms, lead.from_ms) == (("A",), reach_ms, 0)
    assert lead_in({}, BACK_MS_MAX).to_ms == BACK_MS_MAX


def test_times_are_iso_or_ms() -> None:
    assert to_time_ms("--to", "1760000000000") == 1_760_000_000_000
    assert to_time_ms("--to", "2025-10-09T08:53:20") == 1_760_000_000_000
    assert to_time_ms("--to", "2025-10-09T10:53:20+02:00") == 1_760_000_000_000
    with pytest.raises(SettingsError, match="--to yesterday: say a time like"):
        to_time_ms("--to", "yesterday")


def test_both_logs_as_one_without_holding_either() -> None:
    # offsets    3   4   5   6   7
    # entries  ^0      ^1,2    ^3 after 6          runs of at most two
    log = [Delivered(offset, START_MS, liquidation(0)) for offset in range(3, 8)]
    entries = [tick(sequence, 0, after_offset=after) for sequence, after in enumerate((-1, 4, 4, 6))]
    parts = interleaved(iter(log), entries, run_max=2)
    flat = [[one.offset for one in part] if not isinstance(part, msgspec.Struct) else part.sequence for part in parts]
    assert flat == [0, [3, 4], 1, 2, [5, 6], 3, [7]]
