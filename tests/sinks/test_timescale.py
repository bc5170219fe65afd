"""What lies in PostgreSQL, row by row; what is of the server and the tables stands in test_timescale_server.py."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from schemas.codec import to_plain
from schemas.errors import RecordRefused
from schemas.topics import LATE
from sinks import counts
from sinks.connector import batch_of
from sinks.settings import DatabaseSettings, SinkSettings
from sinks.timescale import TimescaleSink
from tests.sinks.database import ask, ask_row, land, table_names
from tests.sinks.records import alert, funding, health, landing, liquidation, open_interest, window
from tests.sinks.stores import new_database

POSITIONS = [(topic.name, 0) for topic in TimescaleSink.topics]


@pytest.fixture(scope="module")
def settings(postgres_url: str) -> SinkSettings:
    """Retention is off: its job runs whenever it likes, and the records of these tests are old."""
    url = SecretStr(new_database(postgres_url, "timescale"))
    return SinkSettings(database=DatabaseSettings(url=url, retention=False))


@pytest.fixture
def sink(settings: SinkSettings) -> Iterator[TimescaleSink]:
    """Opened on empty tables."""
    if tables := table_names(settings):
        ask(settings, f"TRUNCATE {', '.join(tables)}")
    with contextlib.closing(TimescaleSink(settings)) as sink:
        sink.open(POSITIONS)
        yield sink


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


def test_open_interest_is_a_row_of_all_its_fields(settings: SinkSettings, sink: TimescaleSink) -> None:
    record = landing([open_interest(1)])[0]
    land(sink, [record])
    fields = to_plain(record.record)
    times = {
        "event_time": _time(fields.pop("event_time_ms")),
        "received_time": _time(fields.pop("received_time_us") // 1_000),
    }
    row = ask_row(settings, "SELECT * FROM open_interest")
    assert row == fields | times | {"append_time": _time(record.append_time_ms)}


def test_funding_is_a_row_of_all_its_fields(settings: SinkSettings, sink: TimescaleSink) -> None:
    record = landing([funding(1)])[0]
    land(sink, [record])
    fields = to_plain(record.record)
    times = {
        "event_time": _time(fields.pop("event_time_ms")),
        "next_funding_time": _time(fields.pop("next_funding_time_ms")),
        "received_time": _time(fields.pop("received_time_us") // 1_000),
    }
    row = ask_row(settings, "SELECT * FROM funding")
    assert row == fields | times | {"append_time": _time(record.append_time_ms)}


def test_health_is_a_row_of_all_its_fields(settings: SinkSettings, sink: TimescaleSink) -> None:
    record = landing([health(1), health(1)])[0]
    land(sink, [record])
    fields = to_plain(record.record)
    times = {"event_time": _time(fields.pop("event_time_ms")), "since_time": _time(fields.pop("since_ms"))}
    row = ask_row(settings, "SELECT * FROM feed_health")
    assert row == fields | times | {"append_time": _time(record.append_time_ms)}


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
        land(sink, bad)
    sink.put(batch_of(batch))
