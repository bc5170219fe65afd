"""Records -> lines of PostgreSQL's COPY text format, and the tables they go to. No connection, no clock.

Source of the format: postgresql.org/docs/current/sql-copy.html, "Text Format"."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Final

import msgspec
from psycopg2 import sql

from schemas.errors import RecordRefused
from schemas.records import CascadeAlert, FeedHealth, Funding, Liquidation, OpenInterest, Record, WindowAggregate
from schemas.topics import LATE
from sinks.connector import SinkRecord

NULL: Final = r"\N"
ESCAPES: Final = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
# Times travel as whole numbers; the server makes timestamps of them. Exact: a product under 2^53 microseconds.
EXPRESSIONS: Final = {
    "time_ms": "to_timestamp(0) + {column} * interval '1 millisecond'",
    "time_us": "CASE WHEN {column} > 0 THEN to_timestamp(0) + {column} * interval '1 microsecond' END",
}


@dataclass(frozen=True, eq=False)  # hashed by identity, once a record
class Table:
    """One table: its columns with their types, `time_ms` and `time_us` for times, and the line of a record."""

    name: str
    key: str
    columns: tuple[tuple[str, str], ...]
    line: Callable[[SinkRecord], str]

    @property
    def staging(self) -> str:
        """Name of the temporary table that a batch is copied into."""
        return f"staging_{self.name}"

    def create_staging(self) -> sql.Composed:
        """A temporary table of plain types, emptied at the end of every transaction."""
        return sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DELETE ROWS").format(
            sql.Identifier(self.staging),
            sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL("bigint" if kind.startswith("time_") else kind))
                for name, kind in self.columns
            ),
        )

    def copy(self) -> sql.Composed:
        """COPY of all columns, by name, into the staging table."""
        return sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(self.staging), self._names())

    def insert(self) -> sql.Composed:
        """Rows of the staging table whose natural key is new."""
        values = [
            sql.SQL(EXPRESSIONS.get(kind, "{column}")).format(column=sql.Identifier(name))
            for name, kind in self.columns
        ]
        return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT DO NOTHING").format(
            sql.Identifier(self.name), self._names(), sql.SQL(", ").join(values), sql.Identifier(self.staging)
        )

    def _names(self) -> sql.Composed:
        return sql.SQL(", ").join(sql.Identifier(name) for name, _ in self.columns)


def table_of(record: SinkRecord) -> Table:
    """The table that a record lands in."""
    return TABLES[type(record.record)]


def micro_usd(notional_usd: float) -> int:
    """USD -> whole micro-USD. Raises RecordRefused when it is no finite number that eight bytes hold."""
    try:
        notional_uusd = round(notional_usd * 1e6)
    except (OverflowError, ValueError) as exc:
        raise RecordRefused(f"notional_usd: {notional_usd} is not a finite number") from exc
    if abs(notional_uusd) >= 2**63:
        raise RecordRefused(f"notional_usd: {notional_usd} is over nine trillion USD")
    return notional_uusd


def _liquidation(record: SinkRecord) -> str:
    row = record.record
    assert isinstance(row, Liquidation)
    cells = (
        str(row.event_time_ms), _text(row.event_id), row.exchange, _text(row.asset), _text(row.instrument), row.market,
        row.side, repr(row.price), repr(row.quantity), repr(row.notional_usd), str(micro_usd(row.notional_usd)),
        row.price_kind, row.completeness, str(row.received_time_us), str(record.append_time_ms),
        "t" if row.backlog else "f", "t" if record.topic is LATE else "f",
    )  # fmt: skip
    return "\t".join(cells) + "\n"


def _other(record: SinkRecord) -> str:
    return "\t".join(map(_cell, _getter_of(type(record.record))(record))) + "\n"


@cache
def _getter_of(kind: type[Record]) -> Callable[[SinkRecord], tuple[object, ...]]:
    """What the columns of its table name; the append time is the log's where a record does not hold one."""
    fields = [FIELDS.get(name, name) for name, _ in TABLES[kind].columns]
    is_own = "append_time_ms" in kind.__struct_fields__
    return attrgetter(*(name if name == "append_time_ms" and not is_own else f"record.{name}" for name in fields))


def _cell(value: object) -> str:
    match value:
        case None:
            return NULL
        case str():
            return _text(value)
        case int() | float():
            return repr(value)
        case _:
            return _json(value)


def _text(value: str) -> str:
    return value if value.isprintable() and "\\" not in value else value.translate(ESCAPES)


def _json(value: object) -> str:
    return _text(msgspec.json.encode(value).decode())


FIELDS: Final = {  # where a column does not have its field's name
    "event_time": "event_time_ms",
    "append_time": "append_time_ms",
    "received_time": "received_time_us",
    "next_funding_time": "next_funding_time_ms",
    "since_time": "since_ms",
    "window_start": "window_start_ms",
    "window_end": "window_end_ms",
}

