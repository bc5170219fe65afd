"""The contract of a sink: what the worker calls, and what it may count on.

A store keeps, beside the data and in the same transaction, the next offset of every partition that landed in it.
Those offsets are the truth; the ones that Kafka keeps are only for people who look at lag."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import ClassVar

import msgspec

from schemas.records import Record
from schemas.topics import Topic
from sinks.settings import SinkSettings

Position = tuple[str, int]  # full name of a topic, partition


class SinkRecord(msgspec.Struct, frozen=True, gc=False):
    """One decoded record of a topic. `append_time_ms`: the broker's; `value`: the bytes as they lie in the topic."""

    topic: Topic
    position: Position
    offset: int
    append_time_ms: int
    key: bytes | None
    value: bytes
    record: Record


class Connector(ABC):
    """One store. The worker calls `open`, then `put` any number of times, and after an error `open` again.

    All calls come from one thread. A subclass says its name, its topics, and how long a record may wait for others."""

    name: ClassVar[str]
    topics: ClassVar[tuple[Topic, ...]]
    flush_ms: ClassVar[int]

    @abstractmethod
    def __init__(self, settings: SinkSettings) -> None:
        """Keep the settings; connect to nothing."""

    @abstractmethod
    def open(self, positions: Collection[Position]) -> Mapping[Position, int]:
        """Connect anew, make what is missing in the store, and return the next offset of each position that has one.

        Raises StoreUnavailable; SettingsError when the store is there but can never serve."""

    @abstractmethod
    def put(self, records: Sequence[SinkRecord], next_offsets: Mapping[Position, int]) -> None:
        """Land the records and move the offsets of their positions, all or none. Records may be none, offsets not.

        The offsets are moved on the condition that they are still what `open` or the last `put` left: a second worker
        that was given the same partition has moved them otherwise, and lands nothing twice.
        Raises StoreUnavailable: nothing was written, or nobody knows; `open` tells which offsets are in force.
        Raises RecordRefused: nothing was written, since the store cannot hold a value of at least one record."""

    @abstractmethod
    def check(self) -> None:
        """Ask the store over the open connection whether it is there, so that an idle sink notices an outage.

        Raises StoreUnavailable."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection; never raises. `open` connects again."""


def offsets_after(records: Iterable[SinkRecord]) -> dict[Position, int]:
    """The next offset of each position, given records that are in order within each."""
    return {record.position: record.offset + 1 for record in records}
