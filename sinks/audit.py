"""What of given records a store holds, and how often: the store's side of the audit.

A kind that is not in `AUDITS` cannot be asked."""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from runtime.clock import wall_clock_ms
from schemas.errors import StoreUnavailable
from schemas.records import AssetState, CascadeAlert, Record
from schemas.topics import ALERTS, LIQUIDATIONS, STATE, Topic
from schemas.words import StateKind
from sinks import postgres
from sinks.archive import OFFSETS_FOLDER
from sinks.configs import ConnectorConfig
from sinks.connector import Position
from sinks.keys import KEYS, key_of
from sinks.offsets import Offsets as NextOffsets
from sinks.offsets import OffsetsFile
from sinks.redis import connect, errors
from sinks.redis_plan import STREAM_ALERTS_MAX, offset_key
from sinks.redis_sums import BUCKET_MS, TTL_MS
from sinks.tables import TABLES
from sinks.webhook import is_wanted

HOUR_MS: Final = 3_600_000
FETCH_ROWS: Final = 10_000
EXPIRES_SOON_MS: Final = 60_000  # a key may go while it is asked for

Id = tuple[Any, ...]


class Entry(NamedTuple):
    """Where the record with an id lies in its topic, and what decides where it is in a store.

    `alert`: the record itself, where it is one."""

    partition: int
    offset: int
    append_time_ms: int
    event_time_ms: int
    asset: str
    alert: CascadeAlert | None = None


class Held(NamedTuple):
    """What a store has. `kept_no_longer`: ids that it is right not to hold any more; `wrong`: what disagrees in it."""

    counts: Counter[Id]
    kept_no_longer: set[Id]
    wrong: list[str]


Entries = Mapping[Id, Entry]
Audit = Callable[[ConnectorConfig, Topic, str, Entries], Held]
Offsets = Callable[[ConnectorConfig, Collection[Position]], dict[Position, int]]


def identity_of(record: Record) -> Id | None:
    """What tells a record from the others of its topic; of states, of which the latest counts, the asset.

    None: no sink lands it."""
    if isinstance(record, AssetState):
        return (record.asset,) if record.kind is StateKind.ASSET else None
    return key_of(record)


def timescale_offsets(config: ConnectorConfig, positions: Collection[Position]) -> dict[Position, int]:
    """The next offset of each position that has one. Raises StoreUnavailable."""
    with _database(config) as connection, connection.cursor() as cursor:
        if not _is_there(cursor, "sink_offsets"):
            return {}
        cursor.execute("SELECT topic, partition, next_offset FROM sink_offsets WHERE sink = %s", (config.name,))
        return {(topic, partition): offset for topic, partition, offset in cursor.fetchall()}


def timescale_held(config: ConnectorConfig, topic: Topic, name: str, entries: Entries) -> Held:
    """Rows in the hours of the entries. Raises StoreUnavailable."""
    assert topic.record is not None, "sinks land records"
    table, keys = TABLES[topic.record], KEYS[topic.record]
    columns = [
        sql.SQL("(extract(epoch FROM event_time) * 1000)::bigint") if key == "event_time_ms" else sql.Identifier(key)
        for key in keys
    ]
    select = sql.SQL(
        "SELECT {} FROM {} WHERE {time} >= to_timestamp(0) + %s * interval '1 millisecond'"
        " AND {time} < to_timestamp(0) + %s * interval '1 millisecond'"
    ).format(
        sql.SQL(", ").join(columns), sql.Identifier(table.name), time=sql.Identifier(table.columns[0][0])
    )  # fmt: skip
    counts: Counter[Id] = Counter()
    with _database(config) as connection:
        with connection.cursor() as asking:
            if not _is_there(asking, table.name):
                return Held(counts, set(), [])
        for number, (from_ms, to_ms) in enumerate(_hours(entries)):
            with connection.cursor(name=f"audit{number}") as cursor:
                cursor.itersize = FETCH_ROWS
                cursor.execute(select, (from_ms, to_ms))
                counts.update(row for row in cursor if row in entries)
    return Held(counts, set(), [])


def redis_offsets(config: ConnectorConfig, positions: Collection[Position]) -> dict[Position, int]:
    """The next offset of each position that has one. Raises StoreUnavailable."""
    settings, ordered = config.settings.redis, list(positions)
    with contextlib.closing(connect(settings)) as client, errors(settings, "reading offsets"):
        values: list[Any] = client.mget([offset_key(config.name, position) for position in ordered]) if ordered else []
    return {position: int(value) for position, value in zip(ordered, values, strict=True) if value is not None}


def redis_held(config: ConnectorConfig, topic: Topic, name: str, entries: Entries) -> Held:
    """Members of buckets, states, entries of the stream. Raises StoreUnavailable."""
    settings = config.settings.redis
    with contextlib.closing(connect(settings)) as client, errors(settings, f"auditing {name}"):
        if topic is LIQUIDATIONS:
            return _buckets(client, entries)
        if topic is ALERTS:
            return _stream(client, entries)
        assert topic is STATE, "all topics of the sink"
        gone = {key for key, one in entries.items() if one.append_time_ms + TTL_MS <= wall_clock_ms() + EXPIRES_SOON_MS}
        states = [key for key in entries if key not in gone]
        values = client.mget([f"state:{key[0]}" for key in states]) if states else []
        there = {key: 1 for key, value in zip(states, values, strict=True) if value is not None}
        return Held(Counter(there), gone, [])


