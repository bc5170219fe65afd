"""Numbered SQL files in sinks/sql, each applied once and recorded with its hash.

A name is `<number>_<what>.sql`, or `<number>_<what>.<feature>.sql` for one that waits until the server has the feature:
`timescaledb` (the extension), `community` (its parts that the Apache-licensed build lacks)."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from schemas.errors import SettingsError

LOCK_KEY: Final = 0x6C697163  # "liqc": the advisory lock that lets one worker migrate at a time
CREATE_RECORD: Final = """CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY, sha256 text NOT NULL, applied_time timestamptz NOT NULL DEFAULT now())"""


@dataclass(frozen=True)
class Migration:
    """One file; `feature` is "" where any PostgreSQL will do."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def feature(self) -> str:
        """What the server must have."""
        parts = self.name.split(".")
        return parts[1] if len(parts) == 3 else ""


@cache
def migrations() -> tuple[Migration, ...]:
    """All files, by number."""
    folder = files("sinks").joinpath("sql")
    found = [Migration(file.name, file.read_text(encoding="utf-8")) for file in folder.iterdir()]
    return tuple(sorted((file for file in found if file.name.endswith(".sql")), key=lambda file: file.name))


def migrate(connection: Connection, features: Collection[str]) -> list[str]:
    """Apply what is missing and possible, in one transaction; returns the names applied.

    Raises SettingsError when the database records another text under the same name; psycopg2.Error."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
        cursor.execute(CREATE_RECORD)
        cursor.execute("SELECT name, sha256 FROM schema_migrations")
        recorded: dict[str, str] = dict(cursor.fetchall())
        for migration in migrations():
            if recorded.get(migration.name, migration.sha256) != migration.sha256:
                raise SettingsError(
                    f"migrating the database: {migration.name} was applied from another text than this version has; "
                    "use the version of liqcascade that made these tables, or another database"
                )
        missing = [one for one in migrations() if one.name not in recorded and one.feature in {"", *features}]
        for migration in missing:
            _apply(cursor, migration)
        return [migration.name for migration in missing]


def _apply(cursor: Cursor, migration: Migration) -> None:
    cursor.execute(migration.text)
    cursor.execute("INSERT INTO schema_migrations (name, sha256) VALUES (%s, %s)", (migration.name, migration.sha256))


def find_features(connection: Connection) -> set[str]:
    """Which of `timescaledb` and `community` this database has. Raises psycopg2.Error."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'")
        if cursor.fetchone() is None:
            return set()
        cursor.execute("SELECT current_setting('timescaledb.license', true)")
        found = cursor.fetchone()
        return {"timescaledb", "community"} if found and found[0] == "timescale" else {"timescaledb"}


def create_extension(connection: Connection) -> str:
    """Make TimescaleDB in this database where the server has it; returns why not, or "".

    To be called on a connection of its own: a library that is not preloaded ends the session."""
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'")
            if cursor.fetchone() is None:
                return "the server does not have the extension timescaledb"
            cursor.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except psycopg2.Error as exc:
        return " ".join(str(exc).split())
    return ""
