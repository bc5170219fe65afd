"""One connection to PostgreSQL, and the one border at which its errors become ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg2
from psycopg2.extensions import connection as Connection

from schemas.errors import RecordRefused, SettingsError, StoreUnavailable
from sinks.settings import DatabaseSettings

CONNECT_S_MAX: Final = 5
STATEMENT_MS_MAX: Final = 30_000  # a batch of 10,000 rows takes a quarter second; two orders above is a sick server
LOCK_MS_MAX: Final = 5_000
SILENCE_MS_MAX: Final = 10_000  # a peer that answers nothing for so long is gone
# SQLSTATEs that speak of a value: data exception, integrity constraint violation. All others speak of the server.
VALUE_CLASSES: Final = ("22", "23")
REASON_CHARACTERS_MAX: Final = 500
NO_URL: Final = "database.url is not a PostgreSQL URL; write postgresql://user:password@host:port/database"


def connect(settings: DatabaseSettings) -> Connection:
    """A connection whose every wait has a limit. Raises StoreUnavailable; SettingsError for an URL that is none."""
    with errors(settings, "connecting"):
        return psycopg2.connect(
            settings.url.get_secret_value(),
            connect_timeout=CONNECT_S_MAX,
            application_name="liqcascade",
            keepalives_idle=SILENCE_MS_MAX // 2_000,
            keepalives_interval=1,
            keepalives_count=SILENCE_MS_MAX // 2_000,
            tcp_user_timeout=SILENCE_MS_MAX,
            options=f"-c statement_timeout={STATEMENT_MS_MAX} -c lock_timeout={LOCK_MS_MAX} -c timezone=UTC",
        )


def problem_of(settings: DatabaseSettings) -> str:
    """What is wrong with the URL as such, or ""."""
    try:
        psycopg2.extensions.parse_dsn(settings.url.get_secret_value())
    except psycopg2.ProgrammingError:  # its message may quote the password
        return NO_URL
    return ""


@contextmanager
def errors(settings: DatabaseSettings, doing: str) -> Iterator[None]:
    """Map psycopg2's errors: a refused value is a RecordRefused, everything else a StoreUnavailable.

    A full disk, a read-only server, a missing table or right are the operator's matter, not the record's: with those in
    the dead letters, good records would follow them."""
    try:
        yield
    except psycopg2.ProgrammingError as exc:
        if exc.pgcode is None and "dsn" in str(exc):  # libpq could not read the URL; its message may quote the password
            raise SettingsError(NO_URL) from None
        raise StoreUnavailable(_sentence(settings, doing, exc)) from exc
    except psycopg2.Error as exc:
        if (exc.pgcode or "")[:2] in VALUE_CLASSES:
            raise RecordRefused(_sentence(settings, doing, exc)) from exc
        raise StoreUnavailable(_sentence(settings, doing, exc)) from exc


def _sentence(settings: DatabaseSettings, doing: str, exc: psycopg2.Error) -> str:
    reason = " ".join(str(exc).split())[:REASON_CHARACTERS_MAX]
    code = f" (SQLSTATE {exc.pgcode})" if exc.pgcode else ""
    return f"{doing} at {address(settings)}: {reason}{code}"


def address(settings: DatabaseSettings) -> str:
    """host:port/database of the URL, without user and password."""
    try:
        parts: dict[str, Any] = psycopg2.extensions.parse_dsn(settings.url.get_secret_value())
    except psycopg2.ProgrammingError:
        return "database.url"
    return f"{parts.get('host', 'the local socket')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"
