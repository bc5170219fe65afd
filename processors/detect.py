"""The detector over history: records of a file instead of topics, and a journal made by rule instead of a worker's.

The rule: a record of context takes effect before the first liquidation whose append time is equal or later; ticks stand
on a grid of 200 ms of append time while something is open, each before the first liquidation from its time on and
behind context of its time; after the last liquidation they go on until nothing is open.

    append time   0        200       400       600
    log             L1  C1     L2              ...
    journal            C1   T200 C?  T400            C1 before L2; T200 only if something is open then

Each partition is a fold of its own, as in the topics, with as many partitions as the settings say."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Final, NamedTuple, TypeVar

import msgspec

from processors.cascade.relative import HOUR_MS
from processors.detector import Delivered, Detector, Output
from processors.history import Part
from processors.market.fold import MarketFold
from processors.market.settings import MarketSettings
from processors.settings import DetectorSettings
from processors.windows.layout import NEVER
from schemas.codec import Codec
from schemas.records import CascadeAlert, JournalBaseline, JournalContext, JournalEntry, WindowAggregate
from schemas.topics import STATE
from schemas.words import JournalKind

GRID_MS: Final = 200
RUN_MAX: Final = 500  # records folded at once
EPOCH: Final = 1
R = TypeVar("R", CascadeAlert, WindowAggregate)


class Step(NamedTuple):
    """One step of a fold over history: the journal's entry, None where it was liquidations, and what came of it."""

    entry: JournalEntry | None
    outputs: Sequence[Output]


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
    parts: Mapping[int, Part], settings: DetectorSettings, market: MarketSettings | None = None
) -> tuple[list[CascadeAlert], list[WindowAggregate]]:
    """All alerts by (append_time_ms, asset, sequence), and all windows by (append_time_ms, asset, size and start).

    With `market` its alerts stand among them: of the states of all partitions by T, of the same T by partition, where
    live it is the order in which they came. No partition of a file is cut off, so the market is blind nowhere."""
    alerts: list[CascadeAlert] = []
    windows: list[WindowAggregate] = []
    states = heapq.merge(
        *(_states(partition, parts[partition], settings, alerts, windows) for partition in sorted(parts)),
        key=itemgetter(0),
    )
    fold, told = None, 0
    if market is not None:
        seeing = market.model_copy(update={"blind_ms": 2 * NEVER})
        fold = MarketFold(seeing, partitions=max(parts, default=0) + 1, judged_size_ms=settings.judged_size_ms)
    while batch := [value for _, value in islice(states, RUN_MAX)]:
        if fold is not None:
            outputs, refused = fold.fold(range(told, told + len(batch)), batch)
            assert not refused, "states of this version are read"
            alerts += [_without_source(one.record) for one in outputs if isinstance(one.record, CascadeAlert)]
        told += len(batch)
    alerts.sort(key=lambda alert: (alert.append_time_ms, alert.asset, alert.sequence))
    windows.sort(key=lambda window: (window.append_time_ms, window.asset, window.size_ms, window.window_start_ms))
    return alerts, windows


def _states(
    partition: int,
    part: Part,
    settings: DetectorSettings,
    alerts: list[CascadeAlert],
    windows: list[WindowAggregate],
) -> Iterator[tuple[int, bytes]]:
    """T and value of each state of one partition, in its order; alerts and windows are put where they are given."""
    detector = Detector(settings, partition=partition)
    for step in fold_history(detector, part, partition=partition):
        for output in step.outputs:
            if output.topic is STATE:
                yield _told_ms(output.value), output.value
                continue
            record = output.record
            if isinstance(record, CascadeAlert):
                alerts.append(_without_source(record))
            elif isinstance(record, WindowAggregate):
                windows.append(_without_source(record))


def _told_ms(state: bytes) -> int:
    r"""T of a state, its last field: a zigzag variable-length integer, whose bytes but the last have their high bit.

    >>> _told_ms(b"\x05" + b"\x80\x02")
    128"""
    begin = len(state) - 1
    while state[begin - 1] & 0x80:
        begin -= 1
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(state[begin:])) >> 1


def _without_source(record: R) -> R:
    return msgspec.structs.replace(record, source_partition=None, source_offset=None)


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
