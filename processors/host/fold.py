"""What the host needs of the detector, and of the records that it folds."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from processors.detector import Consumed, Outputs, Refused
from processors.windows.run import LogRun
from schemas.records import DetectorSnapshot, JournalBaseline, JournalEntry

__all__ = ["Consumed", "Fold"]


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

    def fold_log(self, run: Sequence[Consumed]) -> tuple[Outputs, list[Refused]]:
        """Fold liquidations; those that cannot be folded are named beside."""

    def apply(self, entry: JournalEntry) -> Outputs:
        """Apply a journal entry."""

    def due_baselines(self) -> list[JournalBaseline]:
        """Baselines for the journal to put in force, once an hour of T."""

    def baselines_asked(self) -> None:
        """All that were due are in the journal."""

    def know_from(self, time_ms: int) -> list[str]:
        """After a fold that began in the middle: the assets of whose week nothing before `time_ms` is known."""

    def snapshots(self) -> Iterator[DetectorSnapshot]:
        """The partition's own row, then those of the assets that changed since the last call, each as it is when it is
        asked for."""

    def restore(self, rows: Iterable[DetectorSnapshot]) -> None:
        """Take the state of a partition."""

    def remember(self, run: LogRun) -> None:
        """After that, run by run: the liquidations of the ten minutes before."""
