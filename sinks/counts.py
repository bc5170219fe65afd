"""What has landed: counts and ids, for the demo and the audit."""

import contextlib
from collections.abc import Iterator
from typing import Any

import redis
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from sinks import postgres
from sinks.redis import connect, errors
from sinks.settings import SinkSettings
from sinks.tables import ALERTS, LIQUIDATIONS, WINDOWS, Table

COUNT_ROWS = """SELECT (SELECT count(*) FROM liquidations), (SELECT count(*) FROM liquidations WHERE late),
    (SELECT count(*) FROM windows), (SELECT count(*) FROM alerts)"""
FETCH_ROWS = 10_000  # ids of 40 bytes: half a megabyte a round trip


def timescale_counts(settings: SinkSettings) -> dict[str, int]:
    """Rows: liquidations (late ones included), late, windows, alerts. Raises StoreUnavailable."""
    with (
        contextlib.closing(postgres.connect(settings.database)) as connection,
        postgres.errors(settings.database, "counting rows"),
        connection.cursor() as cursor,
    ):
        row: tuple[int, ...] | None = (0, 0, 0, 0)
        if _are_there(cursor):
            cursor.execute(COUNT_ROWS)
            row = cursor.fetchone()
    assert row is not None
    return dict(zip(("liquidations", "late", "windows", "alerts"), row, strict=True))


def event_ids(settings: SinkSettings) -> Iterator[str]:
    """The event_id of every liquidation, in any order, as often as it is there. Raises StoreUnavailable."""
    return _ids(settings, LIQUIDATIONS)


def window_ids(settings: SinkSettings) -> Iterator[str]:
    """The window_id of every window. Raises StoreUnavailable."""
    return _ids(settings, WINDOWS)


def alert_ids(settings: SinkSettings) -> Iterator[str]:
    """The alert_id of every alert. Raises StoreUnavailable."""
    return _ids(settings, ALERTS)


def redis_counts(settings: SinkSettings) -> dict[str, int]:
    """Keys and what they count: buckets, events (in them), states, alerts (in the stream). Raises StoreUnavailable."""
    with contextlib.closing(connect(settings.redis)) as client, errors(settings.redis, "counting keys"):
        buckets = list(client.scan_iter(match="liq:bucket:*", count=1_000))
        return {
            "buckets": len(buckets),
            "events": sum(_bucket_events(client, key) for key in buckets),
            "states": sum(1 for _ in client.scan_iter(match="state:*", count=1_000)),
            "alerts": client.xlen("alerts"),
        }


def _bucket_events(client: "redis.Redis", key: str) -> int:
    fields: dict[Any, Any] = client.hgetall(key)
    return sum(int(count) for field, count in fields.items() if field.endswith(":events"))


def _are_there(cursor: Cursor) -> bool:
    """The tables are made by the first worker that opens the store."""
    cursor.execute("SELECT to_regclass('sink_offsets') IS NOT NULL")
    row = cursor.fetchone()
    return bool(row and row[0])


def _ids(settings: SinkSettings, table: Table) -> Iterator[str]:
    select = sql.SQL("SELECT {} FROM {}").format(sql.Identifier(table.key), sql.Identifier(table.name))
    with (
        contextlib.closing(postgres.connect(settings.database)) as connection,
        postgres.errors(settings.database, f"reading {table.key}s"),
        connection.cursor() as asking,
        connection.cursor(name="ids") as cursor,
    ):
        if not _are_there(asking):
            return
        cursor.itersize = FETCH_ROWS
        cursor.execute(select)
        for (identity,) in cursor:
            yield identity
