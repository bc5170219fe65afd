"""Consecutive records of a partition by columns, as they go from the client to the fold: no object for each of them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, Self, overload


class Consumed(Protocol):
    """One record of the log."""

    @property
    def offset(self) -> int:
        """Offset in the partition."""

    @property
    def timestamp(self) -> int:
        """Append time, ms."""

    @property
    def value(self) -> bytes | None:
        """The value, as encoded."""


class Record(NamedTuple):
    """One record of a run."""

    offset: int
    timestamp: int
    value: bytes | None


class LogRun(Sequence[Record]):
    """Records in the order of their offsets: a sequence whose slices are runs too."""

    __slots__ = ("offsets", "timestamps", "values")

    def __init__(self, offsets: list[int], timestamps: list[int], values: list[bytes | None]) -> None:
        assert len(offsets) == len(timestamps) == len(values)
        self.offsets, self.timestamps, self.values = offsets, timestamps, values

    @classmethod
    def of(cls, records: Iterable[Consumed]) -> Self:
        """The same of single records."""
        listed = list(records)
        return cls(
            [record.offset for record in listed],
            [record.timestamp for record in listed],
            [record.value for record in listed],
        )

    def extend(self, later: "LogRun") -> None:
        """Add the records of a run behind this one."""
        self.offsets += later.offsets
        self.timestamps += later.timestamps
        self.values += later.values

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, place: int) -> Record: ...

    @overload
    def __getitem__(self, place: slice) -> "LogRun": ...

    def __getitem__(self, place: int | slice) -> "Record | LogRun":
        if isinstance(place, slice):
            return LogRun(self.offsets[place], self.timestamps[place], self.values[place])
        return Record(self.offsets[place], self.timestamps[place], self.values[place])
