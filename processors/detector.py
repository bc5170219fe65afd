"""The detector of one partition: a pure fold over its liquidations and its journal. No clock, no Kafka, no asyncio.

The same two logs give the same outputs, byte for byte, however the runs are cut and wherever a snapshot was taken.
One record is folded in this order: T moves; tumbling windows that became final are closed (by end, size, asset);
levels whose hold is over fall (by asset); once a second of T a progress record; the event, its alert, its state. A
record whose id came within ten minutes before it moves T and nothing else."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from processors.baselines import baseline_of, know_from, use_baseline
from processors.cascade.coverage import NOT_SEEN, Coverage
from processors.cascade.level import NONE
from processors.cascade.relative import HOUR_MS
from processors.in_force import changed, tree_of
from processors.outputs.output import WRITTEN, Output, Outputs
from processors.outputs.states import ALERT_MAX
from processors.outputs.words import ALERTS, STATES, new_out, put_coverage
from processors.settings import DetectorSettings
from processors.snapshots import (
    FORMAT,
    PARTITION_ROW,
    PartitionState,
    check_format,
    read_asset,
    read_partition,
    settings_of,
    write_asset,
)
from processors.windows.intake import Read, Refused, read_run
from processors.windows.kernel import CHECK, NEW_TAPE, RUN_ENDS, fold_run, meet, tick
from processors.windows.layout import LONG_AGO, NEVER, NO_PARTITION, Array
from processors.windows.reference import Holder
from processors.windows.run import Consumed, LogRun
from processors.windows.seen import DOUBLED, FORGOTTEN, IDS_FIRST, Seen, new_seen, note_run, with_room
from processors.windows.sources import InterestFigures
from processors.windows.store import Delivered, Store
from schemas.codec import Codec
from schemas.errors import SchemaError, SettingsError
from schemas.records import (
    AssetState,
    CascadeAlert,
    DetectorSnapshot,
    FeedHealth,
    Funding,
    JournalBaseline,
    JournalContext,
    JournalEntry,
    Liquidation,
    OpenInterest,
    Record,
)
from schemas.topics import FEED_HEALTH, FUNDING, LIQUIDATIONS, OPEN_INTEREST, SETTINGS
from schemas.words import EXCHANGE_SLOTS, Exchange, JournalKind, Market

__all__ = ["Consumed", "Delivered", "Detector", "Output", "Outputs", "Refused"]

LIQUIDATION_CHANNEL: Final = "liquidation"
CHECKED: Final = (STATES, ALERTS)  # whose figures custom rules are over
CONTEXT_KINDS: Final[dict[str, type[Record]]] = {
    FEED_HEALTH.name: FeedHealth,
    OPEN_INTEREST.name: OpenInterest,
    FUNDING.name: Funding,
}


class Detector:
    """Folds one partition. New, or after `restore`; then `fold` and `apply` in the order of the logs."""

    def __init__(
        self,
        settings: DetectorSettings,
        *,
        partition: int | None,
        codec: Codec | None = None,
    ) -> None:
        self.settings = settings
        self.partition = partition
        self.next_offset = 0
        self.next_sequence = 0
        self.contexts_refused = 0  # records of context that did not decode
        self._codec = codec or Codec()
        self._epoch = 0
        self._coverage = Coverage()
        self._store = Store(settings, partition=partition, headers=[self._codec.header(topic) for topic in WRITTEN])
        self._seen = new_seen(IDS_FIRST)
        self._ids = Holder(Seen)
        self._clock = self._store.clock
        self._clock["tapes"] = NOT_SEEN
        self._flags_bytes = int(self._store.words.flag_ends.sum())
        self._asked_hour = LONG_AGO  # of T, in which baselines were last measured
        self._see()

    @property
    def log_time_ms(self) -> int:
        """T: running maximum of append time and ticks, ms; 0 before the first record."""
        return int(self._clock[0]["now_ms"])

    @property
    def wants_ticks(self) -> bool:
        """Whether an asset has an open window or episode, so that silence must be let in."""
        assets = self._store.assets[: len(self._store.names)]
        return bool((assets["closes_ms"] < NEVER).any() or (assets["level"] > NONE).any())

    def open_interest(self, asset: str) -> dict[tuple[Exchange, Market], InterestFigures]:
        """Changes of an asset's open interest by exchange and market, as they stand at T."""
        if asset not in self._store.names:
            return {}
        row = self._store.row(asset)
        now_ms = max(self.log_time_ms, int(self._store.assets["context_ms"][row]))
        return self._store.sources.interest(row, now_ms)

    @property
    def duplicates(self) -> int:
        """Liquidations that came within ten minutes of one with the same id and did not count, since the start."""
        return int(self._seen.counts[DOUBLED])

    @property
    def ids_forgotten(self) -> int:
        """Ids that were forgotten before ten minutes had passed, because there were too many."""
        return int(self._seen.counts[FORGOTTEN])

    def remember(self, run: LogRun) -> None:
        """After `restore`: the liquidations of the ten minutes before `next_offset`, run by run. Duplicates are told by
        their ids; nothing else of them counts."""
        events = self._read(run).events
        note_run(len(events), self._store.state, self._ids.hold(self._seen))
        self._seen.counts[FORGOTTEN:] = 0

    def last_events(self, asset: str) -> Array:
        """The last 1,000 events of an asset that counted since the start, oldest first (`layout.LAST`, 18 bytes)."""
        return self._store.last_events(asset)

    def state_bytes(self) -> int:
        """Memory of the assets' state, the ids of the last ten minutes aside."""
        return self._store.nbytes()

    def fold(self, run: Sequence[Delivered]) -> list[Output]:
        """Fold liquidations in the order of their offsets; those below `next_offset` are dropped.

        Raises RecordRefused, and has folded nothing, when a record cannot be summed (see `store.why_refused`)."""
        encode = self._codec.encode
        outputs, refused = self._fold(
            LogRun(
                [offset for offset, _, _ in run],
                [append_time_ms for _, append_time_ms, _ in run],
                [encode(LIQUIDATIONS, liquidation) for _, _, liquidation in run],
            ),
            refuse=True,
        )
        if refused:
            raise refused[0].reason
        return list(outputs)

    def fold_log(self, run: Sequence[Consumed]) -> tuple[Outputs, list[Refused]]:
        """The same for records as they stand in the log, best a `LogRun`; those that cannot be read or summed are named
        beside."""
        return self._fold(run if isinstance(run, LogRun) else LogRun.of(run), refuse=False)

    def _fold(self, run: LogRun, *, refuse: bool) -> tuple[Outputs, list[Refused]]:
        outputs = Outputs(self._store.keys)
        if run and run.offsets[0] < self.next_offset:
            run = run[bisect_left(run.offsets, self.next_offset) :]
        if not run:
            return outputs, []
        read = self._read(run)
        if read.refused and refuse:
            return outputs, read.refused
        self._make_room()
        at, why = 0, RUN_ENDS
        count = len(read.events)
        note_run(count, self._store.state, self._ids.hold(self._seen))
        while True:
            at, why = fold_run(count, read.data, at, self._store.state)
            if why == RUN_ENDS:
                break
            if why == NEW_TAPE:
                self._see()
            elif why == CHECK:
                self._check(outputs)
            else:
                self._take(outputs)
        outputs.take(self._store.out)
        if count:
            self.next_offset = int(read.events["offset"][-1]) + 1
        return outputs, read.refused

    def _read(self, run: LogRun) -> Read:
        read = read_run(run, self._store, self._codec.header(LIQUIDATIONS), self._decode_liquidation)
        self._seen = with_room(self._seen, len(read.events))
        return read

    def apply(self, entry: JournalEntry) -> Outputs:
        """Apply the next entry of the journal; one that was applied before, or of a replaced owner, gives nothing."""
        outputs = Outputs(self._store.keys)
        if entry.epoch < self._epoch or entry.sequence < self.next_sequence:
            return outputs
        self._epoch = entry.epoch
        self.next_sequence = entry.sequence + 1
        if entry.kind is JournalKind.TICK and entry.append_time_ms is not None:
            self._tick(entry.append_time_ms, entry.sequence, outputs)
        elif entry.kind is JournalKind.CONTEXT and entry.context is not None:
            self._let_in(entry.context, entry.sequence)
        elif entry.kind is JournalKind.BASELINE and entry.baseline is not None:
            self._put_in_force(entry.baseline, entry.sequence)
        return outputs

    def due_baselines(self) -> list[JournalBaseline]:
        """Baselines of the relative profile from the whole hour of T on, by asset, for the journal to put in force.

        Each is due until an entry has put it in force, and `baselines_asked` was called. They depend on the hour alone,
        not on where in it they are asked for."""
        hour = self.log_time_ms // HOUR_MS
        if hour <= self._asked_hour:
            return []
        store, found = self._store, []
        for row in sorted(range(len(store.names)), key=store.names.__getitem__):
            if int(store.weeks[row]["hour"]) < hour:
                baseline = baseline_of(store, row, hour)
                if baseline is not None:
                    found.append(baseline)
        return found

    def baselines_asked(self) -> None:
        """All that were due are in the journal: none are for the rest of the hour of T."""
        self._asked_hour = self.log_time_ms // HOUR_MS

    def know_from(self, time_ms: int) -> list[str]:
        """After a fold that began in the middle of the log: the assets whose week is known from `time_ms` on only."""
        return know_from(self._store, time_ms)

    def snapshot(self) -> list[DetectorSnapshot]:
        """Rows of the assets that changed since the last call, and last the partition's own row."""
        own, *assets = self.snapshots()
        return [*assets, own]

    def snapshots(self) -> Iterator[DetectorSnapshot]:
        """The same one by one, the partition's own row first, each as it is when it is asked for: what is folded
        meanwhile makes rows of assets newer than the partition's, which `restore` allows."""
        yield self._partition_row()
        store = self._store
        for row in np.flatnonzero(store.assets[: len(store.names)]["dirty"]).tolist():
            store.assets[row]["dirty"] = False
            yield self._snapshot_row(store.names[row], write_asset(store, row))

    def _partition_row(self) -> DetectorSnapshot:
        clock = self._clock[0]
        state = PartitionState(
            now_ms=int(clock["now_ms"]),
            epoch=self._epoch,
            progress_s=int(clock["progress_s"]),
            tapes=clock["tapes"].tolist(),
            feeds=dict(sorted(self._coverage.feeds.items())),
            settings=msgspec.json.encode(tree_of(self.settings)),
        )
        return self._snapshot_row(PARTITION_ROW, msgspec.msgpack.encode(state))

    def restore(self, rows: Iterable[DetectorSnapshot]) -> None:
        """Take the state of snapshots, in any order; go on from `next_offset` and `next_sequence` after it, and after
        `remember`.

        An asset's row may be newer than the partition's: what it has seen is then skipped for this asset alone.
        Raises SchemaError for a row of another format or of other sizes of window; the detector is of no use then."""
        assert not self._store.names, "only a new detector restores"
        for snapshot in rows:
            if snapshot.asset != PARTITION_ROW:
                read_asset(self._store, snapshot)
                continue
            check_format(snapshot)
            state = read_partition(snapshot)
            self.next_offset, self.next_sequence = snapshot.next_offset, snapshot.next_sequence
            self._clock["offset"] = self.next_offset - 1
            self._clock["now_ms"], self._clock["tapes"] = state.now_ms, state.tapes
            self._clock["progress_s"] = state.progress_s
            self._epoch = state.epoch
            self._coverage.feeds = dict(state.feeds)
            self.settings = settings_of(snapshot, state, self.settings)
        self._store.use(self.settings)
        self._see()

    def _snapshot_row(self, asset: str, state: bytes) -> DetectorSnapshot:
        return DetectorSnapshot(
            asset=asset,
            partition=NO_PARTITION if self.partition is None else self.partition,
            format=FORMAT,
            next_offset=self.next_offset,
            next_sequence=self.next_sequence,
            state=state,
        )

    def _tick(self, tick_ms: int, sequence: int, outputs: Outputs) -> None:
        """T moves to `tick_ms`; the assets that are not quiet are judged at tick_lag_ms before it."""
        self._clock["now_ms"] = max(self.log_time_ms, tick_ms)
        if self.log_time_ms >= self._clock[0]["stale_ms"]:
            self._see()
        self._make_room()
        while not tick(sequence, self._store.state):
            self._take(outputs)
        outputs.take(self._store.out)
        if self._clock[0]["checks"]:
            self._check(outputs)

    def _check(self, outputs: Outputs) -> None:
        """Evaluate the custom rules of assets that were published; one that is met may raise the level."""
        store = self._store
        outputs.take(store.out)
        rows = store.checks[: int(self._clock[0]["checks"])].tolist()
        self._clock["checks"] = 0
        for row in rows:
            record = outputs.newest(row, CHECKED).record
            assert isinstance(record, AssetState | CascadeAlert)
            met, rank = store.custom[store.assets[row]["rule"]].met(record)
            if met:
                meet(row, met, rank, store.state)
                outputs.take(store.out)

    def _put_in_force(self, baseline: JournalBaseline, sequence: int) -> None:
        row = self._store.row(baseline.asset)
        if self._store.assets["next_sequence"][row] <= sequence:
            use_baseline(self._store, row, baseline)

    def _let_in(self, context: JournalContext, sequence: int) -> None:
        """Take a record of another topic; what does not decode or fit is counted, the same in every replay."""
        if context.topic == SETTINGS.name:
            self._change(context)
            return
        kind = CONTEXT_KINDS.get(context.topic)
        if kind is None:
            return
        try:
            record = self._codec.decode(kind, context.value)
        except SchemaError:
            self.contexts_refused += 1
            return
        if isinstance(record, FeedHealth):
            if record.channel == LIQUIDATION_CHANNEL and record.exchange is not Exchange.UNKNOWN:
                self._coverage.hear(record.exchange, record.state, context.append_time_ms)
                self._see()
            return
        assert isinstance(record, OpenInterest | Funding)
        row = self._store.row(record.asset)
        if self._store.assets["next_sequence"][row] > sequence:
            return  # its snapshot holds it already
        if not self._store.sources.hear(row, self._store.assets, record, context.append_time_ms):
            self.contexts_refused += 1

    def _change(self, context: JournalContext) -> None:
        """Take a record of settings; one that does not fit is counted and changes nothing."""
        try:
            settings = changed(self.settings, context.key.decode(errors="replace"), context.value).settings
        except SettingsError:
            self.contexts_refused += 1
            return
        if settings != self.settings:
            self.settings = settings
            self._store.use(settings)

    def _see(self) -> None:
        """Tell the compiled code what is known of the exchanges."""
        clock, coverage = self._clock[0], self._coverage
        clock["stale_ms"] = coverage.see(clock["tapes"].tolist(), self.log_time_ms)
        clock["known"] = 0
        for exchange in coverage.exchanges:
            clock["known"][EXCHANGE_SLOTS[exchange]] = 1
        clock["told"] = coverage.confidence(correlated=True, correlation_weight=0.0)
        put_coverage(self._store.words, coverage.exchanges)

    def _make_room(self) -> None:
        """Say how much one event may write: an alert and a state."""
        self._clock["room"] = 2 * (ALERT_MAX + self._flags_bytes + 3 * self._store.name_max)

    def _take(self, outputs: Outputs) -> None:
        """Take outputs away; where there was none, the buffer is too small."""
        if not self._store.out.counts[0]:
            self._store.out = new_out(2 * len(self._store.out.data))
        outputs.take(self._store.out)

    def _decode_liquidation(self, value: bytes) -> Liquidation:
        return self._codec.decode(Liquidation, value)
