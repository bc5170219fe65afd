"""Questions to the database behind a sink, and batches into it."""

import contextlib
from typing import Any

import psycopg2
import pytest

from sinks.connector import batch_of
from sinks.settings import SinkSettings
from sinks.timescale import TimescaleSink
from tests.sinks.stores import TABLES_WITH_ROWS


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
    """Put and flushed, batch by batch."""
    for batch in batches:
        sink.put(batch_of(batch))
        sink.flush()


def table_names(settings: SinkSettings) -> list[str]:
    """Tables that hold records or offsets."""
    return [name for (name,) in ask(settings, TABLES_WITH_ROWS)]
