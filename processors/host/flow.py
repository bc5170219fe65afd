"""One partition from its restored state on: fold, hold back, publish, let ticks in, write the state down.

A flow lives on the event loop and never waits itself. What it publishes goes through `_outbox` in the order of the log;
what comes after a journal entry waits in it until the broker has the entry, so nothing shows that a replay could not
know.
Any delivery that fails ends the flow: the host starts the partition again from its last state in the topic."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Final

import msgspec
import structlog

from processors.detector import Outputs
from processors.host import metrics
from processors.host.fold import Consumed, Fold
from processors.host.outbox import Outbox, Outgoing
from processors.host.places import BASE_HEADER, EPOCH_HEADER, PLACES_HEADER, letter_id
from processors.host.publisher import Publisher, Report
from processors.host.recovery import Recovered
from processors.journal import merged
from schemas.codec import Codec
from schemas.errors import LiqcascadeError
from schemas.headers import SENT_HEADER
from schemas.records import DetectorSnapshot, JournalBaseline, JournalContext, JournalEntry
from schemas.topics import DEAD_LETTERS, JOURNAL, LIQUIDATIONS, SNAPSHOTS, STATE, WINDOWS, TopicNames
from schemas.words import JournalKind

QUIET_TICK_MS: Final = 1_000  # 30 bytes a second of journal
HELD_MAX: Final = 5_000  # outputs that wait for the broker, 4 MB: two runs of 500 in which every event gives five
PLAIN: Final = (STATE, WINDOWS)  # handed over many at once, which leaves no room for headers
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Snapshot:
    """State captured at `position` or, of single assets, later: what `left` gives until it is None. Then `rows` shrinks
    as they are sent, from when all that it knows of is confirmed: `ready`."""

    position: int
    next_sequence: int
    headers: Sequence[tuple[str, bytes]]
    own: DetectorSnapshot
    left: Iterator[DetectorSnapshot] | None
    rows: deque[tuple[bytes, bytes]] = field(default_factory=deque)
    unconfirmed: int = 0
    ready: bool = False


class Flow:
    """The flow of one partition. `on_covered(partition, offset)`: a restart may begin there; `on_failed(flow, why)`."""

    def __init__(
        self,
        partition: int,
        detector: Fold,
        recovered: Recovered,
        *,
        publisher: Publisher,
        codec: Codec,
        names: TopicNames,
        on_covered: Callable[[int, int], None],
        on_failed: Callable[["Flow", str], None],
    ) -> None:
        self.partition, self._detector = partition, detector
        self._publisher, self._codec, self._names = publisher, codec, names
        self._on_covered, self._on_failed = on_covered, on_failed
        self.position = recovered.position  # next offset of the log
        self.closed = False
        self.unreported = 0  # records handed to the producer of which nothing is known yet
        self._epoch, self._base = recovered.epoch, recovered.base
        self._pending = deque(recovered.entries)
        self._published = recovered.published
        self._catch_up_to = recovered.end  # a former owner was at most here
        self._places, self._places_now = recovered.places, dict(recovered.ends)
        self._journal_end = recovered.ends[JOURNAL.name]
        self._outbox = Outbox(self._send)
        self._snapshot: Snapshot | None = None
        self._covered = (-1, -1)
        self._duplicates = metrics.DUPLICATES.labels(partition)  # to find a label costs more than to set it
        self._forgotten = metrics.FORGOTTEN.labels(partition)
        self._apply_due()

    @property
    def replaying(self) -> bool:
        """Whether it is still where a former owner may have been: nothing new but the log itself is let in."""
        return bool(self._pending) or self.position < self._catch_up_to

    @property
    def held(self) -> int:
        """Outputs that wait for room in the producer or for a journal entry."""
        return len(self._outbox)

    @property
    def wants_ticks(self) -> bool:
        """Whether silence would change anything, or T has stood still for long: who reads signals.state is to see that
        the partition is alive."""
        silent_ms = self._publisher.clock.now_ms() - self._detector.log_time_ms
        return self._detector.wants_ticks or silent_ms >= QUIET_TICK_MS

    def fold(self, run: Sequence[Consumed]) -> None:
        """Fold consecutive records; those below `position` are dropped, the first other must stand at it or after
        a stretch of the log in which there is nothing."""
        first = next((i for i, record in enumerate(run) if record.offset >= self.position), len(run))
        if self.closed or first == len(run):
            return
        metrics.RUNS.inc()
        for part in merged(run[first:], self._pending):
            if isinstance(part, JournalEntry):
                self._emit(self._detector.apply(part))
            else:
                self._fold(part)
        self.skip_to(run[-1].offset + 1)
        self._let_baselines_in()

    def skip_to(self, offset: int) -> None:
        """There is nothing to fold before `offset`."""
        self.position = max(self.position, offset)
        self._apply_due()
        if self._published and not self.replaying:
            self._published.clear()  # what is left was published before the state was captured
        self.pump()

    def tick(self) -> None:
        """Let the broker's time in, as far as it is known here; the log's own time never goes back."""
        now_ms = max(self._publisher.clock.now_ms(), self._detector.log_time_ms)
        self._journal(JournalKind.TICK, append_time_ms=now_ms)
        self._let_baselines_in()

    def let_in(self, context: JournalContext) -> bool:
        """Let a record of another topic in; False when the producer has no room: try again."""
        return self._journal(JournalKind.CONTEXT, context=context)

    def pump(self) -> None:
        """Send what may be sent, in order."""
        if not self.closed:
            self._outbox.pump()

    def capture(self, assets_max: int | None = None) -> bool:
        """Take the state, to be written once all that it knows of is confirmed: of so many assets at most, None of all.
        Returns whether there are more to take. Nothing is begun while the last state is on its way."""
        if self._snapshot is None:
            self._begin_capture()
        snapshot = self._snapshot
        if snapshot is None or snapshot.left is None or self.closed:
            return False
        taken = 0
        for row in islice(snapshot.left, assets_max):
            snapshot.rows.append((row.asset.encode(), self._codec.encode(SNAPSHOTS, row)))
            taken += 1
        if taken == assets_max:
            return True
        snapshot.left = None
        key = f"partition/{self.partition}".encode()
        snapshot.rows.append((key, self._codec.encode(SNAPSHOTS, snapshot.own)))  # last: it is the oldest

        def ready() -> None:
            snapshot.ready = True
            self.write()

        self._outbox.when_confirmed(ready)
        return False

    def _begin_capture(self) -> None:
        at = (self.position, self._detector.next_sequence)
        if at == self._covered or self.closed:
            return
        places = self._places if self.replaying else self._places_now
        headers = (
            (EPOCH_HEADER, str(self._epoch).encode()),
            (BASE_HEADER, str(self._base).encode()),
            (PLACES_HEADER, msgspec.json.encode({**places, LIQUIDATIONS.name: self.position})),
        )
        left = self._detector.snapshots()
        self._snapshot = Snapshot(*at, headers, next(left), left)

    @property
    def settled(self) -> bool:
        """Whether the last captured state covers everything and the broker has it."""
        return self._covered == (self.position, self._detector.next_sequence) and self._outbox.empty

    def write(self) -> None:
        """Send rows of a captured state that is ready, while the producer has room."""
        snapshot = self._snapshot
        while snapshot is not None and snapshot.ready and snapshot.rows and not self.closed:
            (key, value), headers, name = snapshot.rows[0], snapshot.headers, self._names.of(SNAPSHOTS)
            if not self._publisher.send(name, self.partition, key, value, self._row_report, headers, urgent=False):
                return
            snapshot.rows.popleft()
            snapshot.unconfirmed += 1
            self.unreported += 1
            metrics.SNAPSHOT_ROWS.inc()
            metrics.SNAPSHOT_BYTES.inc(len(value))

    def close(self) -> None:
        """Publish nothing from now on."""
        self.closed = True
        self._outbox.clear()

    def _fold(self, run: Sequence[Consumed]) -> None:
        outputs, refused = self._detector.fold_log(run)
        for offset, reason in refused:
            self._refuse(next(record for record in run if record.offset == offset), reason)
        metrics.EVENTS.inc(len(run) - len(refused))
        self._duplicates.set(self._detector.duplicates)
        self._forgotten.set(self._detector.ids_forgotten)
        self._emit(outputs)

    def _apply_due(self) -> None:
        while self._pending and self._pending[0].after_offset < self.position:
            self._emit(self._detector.apply(self._pending.popleft()))

    def _emit(self, outputs: Outputs) -> None:
        for topic, messages in outputs.by_topic(self._is_published if self._published else None):
            self._outbox.put(topic, messages)
        self.pump()

    def _is_published(self, output_id: str) -> bool:
        """Whether a former owner has published it, which is asked once."""
        if output_id not in self._published:
            return False
        self._published.discard(output_id)
        metrics.SUPPRESSED.inc()
        return True

    def _refuse(self, record: Consumed, why: LiqcascadeError) -> None:
        metrics.REFUSED.inc()
        source = self._names.of(LIQUIDATIONS)
        log.warning("liquidation refused", partition=self.partition, offset=record.offset, reason=str(why))
        if self._is_published(letter_id(self.partition, record.offset)):
            return
        headers = (
            ("reason", str(why).encode()),
            ("partition", str(self.partition).encode()),
            ("offset", str(record.offset).encode()),
        )
        self._outbox.put(DEAD_LETTERS, [{"key": source, "value": record.value}], headers)

    def _send(self, outgoing: Outgoing) -> int:
        topic = outgoing.topic
        partition, name = self.partition if topic.by_asset else 0, self._names.of(topic)
        report = partial(self._sent_report, outgoing)
        if topic in PLAIN:
            taken = self._publisher.send_batch(name, partition, outgoing.messages, report)
        else:
            taken = 0
            headers = (*outgoing.headers, (SENT_HEADER, b"%d" % (time.time_ns() // 1_000)))
            for message in outgoing.messages:
                key, value = message["key"].encode(), message["value"]
                if not self._publisher.send(name, partition, key, value, report, headers):
                    break
                taken += 1
        self.unreported += taken
        metrics.outputs(topic.name).inc(taken)
        return taken

    def _sent_report(self, outgoing: Outgoing, report: Report) -> None:
        topic = outgoing.topic.name
        if not self._reported(report, topic):
            return
        if report.offset >= 0:  # else where it was before, which a restart may begin at too
            self._places_now[topic] = report.offset + 1
        outgoing.unconfirmed.confirm(report.records)

    def _let_baselines_in(self) -> None:
        """Once an hour of T; what the producer has no room for is let in later."""
        if self.closed or self.replaying:
            return
        for baseline in self._detector.due_baselines():
            if not self._journal(JournalKind.BASELINE, baseline=baseline):
                return
        self._detector.baselines_asked()

    def _journal(
        self,
        kind: JournalKind,
        *,
        append_time_ms: int | None = None,
        context: JournalContext | None = None,
        baseline: JournalBaseline | None = None,
    ) -> bool:
        if self.closed:
            return True
        assert not self.replaying, "a replay lets nothing new in"
        entry = JournalEntry(
            partition=self.partition,
            epoch=self._epoch,
            sequence=self._detector.next_sequence,
            after_offset=self._detector.next_offset - 1,
            kind=kind,
            append_time_ms=append_time_ms,
            context=context,
            baseline=baseline,
        )

        def report(report: Report) -> None:
            if not self._reported(report, JOURNAL.name):
                return
            if report.offset != self._journal_end:
                self._fail(f"another worker wrote to its journal at offset {self._journal_end}")
                return
            self._journal_end += 1
            self._places_now[JOURNAL.name] = self._journal_end
            self._outbox.pass_entry(unconfirmed)
            self.pump()

        key, value = str(self.partition).encode(), self._codec.encode(JOURNAL, entry)
        if not self._publisher.send(self._names.of(JOURNAL), self.partition, key, value, report):
            return False
        self.unreported += 1
        unconfirmed = self._outbox.put_entry()
        metrics.JOURNALED.labels(kind.value).inc()
        self._emit(self._detector.apply(entry))
        return True

    def _row_report(self, report: Report) -> None:
        snapshot = self._snapshot
        if not self._reported(report, SNAPSHOTS.name) or snapshot is None:
            return
        snapshot.unconfirmed -= 1
        if not snapshot.rows and not snapshot.unconfirmed:
            self._snapshot = None
            self._covered = (snapshot.position, snapshot.next_sequence)
            self._on_covered(self.partition, snapshot.position)

    def _reported(self, report: Report, topic: str) -> bool:
        """Count a report; False when the flow has ended or ends by it."""
        self.unreported -= report.records
        if report.error:
            self._fail(f"publishing to {topic}: {report.error}")
        return not self.closed

    def _fail(self, why: str) -> None:
        if not self.closed:
            self.close()
            self._on_failed(self, why)
