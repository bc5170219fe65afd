"""What the host needs of the detector, and of the records that it folds."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from processors.detector import Delivered, Output
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

    def fold(self, run: Sequence[Delivered]) -> list[Output]:
        """Fold liquidations."""

    def apply(self, entry: JournalEntry) -> list[Output]:
        """Apply a journal entry."""

    def snapshot(self) -> list[DetectorSnapshot]:
        """What changed since the last call, last the partition's own row."""

    def restore(self, rows: Iterable[DetectorSnapshot]) -> None:
        """Take the state of a partition."""
