"""Both logs of one partition as they stand in the topics, folded from a place in the past on.

Blocking. Liquidations that cannot be folded are left out, as the live host leaves them to the dead letters."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Final, NamedTuple

from processors.detector import Outputs
from processors.host.fold import Fold
from processors.in_force import ALL
from processors.journal import Journal, interleaved
from processors.lead_in import LeadIn
from runtime.kafka import topic_names
from runtime.log_reader import LogReader, LogRecord
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import SchemaError
from schemas.records import CascadeAlert, JournalEntry
from schemas.topics import ALERTS, JOURNAL, LIQUIDATIONS, SETTINGS, Topic
from schemas.words import Exchange, JournalKind, Side

RUN_MAX: Final = 500  # records folded at once
LASTING_MS_FIRST: Final = 2 * 3_600_000  # a live owner writes all that lasts once an hour
LASTING_MS_MAX: Final = 8 * 24 * 3_600_000  # a baseline is of the last week
CLOCKS_MS_MAX: Final = 60_000  # by which the clocks of two brokers may differ
BACK_FIRST: Final = 10_000  # records; doubled until every exchange was met
Told = Callable[[int], None]


class Span(NamedTuple):
    """Offsets [start, end) of one partition."""

    start: int
    end: int


class Past:
    """The topics of one partition. Every method raises BrokerUnavailable, at once when `ending` is set.

    `asking`: the reader that is asked for offsets, for those who look at many partitions; None: a new one each time."""

    def __init__(
        self,
        kafka: KafkaSettings,
        codec: Codec,
        partition: int,
        *,
        ending: threading.Event,
        asking: LogReader | None = None,
    ) -> None:
        self._kafka, self._codec, self._ending, self._asking = kafka, codec, ending, asking
        self._names, self.partition = topic_names(kafka), partition

    def span(self, topic: Topic, from_ms: int, to_ms: int | None = None) -> Span:
        """Offsets of the records from `from_ms` until before `to_ms`, or to the end as it is now."""
        new = LogReader(self._kafka, {}, ending=self._ending) if self._asking is None else nullcontext(self._asking)
        with new as reader:
            name = self._names.of(topic)
            low, end = reader.bounds(name, self.partition)
            start = max(low, min(end, reader.offset_at(name, self.partition, from_ms)))
            if to_ms is not None:
                end = min(end, reader.offset_at(name, self.partition, to_ms))
            return Span(start, max(start, end))

    def read(self, topic: Topic, span: Span) -> Iterator[LogRecord]:
        """The records of a span, in order."""
        if span.start >= span.end:
            return
        place = self._names.of(topic), self.partition
        with LogReader(self._kafka, {place: span.start}, ending=self._ending) as reader:
            for record in reader.to_end():
                if record.offset >= span.end:
                    return
                yield record

    def last(self, topic: Topic) -> LogRecord | None:
        """The newest record."""
        end = self.span(topic, 0).end
        return next(self.read(topic, Span(max(0, end - 1), end)), None)

    def begins_ms(self, topic: Topic) -> int:
        """Time of the oldest record that is kept, or 0."""
        return next((record.timestamp for record in self.read(topic, self.span(topic, 0))), 0)

    def alerts(self, span: Span) -> Iterator[CascadeAlert]:
        """The alerts of a span; what is none is passed over."""
        for record in self.read(ALERTS, span):
            try:
                yield self._codec.decode(CascadeAlert, record.value or b"")
            except SchemaError:
                continue  # another program's

    def entries(self, span: Span) -> Iterator[tuple[int, JournalEntry]]:
        """The journal's entries of a span that count, with their offsets. Raises SchemaError, naming the place."""
        journal = Journal()
        for record in self.read(JOURNAL, span):
            try:
                entry = self._codec.decode(JournalEntry, record.value or b"")
            except SchemaError as exc:
                place = f"{record.topic}/{record.partition} at offset {record.offset}"
                raise SchemaError(f"replaying {place}: {exc}; the journal cannot be replayed") from exc
            if journal.counts(entry):
                yield record.offset, entry

    def _log(self, span: Span) -> Iterator[LogRecord]:
        """The liquidations of a span, and before them the last one of each exchange: it says how complete a tape is."""
        yield from self._last_of_exchanges(span.start)
        yield from self.read(LIQUIDATIONS, span)

    def _led(self, entries: Iterable[JournalEntry], span: Span, from_ms: int) -> Iterator[JournalEntry]:
        """The entries of a span; before them time passes, so that no window of what came before it is open any more."""
        if span.start:
            yield JournalEntry(
                partition=self.partition,
                epoch=0,
                sequence=0,
                after_offset=span.start - 1,
                kind=JournalKind.TICK,
                append_time_ms=from_ms,
            )
            yield from self._lasting(from_ms)
        yield from entries

    def _lasting(self, until_ms: int) -> list[JournalEntry]:
        """What was put in force before and may be in force still: settings, and the newest baseline of each asset.

        An hour that brings any baseline brings those of all assets, unless its owner was cut off: so it is sought back
        in growing steps, until two such hours and the settings of all assets are met."""
        end = self.span(JOURNAL, until_ms - CLOCKS_MS_MAX).start
        back_ms = LASTING_MS_FIRST
        while True:
            settings: list[JournalEntry] = []
            baselines: dict[str, JournalEntry] = {}
            hours: set[int] = set()
            for _, entry in self.entries(Span(self.span(JOURNAL, until_ms - back_ms).start, end)):
                if entry.context is not None and entry.context.topic == SETTINGS.name:
                    settings.append(entry)
                elif entry.baseline is not None:
                    baselines[entry.baseline.asset] = entry
                    hours.add(entry.baseline.append_time_ms)
            is_whole = any(one.context is not None and one.context.key == ALL.encode() for one in settings)
            if (is_whole and len(hours) > 1) or back_ms >= LASTING_MS_MAX:
                return sorted([*settings, *baselines.values()], key=lambda entry: entry.sequence)
            back_ms = min(4 * back_ms, LASTING_MS_MAX)

    def _last_of_exchanges(self, end: int) -> list[LogRecord]:
        """Read back in growing steps until every exchange was met, or to the oldest record."""
        kind, found = LIQUIDATIONS.record, dict[str, LogRecord]()
        assert kind is not None
        low, step = self.span(LIQUIDATIONS, 0).start, BACK_FIRST
        while end > low and len(found) < len(Exchange) - 1:
            start, newest = max(low, end - step), dict[str, LogRecord]()
            for record in self.read(LIQUIDATIONS, Span(start, end)):
                try:
                    plain = self._codec.decode_plain(kind, record.value or b"")
                except SchemaError:
                    continue
                if plain["side"] != Side.UNKNOWN:  # else it was refused
                    newest[plain["exchange"]] = record
            found, end, step = newest | found, start, 2 * step
        return sorted(found.values(), key=lambda record: record.offset)

    def fold(
        self,
        detector: Fold,
        liquidations: Span,
        entries: Iterable[JournalEntry],
        *,
        from_ms: int,
        told: Told | None = None,
    ) -> Iterator[Outputs]:
        """Fold liquidations, which begin at `from_ms`, with the entries that stand between them; `told(n)`: so many
        records more were folded."""
        led = self._led(entries, liquidations, from_ms)
        for part in interleaved(self._log(liquidations), led, run_max=RUN_MAX):
            if isinstance(part, JournalEntry):
                yield detector.apply(part)
            else:
                yield detector.fold_log(part)[0]  # what is refused stands in the dead letters
            if told is not None:
                told(1 if isinstance(part, JournalEntry) else len(part))


def is_within(alert: CascadeAlert, from_ms: int, to_ms: int | None) -> bool:
    """Whether an alert belongs to a range, by its own time; None: to the end."""
    return from_ms <= alert.append_time_ms and (to_ms is None or alert.append_time_ms < to_ms)


def is_due(entry: JournalEntry, lead: LeadIn) -> bool:
    """Whether a fold with this lead-in needs the entry: ticks before its last part only make time pass."""
    is_tick = entry.kind is JournalKind.TICK and entry.append_time_ms is not None
    return not is_tick or (entry.append_time_ms or 0) >= lead.from_ms
