"""The tables on servers with TimescaleDB and without: migrations, outages, aggregates, views."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import psycopg2
import pytest
from pydantic import SecretStr

from runtime.settings import KafkaSettings
from schemas.errors import SettingsError, StoreUnavailable
from schemas.topics import LATE, LIQUIDATIONS
from schemas.words import AlertKind, Exchange, Level
from sinks import counts, migrations, tables
from sinks.levels import by_basis_points
from sinks.settings import DatabaseSettings, SinkSettings, SinksSection
from sinks.timescale import TimescaleSink
from tests.sinks.database import ask, land, needs_timescale
from tests.sinks.records import alert, landing, liquidation, window
from tests.sinks.stores import Store, new_database
from tests.stack.waiting import eventually

POSITIONS = [(topic.name, 0) for topic in TimescaleSink.topics]
MIDNIGHT_MS = 1_760_054_400_000  # 2025-10-10 00:00 UTC
HYPERTABLES_THERE = """SELECT hypertable_name, compression_enabled FROM timescaledb_information.hypertables
    WHERE hypertable_schema = 'public' ORDER BY 1"""
ANY_SERVER = [one.name for one in migrations.migrations() if not one.feature]
HYPERTABLES = ["alerts", "feed_health", "funding", "liquidations", "open_interest", "windows"]


@pytest.fixture
def settings(postgres_url: str) -> SinkSettings:
    """A new database. Retention is off: its job runs whenever it likes, and the records of these tests are old."""
    url = SecretStr(new_database(postgres_url, "timescale_server"))
    return SinkSettings(database=DatabaseSettings(url=url, retention=False))


@pytest.fixture
def sink(settings: SinkSettings) -> Iterator[TimescaleSink]:
    with contextlib.closing(TimescaleSink(settings)) as sink:
        sink.open(POSITIONS)
        yield sink


def test_before_the_first_worker_there_is_nothing_to_count(settings: SinkSettings) -> None:
    assert counts.timescale_counts(settings) == {"liquidations": 0, "late": 0, "windows": 0, "alerts": 0}
    assert list(counts.event_ids(settings)) == []


def _time(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1_000, UTC)


def test_a_read_only_server_is_an_outage(settings: SinkSettings, sink: TimescaleSink) -> None:
    ask(settings, "ALTER DATABASE timescale_server SET default_transaction_read_only = on")
    with pytest.raises(StoreUnavailable, match="25006"):
        sink.open(POSITIONS)


def test_a_lock_that_is_held_is_an_outage(settings: SinkSettings, sink: TimescaleSink) -> None:
    batch = landing([liquidation(1)])
    url = settings.database.url.get_secret_value()
    with contextlib.closing(psycopg2.connect(url)) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE sink_offsets IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable, match="55P03"):
            land(sink, batch)


def test_a_missing_table_is_an_outage_and_not_the_records_fault(settings: SinkSettings, sink: TimescaleSink) -> None:
    ask(settings, "ALTER TABLE liquidations RENAME TO elsewhere")
    batch = landing([liquidation(1)])
    with pytest.raises(StoreUnavailable, match="42P01"):
        land(sink, batch)


def test_what_was_flushed_outlives_the_server(servers: dict[str, Store]) -> None:
    """A put does not wait for the disk, a flush does."""
    store = servers["timescale"]
    store.server.start()
    store.empty()
    settings = store.settings(KafkaSettings(), SinksSection())
    with contextlib.closing(TimescaleSink(settings)) as sink:
        sink.open(POSITIONS)
        for number in range(2):
            land(sink, landing([liquidation(number)], first_offset=number))
            store.server.kill()
            store.server.start()
            assert sink.open(POSITIONS) == {(LIQUIDATIONS.name, 0): number + 1}
    assert sum(store.landed(settings).values()) == 2


def test_an_url_that_is_none_is_a_setting_to_mend() -> None:
    settings = SinkSettings(database=DatabaseSettings(url=SecretStr("no url: secret")))
    with pytest.raises(SettingsError, match=r"database\.url is not a PostgreSQL URL") as caught:
        TimescaleSink(settings).open([])
    assert "secret" not in str(caught.value)


def test_migrations_are_applied_once_and_held_by_their_hash(settings: SinkSettings, sink: TimescaleSink) -> None:
    before = ask(settings, "SELECT name, sha256, applied_time FROM schema_migrations ORDER BY name")
    assert before[0][:2] == ("0001_tables.sql", migrations.migrations()[0].sha256)
    sink.open(POSITIONS)
    assert ask(settings, "SELECT name, sha256, applied_time FROM schema_migrations ORDER BY name") == before
    ask(settings, "UPDATE schema_migrations SET sha256 = 'other' WHERE name = '0001_tables.sql'")
    with pytest.raises(SettingsError, match=r"0001_tables\.sql was applied from another text"):
        sink.open(POSITIONS)


def test_the_columns_that_are_written_are_those_of_the_tables(settings: SinkSettings, sink: TimescaleSink) -> None:
    for table in tables.TABLES.values():
        rows = ask(
            settings,
            f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table.name}' "  # noqa: S608
            "AND table_schema = 'public' ORDER BY ordinal_position",
        )
        assert [name for (name,) in rows] == [name for name, _ in table.columns]


def test_tables_are_hypertables_with_compression(settings: SinkSettings, sink: TimescaleSink) -> None:
    needs_timescale(settings)
    rows = ask(settings, HYPERTABLES_THERE)
    assert rows == [(name, True) for name in HYPERTABLES]


def opens(sink: TimescaleSink) -> bool:
    """Whether it does now; a task asks again as long as it does not."""
    try:
        sink.open(POSITIONS)
    except StoreUnavailable:
        return False
    return True


def test_the_retention_job_follows_the_setting(settings: SinkSettings, sink: TimescaleSink) -> None:
    needs_timescale(settings)
    jobs = "SELECT count(*) FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention'"
    for wanted in (False, True, False):
        database = settings.database.model_copy(update={"retention": wanted})
        with contextlib.closing(TimescaleSink(settings.model_copy(update={"database": database}))) as other:
            eventually(lambda other=other: opens(other), "a job that runs holds its lock")  # type: ignore[misc]
        assert ask(settings, jobs) == [(len(HYPERTABLES) if wanted else 0,)]


def test_an_event_that_is_compressed_already_is_not_doubled(settings: SinkSettings, sink: TimescaleSink) -> None:
    needs_timescale(settings)
    event = liquidation(1, event_time_ms=1_760_130_000_123)
    land(sink, landing([event]))
    ask(settings, "SELECT compress_chunk(c) FROM show_chunks('liquidations') AS c")
    land(
        sink,
        landing([event, liquidation(2, event_time_ms=1_760_130_000_124)], first_offset=1),
        landing([event], topic=LATE),
    )
    assert sorted(ask(settings, "SELECT event_id, late FROM liquidations")) == [
        ("binance:BTCUSDT:1", True),
        ("binance:BTCUSDT:2", False),
    ]


def test_plain_postgresql_has_the_same_tables_and_says_so(
    settings: SinkSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """TimescaleDB may be there; here the sink is told that it is not."""
    monkeypatch.setattr(migrations, "create_extension", lambda connection: "the server does not have it")
    with contextlib.closing(TimescaleSink(settings)) as sink:
        sink.open(POSITIONS)
        sink.open(POSITIONS)
        land(sink, landing([liquidation(1)]), landing([window(1)]), landing([alert(1)]))
    assert capsys.readouterr().out.count("PLAIN POSTGRESQL") == 1
    assert counts.timescale_counts(settings) == {"liquidations": 1, "late": 0, "windows": 1, "alerts": 1}
    assert [name for (name,) in ask(settings, "SELECT name FROM schema_migrations ORDER BY name")] == ANY_SERVER


def test_tables_become_hypertables_when_the_extension_comes_later(
    settings: SinkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = liquidation(1)
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "create_extension", lambda connection: "not yet")
        with contextlib.closing(TimescaleSink(settings)) as sink:
            sink.open(POSITIONS)
            land(sink, landing([event]))
    with contextlib.closing(TimescaleSink(settings)) as sink:
        sink.open(POSITIONS)
        needs_timescale(settings)
        land(sink, landing([event, liquidation(2)], first_offset=1))
    assert counts.timescale_counts(settings)["liquidations"] == 2
    assert [name for name, _ in ask(settings, HYPERTABLES_THERE)] == HYPERTABLES


# Aggregates and views: the same names with TimescaleDB and without


@pytest.fixture(params=["as the server is", "plain"])
def any_sink(
    request: pytest.FixtureRequest, settings: SinkSettings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TimescaleSink]:
    if request.param == "plain":
        monkeypatch.setattr(migrations, "create_extension", lambda connection: "the server does not have it")
    with contextlib.closing(TimescaleSink(settings)) as sink:
        sink.open(POSITIONS)
        yield sink


def test_aggregates_are_exact_sums_of_what_has_landed_now_or_late(
    settings: SinkSettings, any_sink: TimescaleSink
) -> None:
    at_ms = (0, 999, 1_000, 59_999, 60_000, 3_600_000)
    events = [liquidation(n, event_time_ms=MIDNIGHT_MS + ms, price=100.0 + n) for n, ms in enumerate(at_ms)]
    land(any_sink, landing(events[1:]), landing([events[0]], topic=LATE))
    for view, expected in (
        ("liquidations_1s", [2, 1, 1, 1, 1]),
        ("liquidations_1m", [4, 1, 1]),
        ("liquidations_1h", [5, 1]),
    ):
        rows = ask(settings, f"SELECT bucket, events, notional_uusd, price_min FROM {view} ORDER BY bucket")  # noqa: S608
        assert [row[1] for row in rows] == expected
        assert rows[0][0] == _time(MIDNIGHT_MS)
        assert (rows[0][2], rows[0][3]) == (expected[0] * 32_716_050_000, 100.0)


def test_episodes_go_from_the_first_alert_to_the_last(settings: SinkSettings, any_sink: TimescaleSink) -> None:
    story = [
        (AlertKind.RAISED, Level.WATCH, 0.4),
        (AlertKind.RAISED, Level.EXTREME, 0.95),
        (AlertKind.LOWERED, Level.ALERT, 0.6),
        (AlertKind.ENDED, Level.NONE, 0.1),
    ]
    alerts = [
        msgspec.structs.replace(
            alert(n), kind=kind, level=level, probability=probability, first_mover=Exchange.OKX,
            event_time_ms=MIDNIGHT_MS + n * 1_000,
        )
        for n, (kind, level, probability) in enumerate(story)
    ]  # fmt: skip
    land(any_sink, landing([*alerts, alert(0, asset="ETH")]))
    (btc, eth) = ask(
        settings,
        "SELECT asset, started_time, ended_time, peak_level, peak_probability, first_mover, alerts, is_open "
        "FROM cascade_episodes ORDER BY asset",
    )
    assert btc == ("BTC", _time(MIDNIGHT_MS), _time(MIDNIGHT_MS + 3_000), "EXTREME", 0.95, "okx", 4, False)
    assert (eth[0], eth[2], eth[7]) == ("ETH", None, True)
    lead = ask(settings, "SELECT * FROM exchange_lead ORDER BY asset, exchange")
    assert lead == [("BTC", "binance", 0, 1, 1), ("BTC", "okx", 1, 0, 1), ("ETH", "binance", 0, 1, 1)]


def test_the_heatmap_has_the_price_levels_of_the_redis_sink(settings: SinkSettings, any_sink: TimescaleSink) -> None:
    prices = [
        65_432.1,
        100_000.0,
        1_999.9,
        2_001.0,
        0.00001234567,
        9.999999,
        10.0,
        0.1 + 0.2,
        4_999.5,
        1e-9,
        123_456_789.0,
    ]
    events = [liquidation(n, price=price, event_time_ms=MIDNIGHT_MS) for n, price in enumerate(prices)]
    land(any_sink, landing(events))
    rows = ask(settings, "SELECT price_level, sum(events) FROM liquidation_heatmap GROUP BY 1")
    assert sorted(level for level, _ in rows) == sorted(
        Decimal(by_basis_points(10)(price).partition(":")[0]) for price in prices
    )
    assert sum(events for _, events in rows) == len(prices)
