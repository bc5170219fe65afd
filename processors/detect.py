"""The detector over history: records of a file instead of topics, and a journal made by rule instead of a worker's.

The rule: a record of context takes effect before the first liquidation whose append time is equal or later; ticks stand
on a grid of 200 ms of append time while something is open, each before the first liquidation from its time on and
behind context of its time; after the last liquidation they go on until nothing is open.

    append time   0        200       400       600
    log             L1  C1     L2              ...
    journal            C1   T200 C?  T400            C1 before L2; T200 only if something is open then

Each partition is a fold of its own, as in the topics, with as many partitions as the settings say."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from processors.cascade.relative import HOUR_MS
from processors.detector import Delivered, Detector, Output
from processors.history import Part
from processors.settings import DetectorSettings
from schemas.codec import Codec
from schemas.records import CascadeAlert, JournalBaseline, JournalContext, JournalEntry, WindowAggregate
from schemas.words import JournalKind

GRID_MS: Final = 200
RUN_MAX: Final = 500  # records folded at once
EPOCH: Final = 1


class Step(NamedTuple):
    """One step of a fold over history: the journal's entry, None where it was liquidations, and what came of it."""

    entry: JournalEntry | None
    outputs: list[Output]


def new_detector(settings: DetectorSettings, codec: Codec | None = None) -> Detector:
    """A detector for one part: its outputs name no source."""
    return Detector(settings, partition=None, codec=codec)


def fold_history(detector: Detector, part: Part, *, partition: int) -> Iterator[Step]:
    """Fold one part with the journal of the rule, which is made on the way: ticks depend on what is open."""
    log, contexts = part.liquidations, part.contexts
    at = told = 0
    grid_ms = _grid_after(log[0].append_time_ms) if log else 0
    while at < len(log) or detector.wants_ticks:
        is_context = told < len(contexts) and contexts[told].append_time_ms <= grid_ms
        until_ms = contexts[told].append_time_ms if is_context else grid_ms
        end = _end_of_run(log, at, until_ms)
        while at < end:
            is_first = log[at].append_time_ms // HOUR_MS > detector.log_time_ms // HOUR_MS
            stop = at + 1 if is_first else min(at + RUN_MAX, end)
            yield Step(None, detector.fold(log[at:stop]))
            at = stop
            yield from _baselines(detector, partition)
        if is_context:
            yield _apply(detector, partition, JournalKind.CONTEXT, context=contexts[told])
            told += 1
        elif detector.wants_ticks:
            yield _apply(detector, partition, JournalKind.TICK, append_time_ms=grid_ms)
            grid_ms += GRID_MS
            yield from _baselines(detector, partition)
        elif at < len(log):
            grid_ms = _grid_after(log[at].append_time_ms)
    for context in contexts[told:]:
        yield _apply(detector, partition, JournalKind.CONTEXT, context=context)


def detect(
    parts: dict[int, Part], settings: DetectorSettings
) -> tuple[list[CascadeAlert], list[WindowAggregate]]:  # fmt: skip
    """All alerts by (append_time_ms, asset, sequence), and all windows by (append_time_ms, asset, size and start)."""
    alerts: list[CascadeAlert] = []
    windows: list[WindowAggregate] = []
    for partition in sorted(parts):
        for step in fold_history(new_detector(settings), parts[partition], partition=partition):
            for output in step.outputs:
                if isinstance(output.record, CascadeAlert):
                    alerts.append(output.record)
                elif isinstance(output.record, WindowAggregate):
                    windows.append(output.record)
    alerts.sort(key=lambda alert: (alert.append_time_ms, alert.asset, alert.sequence))
    windows.sort(key=lambda window: (window.append_time_ms, window.asset, window.size_ms, window.window_start_ms))
    return alerts, windows


def _baselines(detector: Detector, partition: int) -> Iterator[Step]:
    """The baselines of an hour stand behind the first record or tick of it."""
    for baseline in detector.due_baselines():
        yield _apply(detector, partition, JournalKind.BASELINE, baseline=baseline)
    detector.baselines_asked()


def _end_of_run(log: Sequence[Delivered], at: int, until_ms: int) -> int:
    end = at
    while end < len(log) and log[end].append_time_ms < until_ms:
        end += 1
    return end


def _grid_after(time_ms: int) -> int:
    return (time_ms // GRID_MS + 1) * GRID_MS


def _apply(
    detector: Detector,
    partition: int,
    kind: JournalKind,
    *,
    append_time_ms: int | None = None,
    context: JournalContext | None = None,
    baseline: JournalBaseline | None = None,
) -> Step:
    entry = JournalEntry(
        partition=partition,
        epoch=EPOCH,
        sequence=detector.next_sequence,
        after_offset=detector.next_offset - 1,
        kind=kind,
        append_time_ms=append_time_ms,
        context=context,
        baseline=baseline,
    )
    return Step(entry, detector.apply(entry))
