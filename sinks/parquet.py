"""Parquet files by topic and day of the event, for whoever reads with Polars, DuckDB or pandas. See docs/archive.md.

What was put is held until `flush`, which writes a file for every topic and day and commits them with the offsets
(`sinks.archive`). The metadata of each file says which offsets it came from, so that the offsets can be found again."""

import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import RecordRefused, StoreUnavailable
from schemas.topics import ALERTS, FEED_HEALTH, FUNDING, LATE, LIQUIDATIONS, OPEN_INTEREST, WINDOWS, Topic
from sinks import rows
from sinks.archive import Archive
from sinks.connector import Batch, Connector, Position, SinkRecord
from sinks.keys import KEYS, key_of, refuse_what_cannot_be
from sinks.offsets import place_of
from sinks.settings import SinkSettings

SPANS_KEY: Final = b"liqcascade.offsets"  # of a file's metadata: JSON of `Spans`
HELD_MAX: Final = 100_000  # records in memory, 1 kB each: 100 MB; then they are written before their time
IDS_MAX: Final = 100_000  # known of each topic, 100 B each: 10 MB; ten minutes at 160 records/s
Id = tuple[Any, ...]


class Spans(msgspec.Struct, frozen=True):
    """Where the records of a file come from: [first offset, offset behind the last] by "topic/partition"."""

    sink: str
    offsets: dict[str, tuple[int, int]]


