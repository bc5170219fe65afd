"""The journal of one partition: which of its entries count, and where they stand between the liquidations.

Pure: no Kafka, no clock. The live host and a replay both go through here, so both see the same order."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from schemas.records import JournalEntry


class HasOffset(Protocol):
    """Whatever stands at an offset of the liquidations."""

    @property
    def offset(self) -> int:
        """Offset in the partition of market.liquidations."""


T = TypeVar("T", bound=HasOffset)
R = TypeVar("R")


class Journal:
    """Reads the entries of one partition in the order of the topic and keeps those that count.

    An owner that was replaced may still have written: an entry with a lower epoch after a higher one is void, and so
    is one whose sequence or position stands before that of the last entry that counted. It may begin behind a state:
    with the state's epoch, next sequence and next offset."""

    def __init__(self, *, epoch: int = 0, next_sequence: int = 0, next_offset: int = 0) -> None:
        self.entries: list[JournalEntry] = []
        self.epoch = epoch
        self.next_sequence = next_sequence
        self._after_offset = next_offset - 1

    def read(self, entry: JournalEntry) -> bool:
        """Take the next entry of the topic and keep it if it counts; True when it does and is new."""
        if not self.counts(entry):
            return False
        self.entries.append(entry)
        return True

    def counts(self, entry: JournalEntry) -> bool:
        """Whether the next entry of the topic counts and is new; it is not kept."""
        if entry.epoch < self.epoch:
            return False
        self.epoch = entry.epoch
        if entry.sequence < self.next_sequence or entry.after_offset < self._after_offset:
            return False
        self.next_sequence = entry.sequence + 1
        self._after_offset = entry.after_offset
        return True

    @property
    def after_offset(self) -> int:
        """The position that the next entry must not stand before."""
        return self._after_offset


def effective(entries: Iterable[JournalEntry]) -> list[JournalEntry]:
    """The entries of one partition that count, in order."""
    journal = Journal()
    for entry in entries:
        journal.read(entry)
    return journal.entries


def merged(run: Sequence[T], pending: deque[JournalEntry]) -> Iterator[Sequence[T] | JournalEntry]:
    """Cut a run of records at the entries of `pending`, and take from it those whose place has come.

    An entry stands after the record at its `after_offset` and before the next one; where that record is gone (trimmed),
    it stands before the first one after it.

        offsets    3   4   5   6   7
        entries          ^ after_offset 4     -> [3, 4], entry, [5, 6, 7]"""
    start = 0
    while pending and start < len(run):
        entry = pending[0]
        if run[-1].offset < entry.after_offset:
            break
        end = bisect_right(run, entry.after_offset, lo=start, key=_offset)
        if end > start:
            yield run[start:end]
        yield pending.popleft()
        start = end
    if start < len(run):
        yield run[start:]


def interleaved(
    records: Iterator[T], entries: Iterable[JournalEntry], *, run_max: int
) -> Iterator[Sequence[T] | JournalEntry]:
    """Both logs as one, in runs of at most so many records, without holding more than a run of either.

    Entries must be those that count."""
    waiting = next(records, None)
    run: list[T] = []
    for entry in entries:
        while waiting is not None and waiting.offset <= entry.after_offset:
            run.append(waiting)
            waiting = next(records, None)
            if len(run) == run_max:
                yield run
                run = []
        if run:
            yield run
            run = []
        yield entry
    while waiting is not None:
        run.append(waiting)
        waiting = next(records, None)
        if len(run) == run_max or waiting is None:
            yield run
            run = []


def replay(
    fold: Callable[[Sequence[T]], Iterable[R]],
    apply: Callable[[JournalEntry], Iterable[R]],
    runs: Iterable[Sequence[T]],
    entries: Iterable[JournalEntry],
) -> Iterator[R]:
    """What a detector's `fold` and `apply` give over both logs: the liquidations in runs, and all of the journal."""
    pending = deque(effective(entries))
    for run in runs:
        for part in merged(run, pending):
            yield from apply(part) if isinstance(part, JournalEntry) else fold(part)
    for entry in pending:
        yield from apply(entry)


def _offset(record: HasOffset) -> int:
    return record.offset
