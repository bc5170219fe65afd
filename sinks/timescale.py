"""PostgreSQL and TimescaleDB: liquidations, open interest, funding, health, windows and alerts as rows, exactly once.

Rows and offsets go in one transaction and rows have natural keys: COPY into a temporary table, INSERT of the new."""

import contextlib
import io
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Final

import structlog
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from schemas.errors import RecordRefused, StoreUnavailable
from schemas.records import Liquidation
from schemas.topics import ALERTS, FEED_HEALTH, FUNDING, LATE, LIQUIDATIONS, OPEN_INTEREST, WINDOWS, Topic
from sinks import migrations, postgres, tables
from sinks.background import Background
from sinks.connector import Batch, Connector, Position
from sinks.settings import SinkSettings

RETENTION_DAYS: Final = {
    "liquidations": 365,
    "open_interest": 90,
    "funding": 365,
    "feed_health": 30,
    "windows": 30,
    "alerts": 365,
}
RETENTION_THERE: Final = "SELECT hypertable_name FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention'"
INSERT_OFFSETS: Final = """
INSERT INTO sink_offsets (sink, topic, partition, next_offset)
SELECT %s, topic, partition, next_offset
FROM unnest(%s::text[], %s::int[], %s::bigint[]) AS m (topic, partition, next_offset)
ON CONFLICT DO NOTHING"""
UPDATE_OFFSETS: Final = """
UPDATE sink_offsets AS o SET next_offset = m.next_offset, updated_time = now()
FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[]) AS m (topic, partition, next_offset, expected)
WHERE o.sink = %s AND o.topic = m.topic AND o.partition = m.partition AND o.next_offset = m.expected"""
# A batch does not wait for the disk: a server that crashes loses the newest transactions whole, rows and offsets.
# `flush` waits once for all of them, since a commit that waits covers those before it; it has to write something.
ASYNCHRONOUS: Final = "SET synchronous_commit TO off"
SYNCHRONOUS: Final = "SET LOCAL synchronous_commit TO DEFAULT"  # as the server or the role has it
TOUCH: Final = "UPDATE sink_offsets SET updated_time = now() WHERE sink = %s AND topic = %s AND partition = %s"
# The range is there so that only the chunks that hold it are looked at.
MARK_LATE: Final = """
UPDATE liquidations AS l SET late = true
FROM staging_liquidations AS s
WHERE s.late AND NOT l.late AND l.event_id = s.event_id
  AND l.event_time = to_timestamp(0) + s.event_time * interval '1 millisecond'
  AND l.event_time >= to_timestamp(0) + %s * interval '1 millisecond'
  AND l.event_time <= to_timestamp(0) + %s * interval '1 millisecond'"""

log = structlog.get_logger()