def parquet_offsets(config: ConnectorConfig, positions: Collection[Position]) -> dict[Position, int]:
    """The next offset of each position that has one. Raises StoreUnavailable."""
    found = _in_file(config, config.settings.archive.folder / OFFSETS_FOLDER).of(positions)
    return {position: offset for position, offset in found.items() if offset is not None}


def parquet_held(config: ConnectorConfig, topic: Topic, name: str, entries: Entries) -> Held:
    """Rows of the files of the days of the entries. Raises StoreUnavailable."""
    assert topic.record is not None, "sinks land records"
    folder, keys = config.settings.archive.folder.absolute() / name, list(KEYS[topic.record])
    counts: Counter[Id] = Counter()
    for day in {datetime.fromtimestamp(one.event_time_ms / 1_000, UTC).date() for one in entries.values()}:
        for path in folder.glob(f"day={day}/*.parquet"):
            counts.update(key for key in _file_ids(path, keys) if key in entries)
    return Held(counts, set(), [])


def webhook_offsets(config: ConnectorConfig, positions: Collection[Position]) -> dict[Position, int]:
    """The next offset of each position that has one. Raises StoreUnavailable."""
    found = _in_file(config, config.settings.webhook.folder).of(positions)
    return {position: offset for position, offset in found.items() if offset is not None}


def webhook_held(config: ConnectorConfig, topic: Topic, name: str, entries: Entries) -> Held:
    """What the receiver has taken, as far as the sink's file remembers. Raises StoreUnavailable.

    Not kept are alerts that were too old, and those of kinds and levels that the settings do not ask for."""
    told = _in_file(config, config.settings.webhook.folder).told
    counts = Counter({key: 1 for key in entries if key[0] in told.ids})
    gone = {
        key
        for key, one in entries.items()
        if one.append_time_ms <= told.forgotten_ms
        or told.is_passed_over((name, one.partition), one.offset)
        or (one.alert is not None and not is_wanted(one.alert, config.settings.webhook))
    }
    return Held(counts, gone, [])


AUDITS: Final[dict[str, tuple[Offsets, Audit]]] = {
    "timescale": (timescale_offsets, timescale_held),
    "redis": (redis_offsets, redis_held),
    "parquet": (parquet_offsets, parquet_held),
    "webhook": (webhook_offsets, webhook_held),
}


def _in_file(config: ConnectorConfig, folder: Path) -> NextOffsets:
    """What a sink's file of offsets says; nothing where there is none yet."""
    file = OffsetsFile(folder.absolute(), config.name)
    if not file.exists:
        return NextOffsets()
    with file.locked("reading the offsets of"):
        return file.read()


@contextlib.contextmanager
def _database(config: ConnectorConfig) -> Iterator[Connection]:
    settings = config.settings.database
    with (
        contextlib.closing(postgres.connect(settings)) as connection,
        postgres.errors(settings, "auditing the tables"),
    ):
        yield connection


def _is_there(cursor: Cursor, table: str) -> bool:
    """The tables are made by the first worker that opens the store."""
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (table,))
    row: tuple[bool, ...] | None = cursor.fetchone()
    return row == (True,)


def _hours(entries: Entries) -> Iterator[tuple[int, int]]:
    """The hours in which the entries happened, neighbours joined."""
    hours = sorted({one.event_time_ms // HOUR_MS for one in entries.values()})
    while hours:
        first = last = hours.pop(0)
        while hours and hours[0] == last + 1:
            last = hours.pop(0)
        yield first * HOUR_MS, (last + 1) * HOUR_MS


def _buckets(client: Any, entries: Entries) -> Held:
    minutes: dict[tuple[str, int], list[Id]] = defaultdict(list)
    for key, one in entries.items():
        minutes[one.asset, min(one.event_time_ms, one.append_time_ms) // BUCKET_MS].append(key)
    counts, gone, wrong = Counter[Id](), set[Id](), list[str]()
    now_ms = wall_clock_ms() + EXPIRES_SOON_MS
    for (asset, minute), ids in minutes.items():
        if (minute + 1) * BUCKET_MS + TTL_MS <= now_ms:
            gone.update(ids)
            continue
        with client.pipeline(transaction=True) as pipeline:
            pipeline.smembers(f"liq:seen:{asset}:{minute}")
            pipeline.hgetall(f"liq:bucket:{asset}:{minute}")
            seen, fields = pipeline.execute()
        counts.update(key for key in ids if key[0] in seen)
        counted = sum(int(count) for field, count in fields.items() if field.endswith(":events"))
        if counted != len(seen):
            wrong.append(f"liq:bucket:{asset}:{minute} counts {counted} events of {len(seen)} ids")
    return Held(counts, gone, wrong)


def _stream(client: Any, entries: Entries) -> Held:
    rows = client.xrange("alerts")
    counts = Counter((fields["alert_id"],) for _, fields in rows if (fields["alert_id"],) in entries)
    gone: set[Id] = set()
    if len(rows) >= STREAM_ALERTS_MAX:  # trimmed: what was appended before the oldest entry landed may be gone
        oldest_ms = int(rows[0][0].partition("-")[0])
        gone = {key for key, one in entries.items() if one.append_time_ms <= oldest_ms and key not in counts}
    return Held(counts, gone, [])


def _file_ids(path: Path, keys: list[str]) -> Iterator[Id]:
    try:
        table = pq.read_table(path, columns=keys, partitioning=None)
    except (OSError, pa.ArrowInvalid) as exc:
        raise StoreUnavailable(f"auditing the archive: {path} cannot be read ({exc}); restore or remove it") from exc
    return zip(*(table.column(key).to_pylist() for key in keys), strict=True)
