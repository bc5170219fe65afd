"""The detector of one partition: a pure fold over its liquidations and its journal. No clock, no Kafka, no asyncio.

The same two logs give the same outputs, byte for byte, however the runs are cut and wherever a snapshot was taken.
One record is folded in this order: T moves; tumbling windows that became final are closed (by end, size, asset);
levels whose hold is over fall (by asset); once a second of T a progress record; the event, its alert, its state. A
record whose id came within ten minutes before it moves T and nothing else."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from processors.cascade import episode
from processors.cascade.coverage import NOT_SEEN, Coverage
from processors.cascade.level import NONE
from processors.records import Position, View, aggregate_of, alert_of, progress_of, state_of
from processors.settings import DetectorSettings
from processors.snapshots import (
    FORMAT,
    NO_PARTITION,
    PARTITION_ROW,
    PartitionState,
    check_format,
    read_asset,
    read_partition,
    write_asset,
)
from processors.windows.figures import NO_DATA, figures_of
from processors.windows.kernel import (
    ASSET_IS_DUE,
    CLOCK_IS_DUE,
    EVENT_IS_LATE,
    RAISE,
    RUN_ENDS,
    STATE,
    UPDATE,
    find_falls,
    fold_run,
    judge_tick,
    next_due_ms,
)
from processors.windows.layout import CELLS, CLOCK, LONG_AGO, NEVER, Array, rules_of
from processors.windows.panes import count_due, first_times, take_due
from processors.windows.seen import DOUBLED, FORGOTTEN, IDS_FIRST, new_seen, note_all, with_room
from processors.windows.sources import InterestFigures
from processors.windows.store import Delivered, Store, pack
from schemas.codec import Codec
from schemas.errors import SchemaError
from schemas.records import (
    CascadeAlert,
    DetectorSnapshot,
    FeedHealth,
    Funding,
    JournalContext,
    JournalEntry,
    OpenInterest,
    Record,
)
from schemas.topics import ALERTS, FEED_HEALTH, FUNDING, LATE, OPEN_INTEREST, PROGRESS_KEY, WINDOWS, Topic
from schemas.topics import STATE as STATES
from schemas.words import AlertKind, Exchange, JournalKind, Market

__all__ = ["Delivered", "Detector", "Output"]

LIQUIDATION_CHANNEL: Final = "liquidation"
CONTEXT_KINDS: Final[dict[str, type[Record]]] = {
    FEED_HEALTH.name: FeedHealth,
    OPEN_INTEREST.name: OpenInterest,
    FUNDING.name: Funding,
}


class Output(NamedTuple):
    """One record to publish, in the order of the log. `id`: of the alert, window or late event; "" for states, which
    are never deduplicated."""

    topic: Topic
    key: str
    record: Record
    id: str


class Detector:
    """Folds one partition. New, or after `restore`; then `fold` and `apply` in the order of the logs."""

    def __init__(
        self,
        settings: DetectorSettings,
        *,
        partition: int | None,
        decode: Callable[[type[Record], bytes], Record] | None = None,
    ) -> None:
        self.settings = settings
        self.partition = partition
        self.next_offset = 0
        self.next_sequence = 0
        self.contexts_refused = 0  # records of context that did not decode
        self._decode = decode or Codec().decode
        self._offset = -1  # of the liquidation that is being folded, or was last
        self._epoch = 0
        self._progress_s = LONG_AGO
        self._coverage = Coverage()
        self._flags = [window.flag for window in settings.windows]
        self._store = Store(settings)
        self._rules = rules_of(settings)
        self._seen = new_seen(IDS_FIRST)
        self._clock = np.zeros(1, CLOCK)
        self._clock["tapes"] = NOT_SEEN
        self._ends = np.zeros(len(settings.windows), np.int64)

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

    def remember(self, heard: Array) -> None:
        """After `restore`: ids (`id_of`) and append times [n, 2] of the liquidations of the ten minutes before
        `next_offset`, in the order of the log, without those that `fold` refuses. Duplicates are told by them."""
        self._seen = with_room(self._seen, len(heard))
        note_all(heard[:, 0], heard[:, 1], self._seen)
        self._seen.counts[FORGOTTEN:] = 0

    def state_bytes(self) -> int:
        """Memory of the assets' state, the ids of the last ten minutes aside."""
        return self._store.nbytes()

    def fold(self, run: Sequence[Delivered]) -> list[Output]:
        """Fold liquidations in the order of their offsets; those below `next_offset` are dropped.

        Raises RecordRefused, and has folded nothing, when a record cannot be summed (see `store.why_refused`)."""
        if run and run[0].offset < self.next_offset:
            run = [delivered for delivered in run if delivered.offset >= self.next_offset]
        if not run:
            return []
        packed = pack(run, self._store)
        self._seen = with_room(self._seen, len(run))
        offsets = packed["offset"]
        assert (offsets[1:] > offsets[:-1]).all(), "a run stands in the order of its offsets"
        outputs: list[Output] = []
        store, at = self._store, 0
        while True:
            at, why, what = fold_run(packed, at, self._seen, self._clock, *store.arrays, self._rules, self._ends)
            if why == RUN_ENDS:
                break
            self._offset = int(offsets[at])
            if why == CLOCK_IS_DUE:
                self._clock_is_due(outputs)
                continue
            if why == EVENT_IS_LATE:
                late = run[at].liquidation
                outputs.append(Output(LATE, late.asset, late, late.event_id))
            else:
                assert why == ASSET_IS_DUE
                self._asset_is_due(int(packed["asset"][at]), what, outputs)
            at += 1
        self._offset = int(offsets[-1])
        self.next_offset = self._offset + 1
        return outputs

    def apply(self, entry: JournalEntry) -> list[Output]:
        """Apply the next entry of the journal; one that was applied before, or of a replaced owner, gives nothing."""
        if entry.epoch < self._epoch or entry.sequence < self.next_sequence:
            return []
        self._epoch = entry.epoch
        self.next_sequence = entry.sequence + 1
        outputs: list[Output] = []
        if entry.kind is JournalKind.TICK and entry.append_time_ms is not None:
            self._tick(entry.append_time_ms, entry.sequence, outputs)
        elif entry.kind is JournalKind.CONTEXT and entry.context is not None:
            self._let_in(entry.context, entry.sequence)
        return outputs

    def snapshot(self) -> list[DetectorSnapshot]:
        """Rows of the assets that changed since the last call, and last the partition's own row."""
        store = self._store
        rows = []
        for row in np.flatnonzero(store.assets[: len(store.names)]["dirty"]).tolist():
            store.assets[row]["dirty"] = False
            rows.append(self._snapshot_row(store.names[row], write_asset(store, row)))
        clock = self._clock[0]
        state = PartitionState(
            now_ms=int(clock["now_ms"]),
            epoch=self._epoch,
            progress_s=self._progress_s,
            tapes=clock["tapes"].tolist(),
            feeds=dict(sorted(self._coverage.feeds.items())),
        )
        rows.append(self._snapshot_row(PARTITION_ROW, msgspec.msgpack.encode(state)))
        return rows

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
            self._offset = self.next_offset - 1
            self._clock["now_ms"], self._clock["tapes"] = state.now_ms, state.tapes
            self._epoch, self._progress_s = state.epoch, state.progress_s
            self._coverage.feeds = dict(state.feeds)

    def _snapshot_row(self, asset: str, state: bytes) -> DetectorSnapshot:
        return DetectorSnapshot(
            asset=asset,
            partition=NO_PARTITION if self.partition is None else self.partition,
            format=FORMAT,
            next_offset=self.next_offset,
            next_sequence=self.next_sequence,
            state=state,
        )

    def _tick(self, tick_ms: int, sequence: int, outputs: list[Output]) -> None:
        """T moves to `tick_ms`; the assets that are not quiet are judged at tick_lag_ms before it."""
        clock, store = self._clock[0], self._store
        now_ms = max(int(clock["now_ms"]), tick_ms)
        clock["now_ms"] = now_ms
        if now_ms >= clock["alarm_ms"]:
            self._clock_is_due(outputs)
        due = np.zeros(len(store.names), np.int64)
        if not judge_tick(now_ms, sequence, len(store.names), *store.arrays, self._rules, due):
            return
        judged = store.judged
        for row in sorted(np.flatnonzero(due).tolist(), key=store.names.__getitem__):
            self._ends[:] = LONG_AGO
            if due[row] & RAISE:
                pane_ms = int(store.sizes["pane_ms"][judged])
                self._ends[judged] = (now_ms - self.settings.tick_lag_ms) // pane_ms - 1
            self._asset_is_due(row, int(due[row]), outputs)

    def _let_in(self, context: JournalContext, sequence: int) -> None:
        """Take a record of another topic; what does not decode or fit is counted, the same in every replay."""
        kind = CONTEXT_KINDS.get(context.topic)
        if kind is None:
            return
        try:
            record = self._decode(kind, context.value)
        except SchemaError:
            self.contexts_refused += 1
            return
        if isinstance(record, FeedHealth):
            if record.channel == LIQUIDATION_CHANNEL and record.exchange is not Exchange.UNKNOWN:
                self._coverage.hear(record.exchange, record.state)
            return
        assert isinstance(record, OpenInterest | Funding)
        row = self._store.row(record.asset)
        if self._store.assets["next_sequence"][row] > sequence:
            return  # its snapshot holds it already
        if not self._store.sources.hear(row, self._store.assets, record, context.append_time_ms):
            self.contexts_refused += 1

    def _clock_is_due(self, outputs: list[Output]) -> None:
        """T passed the alarm: close windows, let levels fall, say how far the partition is, and set the next alarm."""
        now_ms = self.log_time_ms
        self._close_windows(now_ms, outputs)
        self._let_fall(now_ms, outputs)
        if now_ms // 1_000 > self._progress_s:
            self._progress_s = now_ms // 1_000
            partition = self.partition or 0
            outputs.append(Output(STATES, f"{PROGRESS_KEY}/{partition}", progress_of(self._position()), ""))
        self._set_alarm()

    def _set_alarm(self) -> None:
        store = self._store
        due_ms = next_due_ms(store.assets, len(store.names), self._rules)
        alarm_ms = min((self._progress_s + 1) * 1_000, due_ms)
        assert alarm_ms > self.log_time_ms, "all that is due was done"
        self._clock["alarm_ms"] = alarm_ms

    def _close_windows(self, now_ms: int, outputs: list[Output]) -> None:
        store = self._store
        count = len(store.names)
        places = count_due(now_ms, store.assets, count, store.sizes)
        if not places:
            return
        windows = np.zeros((places, 3), np.int64)
        events, micro_usd = np.zeros((places, CELLS), np.int64), np.zeros((places, CELLS), np.int64)
        closed = take_due(now_ms, store.assets, count, store.panes, store.sizes, windows, events, micro_usd)
        position = self._position()
        rows = windows[:closed].tolist()
        for i in sorted(range(closed), key=lambda i: (rows[i][0], rows[i][1], store.names[rows[i][2]])):
            end_ms, index, row = rows[i]
            size = self.settings.windows[index]
            record = aggregate_of(
                store.names[row],
                size.size_ms,
                end_ms,
                size.grace_ms,
                events[i].tolist(),
                micro_usd[i].tolist(),
                position,
            )
            outputs.append(Output(WINDOWS, record.asset, record, record.window_id))

    def _let_fall(self, now_ms: int, outputs: list[Output]) -> None:
        store = self._store
        ranks = np.empty(len(store.names), np.int64)
        if not find_falls(now_ms, store.assets, len(store.names), self._rules, ranks):
            return
        falling = np.flatnonzero(ranks < store.assets["level"][: len(ranks)]).tolist()
        for row in sorted(falling, key=store.names.__getitem__):
            asset, rank = store.scalars(row), int(ranks[row])
            previous = episode.fall(asset, rank)
            self._ends[:] = LONG_AGO
            kind = AlertKind.LOWERED if rank > NONE else AlertKind.ENDED
            self._alert(self._view(row), row, kind, previous, outputs)
            if rank == NONE:
                episode.end(asset)

    def _asset_is_due(self, row: int, what: int, outputs: list[Output]) -> None:
        """Publish what an asset is due for; `_ends` says which windows."""
        asset, now_ms = self._store.scalars(row), self.log_time_ms
        view = self._view(row)
        if what & RAISE:
            view = self._raise(view, row, outputs)
        elif what & UPDATE:
            self._alert(view, row, AlertKind.UPDATED, view.figures.level, outputs)
        if what & STATE:
            record = state_of(view)
            outputs.append(Output(STATES, record.asset, record, ""))
            asset["state_ms"] = now_ms
            asset["quiet"] = view.figures.judged.events == 0 and view.figures.level == NONE
            asset["dirty"] = True

    def _raise(self, view: View, row: int, outputs: list[Output]) -> View:
        """Raise the level to what `view` justifies; returns the view with the new level."""
        asset, store, now_ms = self._store.scalars(row), self._store, self.log_time_ms
        judged = store.judged
        end_ms = int((self._ends[judged] + 1) * store.sizes["pane_ms"][judged])
        from_ms = end_ms - self.settings.judged_size_ms
        previous = episode.rise(asset, view.figures.rank, now_ms=now_ms, from_ms=from_ms)
        if previous == NONE:
            first_ms = np.empty_like(asset["first_ms"])
            first_times(store.panes, row, store.sizes[0], asset["heads"][0], from_ms, end_ms, first_ms)
            asset["first_ms"] = first_ms
        self._clock["alarm_ms"] = min(int(self._clock[0]["alarm_ms"]), now_ms + self.settings.hold_ms)
        view = self._view(row)
        self._alert(view, row, AlertKind.RAISED, previous, outputs)
        return view

    def _alert(self, view: View, row: int, kind: AlertKind, previous: int, outputs: list[Output]) -> None:
        asset = self._store.scalars(row)
        record: CascadeAlert = alert_of(view, kind, sequence=int(asset["sequence"]), previous=previous)
        outputs.append(Output(ALERTS, record.asset, record, record.alert_id))
        asset["sequence"] += 1
        asset["alert_ms"] = self.log_time_ms
        asset["fresh"] = False
        asset["dirty"] = True

    def _view(self, row: int) -> View:
        store, now_ms = self._store, self.log_time_ms
        figures = figures_of(store, row, self._ends, now_ms=now_ms, rules=self._rules)
        self._coverage.see(self._clock[0]["tapes"].tolist())
        return View(
            asset=store.names[row],
            figures=figures,
            boost=self.settings.score.boost,
            flags=tuple([flag for i, flag in enumerate(self._flags) if figures.flags >> i & 1]),
            coverage=self._coverage.exchanges,
            confidence=self._coverage.confidence(
                correlated=figures.correlation != NO_DATA,
                correlation_weight=self.settings.score.weights.correlation,
            ),
            position=self._position(),
        )

    def _position(self) -> Position:
        return Position(self.partition, self._offset, self.log_time_ms)