class ParquetSink(Connector):
    """A record that came twice is written once, as long as its id is among the last 100,000 of its topic."""

    kind: ClassVar[str] = "parquet"
    topics: ClassVar[tuple[Topic, ...]] = (LIQUIDATIONS, LATE, OPEN_INTEREST, FUNDING, FEED_HEALTH, WINDOWS, ALERTS)
    sections: ClassVar[tuple[str, ...]] = ("archive",)
    flush_ms: ClassVar[int] = 60_000

    def __init__(self, settings: SinkSettings, *, name: str = "") -> None:
        """Touches nothing yet."""
        super().__init__(settings, name=name)
        self._archive = Archive(settings.archive.folder.absolute(), self.name)
        self._stored: dict[Position, int | None] = {}  # as the archive has it
        self._next: dict[Position, int] = {}  # of what is held
        self._held: list[SinkRecord] = []
        self._ids: dict[str, dict[Id, None]] = {}  # known by full name of the topic, oldest first

    @classmethod
    def validate(cls, settings: SinkSettings) -> dict[str, str]:
        """Nothing: what lies at the folder is a matter of the machine that a task runs on, and `open` says it."""
        return {}

    def open(self, partitions: Collection[Position]) -> Mapping[Position, int]:
        """Read the offsets and the ids that a redelivery could bring again. See the contract."""
        self._forget()
        offsets = self._archive.open()
        if not offsets.next:
            offsets = self._archive.restore(self._found_in_files())
        self._stored = offsets.of(partitions)
        self._ids = {}
        for topic in sorted({topic for topic, _ in partitions}):
            again = {
                place_of(position): offsets.next[place_of(position)]
                for position in partitions
                if position[0] == topic
                and offsets.next.get(place_of(position), 0) < offsets.landed.get(place_of(position), 0)
            }
            self._ids[topic] = self._known(topic, again)
        return self.flush()

    def put(self, batch: Batch) -> None:
        """Hold the batch, and write when there is too much. See the contract."""
        assert batch.next_offsets, "a put moves offsets"
        assert self._stored.keys() >= batch.next_offsets.keys(), "open() with these positions first"
        for record in batch.records:
            refuse_what_cannot_be(record.record)
        self._held += batch.records
        self._next |= batch.next_offsets
        if len(self._held) >= HELD_MAX:
            self.flush()

    def flush(self) -> Mapping[Position, int]:
        """Write and commit what is held. See the contract."""
        if self._next:
            names: list[str] = []
            held, next_offsets = self._held, self._next
            self._forget()
            try:
                fresh = self._write(held, names)
                expected = {position: self._stored[position] for position in next_offsets}
                self._archive.commit(expected, next_offsets, names)
            except BaseException:
                self._archive.forget(names)
                raise
            self._stored |= next_offsets
            for topic, ids in fresh.items():
                known = self._ids.setdefault(topic, {})
                known |= ids
                for old in list(known)[: max(0, len(known) - IDS_MAX)]:
                    del known[old]
        return {position: offset for position, offset in self._stored.items() if offset is not None}

    def check(self) -> None:
        """See the contract."""
        self._archive.check()

    def close(self) -> None:
        """See the contract."""
        self._forget()

    def _forget(self) -> None:
        self._held, self._next = [], {}

    def _write(self, held: Iterable[SinkRecord], names: list[str]) -> dict[str, dict[Id, None]]:
        """Write what is new of the records, staged; appends to `names`. Returns the ids by topic."""
        fresh: dict[str, dict[Id, None]] = defaultdict(dict)
        files: dict[tuple[str, str], list[SinkRecord]] = defaultdict(list)
        for record in held:
            topic, identity = record.position[0], key_of(record.record)
            if identity not in self._ids.get(topic, {}) and identity not in fresh[topic]:
                fresh[topic][identity] = None
                files[topic, _day(rows.event_time_ms(record.record))].append(record)
        for (topic, day), records in files.items():
            name = f"{topic}/day={day}/{records[0].append_time_ms}-{secrets.token_hex(4)}.parquet"
            names.append(name)
            table = rows.table_of(records)
            table = table.replace_schema_metadata({SPANS_KEY: msgspec.json.encode(self._spans(records))})
            path = self._archive.stage(name)
            try:
                pq.write_table(table, path, compression="zstd")
            except OSError as exc:
                raise StoreUnavailable(f"writing {path}: {exc.strerror or exc}") from exc
        return fresh

    def _spans(self, records: Iterable[SinkRecord]) -> Spans:
        spans: dict[str, tuple[int, int]] = {}
        for record in records:
            key, at = place_of(record.position), record.offset
            first, end = spans.get(key, (at, at))
            spans[key] = (min(first, at), max(end, at + 1))
        return Spans(self.name, spans)

    def _known(self, topic: str, again: Mapping[str, int]) -> dict[Id, None]:
        """Ids in the newest files of a topic, and in all that hold what is to come `again` from an offset on."""
        known: list[list[Id]] = []
        count = 0
        for path in self._files(topic):
            if count >= IDS_MAX and not _reaches(self._read_spans(path), again):
                continue
            known.append(self._read_ids(path, topic))
            count += len(known[-1])
        return dict.fromkeys(identity for ids in reversed(known) for identity in ids)

    def _found_in_files(self) -> dict[str, int]:
        """The offsets that the files' metadata names."""
        found: dict[str, int] = {}
        for folder in {position[0] for position in self._stored} or self._topic_folders():
            for path in self._files(folder):
                for key, (_, end) in self._read_spans(path).items():
                    found[key] = max(end, found.get(key, 0))
        return found

    def _topic_folders(self) -> set[str]:
        return {path.name for path in self._archive.folder.iterdir() if path.is_dir() and not path.name.startswith("_")}

    def _files(self, topic: str) -> list[Path]:
        """The files of a topic, the one that was written last first."""
        return sorted(self._archive.folder.glob(f"{topic}/*/*.parquet"), key=lambda path: path.name, reverse=True)

    def _read_spans(self, path: Path) -> dict[str, tuple[int, int]]:
        try:
            metadata = pq.read_schema(path).metadata or {}
        except (OSError, pa.ArrowInvalid) as exc:
            raise StoreUnavailable(f"reading the archive: {path} cannot be read ({exc}); restore or remove it") from exc
        if SPANS_KEY not in metadata:
            return {}
        spans = msgspec.json.decode(metadata[SPANS_KEY], type=Spans)
        return spans.offsets if spans.sink == self.name else {}

    def _read_ids(self, path: Path, topic: str) -> list[Id]:
        kind = next(one.record for one in self.topics if topic.endswith(one.name))
        assert kind is not None, "a sink's topics hold records"
        names = list(KEYS[kind])
        try:
            table = pq.read_table(path, columns=names, partitioning=None)
        except (OSError, pa.ArrowInvalid) as exc:
            raise StoreUnavailable(f"reading the archive: {path} cannot be read ({exc}); restore or remove it") from exc
        return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


def _reaches(spans: Mapping[str, tuple[int, int]], again: Mapping[str, int]) -> bool:
    return any(spans[key][1] > at for key, at in again.items() if key in spans)


def _day(time_ms: int) -> str:
    try:
        return datetime.fromtimestamp(time_ms / 1_000, UTC).date().isoformat()
    except (OverflowError, ValueError, OSError) as exc:
        raise RecordRefused(f"archiving: event time {time_ms} ms is in no year that a calendar has") from exc
