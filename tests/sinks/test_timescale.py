"""What lies in PostgreSQL, with TimescaleDB where the server has it and without."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg2
import pytest
from pydantic import SecretStr

from schemas.codec import to_plain
from schemas.errors import RecordRefused, SettingsError, StoreUnavailable
from schemas.topics import LATE
from sinks import counts, migrations, tables
from sinks.connector import batch_of
from sinks.settings import DatabaseSettings, SinkSettings
from sinks.timescale import TimescaleSink
from tests.sinks.records import alert, landing, liquidation, window
from tests.sinks.stores import new_database

POSITIONS = [("market.liquidations", 0), ("market.late", 0), ("signals.windows", 0), ("alerts.cascades", 0)]


@pytest.fixture
def settings(postgres_url: str) -> SinkSettings:
    return SinkSettings(database=DatabaseSettings(url=SecretStr(new_database(postgres_url, "timescale"))))


@pytest.fixture
def sink(settings: SinkSettings) -> Iterator[TimescaleSink]:
    with contextlib.closing(TimescaleSink(settings)) as sink:
        sink.open(POSITIONS)
        yield sink


def ask(settings: SinkSettings, statement: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(psycopg2.connect(settings.database.url.get_secret_value())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def ask_row(settings: SinkSettings, statement: str) -> dict[str, Any]:
    url = settings.database.url.get_secret_value()
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone()
        assert row is not None
        assert cursor.description is not None
        return dict(zip((column.name for column in cursor.description), row, strict=True))


def needs_timescale(settings: SinkSettings) -> None:
    if not ask(settings, "SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'"):
        pytest.skip("hypertables and jobs are not tested: this PostgreSQL has no TimescaleDB")


def land(sink: TimescaleSink, *batches: list[Any]) -> None:
    for batch in batches:
        sink.put(batch_of(batch))


def test_a_liquidation_is_a_row_of_all_its_fields(settings: SinkSettings, sink: TimescaleSink) -> None:
    event = liquidation(
        1, event_time_ms=1_760_130_000_123, received_time_us=1_760_130_000_223_456, instrument="币\t\\N\n"
    )
    land(sink, batch := landing([event]))
    fields = to_plain(event)
    del fields["event_time_ms"], fields["received_time_us"]
    assert ask_row(settings, "SELECT * FROM liquidations") == fields | {
        "event_time": datetime(2025, 10, 10, 21, 0, 0, 123_000, UTC),
        "received_time": datetime(2025, 10, 10, 21, 0, 0, 223_456, UTC),
        "append_time": _time(batch[0].append_time_ms),
        "notional_uusd": 32_716_050_000,
        "late": False,
    }


def test_a_window_is_a_row_of_all_its_fields(settings: SinkSettings, sink: TimescaleSink) -> None:
    land(sink, landing([window(3)]))
    fields = to_plain(window(3))
    times = {f"window_{end}": _time(fields.pop(f"window_{end}_ms")) for end in ("start", "end")}
    times["append_time"] = _time(fields.pop("append_time_ms"))
    assert ask_row(settings, "SELECT * FROM windows") == fields | times


def test_an_alert_is_a_row_of_all_its_fields(settings: SinkSettings, sink: TimescaleSink) -> None:
    land(sink, landing([alert(3)]))
    fields = to_plain(alert(3))
    times = {f"{what}_time": _time(fields.pop(f"{what}_time_ms")) for what in ("event", "append")}
    row = ask_row(settings, "SELECT * FROM alerts")
    assert row == {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()} | times


def _time(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1_000, UTC)


def test_an_unknown_received_time_is_null(settings: SinkSettings, sink: TimescaleSink) -> None:
    land(sink, landing([liquidation(1, received_time_us=0)]))
    assert ask(settings, "SELECT received_time FROM liquidations") == [(None,)]


@pytest.mark.parametrize("first", ["market.liquidations", "market.late"])
def test_a_late_event_is_one_row_marked_late_in_any_order(
    settings: SinkSettings, sink: TimescaleSink, first: str
) -> None:
    event = liquidation(1)
    both = [landing([event, liquidation(2)]), landing([event], topic=LATE)]
    land(sink, *(both if first == "market.liquidations" else both[::-1]))
    assert sorted(ask(settings, "SELECT event_id, late FROM liquidations")) == [
        ("binance:BTCUSDT:1", True),
        ("binance:BTCUSDT:2", False),
    ]
    assert counts.timescale_counts(settings) == {"liquidations": 2, "late": 1, "windows": 0, "alerts": 0}


def test_a_late_event_and_its_original_in_one_batch_are_one_late_row(
    settings: SinkSettings, sink: TimescaleSink
) -> None:
    event = liquidation(1)
    land(sink, landing([event]) + landing([event], topic=LATE))
    assert ask(settings, "SELECT late FROM liquidations") == [(True,)]


def test_counts_and_ids_say_what_landed(settings: SinkSettings, sink: TimescaleSink) -> None:
    land(sink, landing([liquidation(1)]), landing([window(1), window(2)]), landing([alert(1)]))
    assert counts.timescale_counts(settings) == {"liquidations": 1, "late": 0, "windows": 2, "alerts": 1}
    assert list(counts.event_ids(settings)) == ["binance:BTCUSDT:1"]
    assert sorted(counts.window_ids(settings)) == [window(1).window_id, window(2).window_id]
    assert list(counts.alert_ids(settings)) == [alert(1).alert_id]


def test_before_the_first_worker_there_is_nothing_to_count(settings: SinkSettings) -> None:
    assert counts.timescale_counts(settings) == {"liquidations": 0, "late": 0, "windows": 0, "alerts": 0}
    assert list(counts.event_ids(settings)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": "a\x00b"},
        {"event_time_ms": 2**62},
        {"received_time_us": 2**63},
        {"notional_usd": 1e13},
        {"side": "BUY"},
        {"quantity": float("inf")},
    ],
    ids=str,
)
def test_a_value_that_the_tables_do_not_hold_is_refused(sink: TimescaleSink, changes: dict[str, Any]) -> None:
    batch = landing([liquidation(1)])
    bad = [msgspec.structs.replace(one, record=liquidation(1, **changes)) for one in batch]
    with pytest.raises(RecordRefused):
        sink.put(batch_of(bad))
    sink.put(batch_of(batch))


def test_a_read_only_server_is_an_outage(settings: SinkSettings, sink: TimescaleSink) -> None:
    ask(settings, "ALTER DATABASE timescale SET default_transaction_read_only = on")
    with pytest.raises(StoreUnavailable, match="25006"):
        sink.open(POSITIONS)


def test_a_lock_that_is_held_is_an_outage(settings: SinkSettings, sink: TimescaleSink) -> None:
    batch = landing([liquidation(1)])
    url = settings.database.url.get_secret_value()
    with contextlib.closing(psycopg2.connect(url)) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE sink_offsets IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable, match="55P03"):
            sink.put(batch_of(batch))


def test_a_dropped_table_is_an_outage_and_not_the_records_fault(settings: SinkSettings, sink: TimescaleSink) -> None:
    ask(settings, "DROP TABLE liquidations")
    batch = landing([liquidation(1)])
    with pytest.raises(StoreUnavailable, match="42P01"):
        sink.put(batch_of(batch))


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
    rows = ask(
        settings, "SELECT hypertable_name, compression_enabled FROM timescaledb_information.hypertables ORDER BY 1"
    )
    assert rows == [("alerts", True), ("liquidations", True), ("windows", True)]


def test_the_retention_job_follows_the_setting(settings: SinkSettings, sink: TimescaleSink) -> None:
    needs_timescale(settings)
    jobs = "SELECT count(*) FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention'"
    assert ask(settings, jobs) == [(3,)]
    without = settings.model_copy(update={"database": settings.database.model_copy(update={"retention": False})})
    with contextlib.closing(TimescaleSink(without)) as other:
        other.open(POSITIONS)
    assert ask(settings, jobs) == [(0,)]
    sink.open(POSITIONS)
    assert ask(settings, jobs) == [(3,)]


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
    assert [name for (name,) in ask(settings, "SELECT name FROM schema_migrations")] == ["0001_tables.sql"]


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
    assert ask(settings, "SELECT count(*) FROM timescaledb_information.hypertables") == [(3,)]