OF_A_CONTRACT: Final = (
    ("event_time", "time_ms"),
    ("event_id", "text"),
    ("exchange", "text"),
    ("asset", "text"),
    ("instrument", "text"),
    ("market", "text"),
)
LIQUIDATIONS: Final = Table(
    name="liquidations",
    key="event_id",
    columns=(
        *OF_A_CONTRACT,
        ("side", "text"),
        ("price", "double precision"),
        ("quantity", "double precision"),
        ("notional_usd", "double precision"),
        ("notional_uusd", "bigint"),
        ("price_kind", "text"),
        ("completeness", "text"),
        ("received_time", "time_us"),
        ("append_time", "time_ms"),
        ("backlog", "boolean"),
        ("late", "boolean"),
    ),
    line=_liquidation,
)
WINDOWS: Final = Table(
    name="windows",
    key="window_id",
    columns=(
        ("window_start", "time_ms"),
        ("window_id", "text"),
        ("asset", "text"),
        ("size_ms", "integer"),
        ("window_end", "time_ms"),
        ("events", "bigint"),
        ("long_events", "bigint"),
        ("short_events", "bigint"),
        ("notional_usd", "double precision"),
        ("long_notional_usd", "double precision"),
        ("short_notional_usd", "double precision"),
        ("exchanges", "jsonb"),
        ("source_partition", "integer"),
        ("source_offset", "bigint"),
        ("append_time", "time_ms"),
    ),
    line=_other,
)
ALERTS: Final = Table(
    name="alerts",
    key="alert_id",
    columns=(
        ("event_time", "time_ms"),
        ("alert_id", "text"),
        ("episode_id", "text"),
        ("sequence", "integer"),
        ("asset", "text"),
        ("kind", "text"),
        ("profile", "text"),
        ("level", "text"),
        ("previous_level", "text"),
        ("peak_level", "text"),
        ("absolute_level", "text"),
        ("relative_level", "text"),
        ("relative_ratio", "double precision"),
        ("side", "text"),
        ("probability", "double precision"),
        ("boost", "double precision"),
        ("contributions", "jsonb"),
        ("windows", "jsonb"),
        ("exchanges", "jsonb"),
        ("leading_exchange", "text"),
        ("first_mover", "text"),
        ("correlation", "double precision"),
        ("correlation_lag_ms", "bigint"),
        ("open_interest_change_1m_pct", "double precision"),
        ("open_interest_change_5m_pct", "double precision"),
        ("open_interest_change_1h_pct", "double precision"),
        ("open_interest_usd_per_s", "double precision"),
        ("funding_rate_8h", "double precision"),
        ("funding_trend", "double precision"),
        ("funding_max_24h", "double precision"),
        ("funding_velocity_per_h", "double precision"),
        ("funding_acceleration_per_h2", "double precision"),
        ("flags", "jsonb"),
        ("coverage", "jsonb"),
        ("confidence", "double precision"),
        ("market_breadth", "integer"),
        ("source_partition", "integer"),
        ("source_offset", "bigint"),
        ("append_time", "time_ms"),
    ),
    line=_other,
)
OPEN_INTEREST: Final = Table(
    name="open_interest",
    key="event_id",
    columns=(
        *OF_A_CONTRACT,
        ("open_interest", "double precision"),
        ("open_interest_usd", "double precision"),
        ("received_time", "time_us"),
        ("append_time", "time_ms"),
    ),
    line=_other,
)
FUNDING: Final = Table(
    name="funding",
    key="event_id",
    columns=(
        *OF_A_CONTRACT,
        ("rate", "double precision"),
        ("interval_hours", "double precision"),
        ("rate_8h", "double precision"),
        ("next_funding_time", "time_ms"),
        ("settled", "boolean"),
        ("received_time", "time_us"),
        ("append_time", "time_ms"),
    ),
    line=_other,
)
FEED_HEALTH: Final = Table(
    name="feed_health",
    key="event_time",
    columns=(
        ("event_time", "time_ms"),
        ("exchange", "text"),
        ("channel", "text"),
        ("state", "text"),
        ("since_time", "time_ms"),
        ("expected_gap_ms", "bigint"),
        ("lag_p50_ms", "double precision"),
        ("lag_p99_ms", "double precision"),
        ("clock_offset_ms", "double precision"),
        ("detail", "text"),
        ("append_time", "time_ms"),
    ),
    line=_other,
)
TABLES: Final[dict[type[Record], Table]] = {
    Liquidation: LIQUIDATIONS,
    OpenInterest: OPEN_INTEREST,
    Funding: FUNDING,
    FeedHealth: FEED_HEALTH,
    WindowAggregate: WINDOWS,
    CascadeAlert: ALERTS,
}
