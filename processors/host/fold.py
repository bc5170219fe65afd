"""What the host needs of the detector, and of the records that it folds."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from processors.detector import Delivered, Output
from processors.windows.layout import Array
from schemas.records import DetectorSnapshot, JournalEntry


class Consumed(Protocol):
    """One record of the log, as the group's consumer or a `LogReader` gives it."""

    @property
    def offset(self) -> int:
        """Offset in the partition."""

    @property
    def timestamp(self) -> int:
        """Append time, ms."""

    @property
    def value(self) -> bytes | None:
        """The value, as encoded."""


class Fold(Protocol):
    """What a flow needs of the detector."""

    next_offset: int
    next_sequence: int

    @property
    def wants_ticks(self) -> bool:
        """Whether silence would change anything."""

    @property
    def log_time_ms(self) -> int:
        """Running maximum of append times and ticks, ms."""

    @property
    def duplicates(self) -> int:
        """Liquidations that came again and did not count."""

    @property
    def ids_forgotten(self) -> int:
        """Ids that a duplicate is no longer told by, for want of room."""

    def fold(self, run: Sequence[Delivered]) -> list[Output]:
        """Fold liquidations."""

    def apply(self, entry: JournalEntry) -> list[Output]:
        """Apply a journal entry."""

    def snapshot(self) -> list[DetectorSnapshot]:
        """What changed since the last call, last the partition's own row."""

    def restore(self, rows: Iterable[DetectorSnapshot]) -> None:
        """Take the state of a partition."""

    def remember(self, heard: Array) -> None:
        """After that: ids and append times of the liquidations of the ten minutes before."""