class TimescaleSink(Connector):
    """Tables of sinks/sql. On a server without TimescaleDB the same tables, said loudly."""

    kind: ClassVar[str] = "timescale"
    topics: ClassVar[tuple[Topic, ...]] = (
        LIQUIDATIONS, LATE, OPEN_INTEREST, FUNDING, FEED_HEALTH, WINDOWS, ALERTS,
    )  # fmt: skip
    sections: ClassVar[tuple[str, ...]] = ("database",)
    flush_ms: ClassVar[int] = 1_000

    def __init__(self, settings: SinkSettings, *, name: str = "") -> None:
        """Connects to nothing yet."""
        super().__init__(settings, name=name)
        self._settings = settings.database
        self._connection: Connection | None = None
        self._background = Background(f"{self.name} transactions")
        self._next: dict[Position, int | None] = {}
        # Every commit empties all staging tables of the session, half a millisecond each: only what is used is made.
        self._staged: set[tables.Table] = set()
        self._unsynced = self._warned = False

    @classmethod
    def validate(cls, settings: SinkSettings) -> dict[str, str]:
        """See the contract."""
        problem = postgres.problem_of(settings.database)
        return {"database.url": problem} if problem else {}

    def open(self, partitions: Collection[Position]) -> Mapping[Position, int]:
        """Connect, migrate, and read the offsets. See the contract."""
        self.close()
        with contextlib.closing(postgres.connect(self._settings)) as connection:
            reason = migrations.create_extension(connection)
        connection = postgres.connect(self._settings)
        self._connection, self._staged = connection, set()
        try:
            with postgres.errors(self._settings, "preparing the tables"):
                features = migrations.find_features(connection)
                applied = migrations.migrate(connection, features)
                _set_retention(connection, features, wanted=self._settings.retention)
                with connection, connection.cursor() as cursor:
                    cursor.execute(ASYNCHRONOUS)
                    cursor.execute(
                        "SELECT topic, partition, next_offset FROM sink_offsets WHERE sink = %s", (self.name,)
                    )
                    stored = {(topic, partition): offset for topic, partition, offset in cursor.fetchall()}
        except RecordRefused as exc:  # no record is in play here: rows that are there do not fit a new constraint
            raise StoreUnavailable(str(exc)) from exc
        if applied:
            log.info("migrated", sink=self.name, applied=applied)
        self._warn(features, reason)
        self._next = {position: stored.get(position) for position in partitions}
        return self.flush()

    def put(self, batch: Batch) -> None:
        """One transaction, which runs while the next batch is read. See the contract."""
        records, next_offsets = batch.records, batch.next_offsets
        assert next_offsets, "a put moves offsets"
        assert self._next.keys() >= next_offsets.keys(), "open() with these positions first"
        connection = self._connection
        assert connection is not None, "open() first"
        lines: dict[tables.Table, list[str]] = defaultdict(list)
        for record in records:
            table = tables.table_of(record)
            lines[table].append(table.line(record))
        late_ms = [
            row.event_time_ms
            for record in records
            if record.topic is LATE and isinstance(row := record.record, Liquidation)
        ]
        texts = {table: _text(rows) for table, rows in lines.items()}
        self._unsynced = True  # what lands may not be on the disk
        self._background.do(lambda: self._land(connection, texts, late_ms, next_offsets))

    def flush(self) -> Mapping[Position, int]:
        """Wait for the transactions, and for the disk behind the last of them. See the contract."""
        self._background.wait()
        landed = {position: offset for position, offset in self._next.items() if offset is not None}
        connection = self._connection
        if self._unsynced and landed:
            assert connection is not None, "it took what is to be kept"
            with postgres.errors(self._settings, "flushing"), connection, connection.cursor() as cursor:
                cursor.execute(SYNCHRONOUS)
                cursor.execute(TOUCH, (self.name, *next(iter(landed))))
            self._unsynced = False
        return landed

    def _land(
        self,
        connection: Connection,
        texts: Mapping[tables.Table, bytes],
        late_ms: Sequence[int],
        next_offsets: Mapping[Position, int],
    ) -> None:
        """One transaction, in the thread of `_background`."""
        with (
            postgres.errors(self._settings, f"landing in {len(texts)} tables"),
            connection,
            connection.cursor() as cursor,
        ):
            self._move(cursor, next_offsets)
            for table, text in texts.items():
                if table not in self._staged:
                    cursor.execute(table.create_staging())
                cursor.copy_expert(table.copy(), io.BytesIO(text), size=COPY_BYTES)
                cursor.execute(table.insert())
            if late_ms:
                cursor.execute(MARK_LATE, (min(late_ms), max(late_ms)))
        self._staged.update(texts)
        self._next.update(next_offsets)

    def check(self) -> None:
        """One round trip. See the contract."""
        connection = self._connection
        assert connection is not None, "open() first"
        self._background.wait()
        with postgres.errors(self._settings, "checking the connection"), connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    def close(self) -> None:
        """See the contract."""
        self._background.close()
        self._background = Background(f"{self.name} transactions")
        connection, self._connection, self._unsynced = self._connection, None, False
        if connection is not None:
            with contextlib.suppress(Exception):  # it may be broken in any way; the next open makes a new one
                connection.close()

    def _move(self, cursor: Cursor, next_offsets: Mapping[Position, int]) -> None:
        """Move the offsets, which locks them: of two workers one waits here and then sees that it was overtaken."""
        new = sorted(position for position in next_offsets if self._next[position] is None)
        known = sorted(position for position in next_offsets if self._next[position] is not None)
        moved = 0
        for positions, statement in ((new, INSERT_OFFSETS), (known, UPDATE_OFFSETS)):
            if not positions:
                continue
            topics, partitions = [topic for topic, _ in positions], [partition for _, partition in positions]
            offsets = [next_offsets[position] for position in positions]
            if statement is INSERT_OFFSETS:
                cursor.execute(statement, (self.name, topics, partitions, offsets))
            else:
                expected = [self._next[position] for position in positions]
                cursor.execute(statement, (topics, partitions, offsets, expected, self.name))
            moved += cursor.rowcount
        if moved != len(next_offsets):
            raise StoreUnavailable(
                f"moving {len(next_offsets)} offsets at {postgres.address(self._settings)}: "
                f"{len(next_offsets) - moved} were moved by another worker; reading them again"
            )

    def _warn(self, features: Collection[str], reason: str) -> None:
        if self._warned or "community" in features:
            return
        self._warned = True
        if "timescaledb" in features:
            log.warning("no compression and no retention", sink=self.name, reason="TimescaleDB of the Apache licence")
        else:
            log.warning("PLAIN POSTGRESQL: no hypertables, no compression, no retention", sink=self.name, reason=reason)


COPY_BYTES: Final = 1 << 20  # a batch in one or a few reads


def _text(rows: list[str]) -> bytes:
    try:
        return "".join(rows).encode()
    except UnicodeEncodeError as exc:
        raise RecordRefused(f"landing {len(rows)} rows: a text is not Unicode: {exc}") from exc


def _set_retention(connection: Connection, features: Collection[str], *, wanted: bool) -> None:
    if "community" not in features:
        return
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (migrations.LOCK_KEY,))
        cursor.execute(RETENTION_THERE)
        there = {table for (table,) in cursor.fetchall()}
        for table, days in RETENTION_DAYS.items():  # what stands already is left: a change waits for a job that runs
            if wanted and table not in there:
                cursor.execute(
                    "SELECT add_retention_policy(%s::regclass, make_interval(days => %s), if_not_exists => true)",
                    (table, days),
                )
            elif not wanted and table in there:
                cursor.execute("SELECT remove_retention_policy(%s::regclass, if_exists => true)", (table,))
