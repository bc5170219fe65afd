"""The contract of a sink: what a task calls, and what it may count on.

A store keeps, beside the data and in the same transaction, the next offset of every partition that landed in it.
Those offsets are the truth; the ones that Kafka keeps are only for people who look at lag.

A task calls `open`, then `put` and `flush` any number of times, and `open` again after an outage or a rebalance; all
from one thread. docs/add-a-sink.md tells how to write one, tests/contract/test_every_sink.py what each must stand."""

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
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Records in the order of their partitions, and where each partition goes on behind them.

    Offsets move without records where all were refused; a batch without records but with offsets is usual."""

    records: Sequence[SinkRecord]
    next_offsets: Mapping[Position, int]


class Connector(ABC):
    """One store. A subclass says its kind (`connector.class`), its topics, its sections of the settings tree, and how
    long a record may wait for others before it has landed (`flush.ms`)."""

    kind: ClassVar[str]
    topics: ClassVar[tuple[Topic, ...]]
    sections: ClassVar[tuple[str, ...]]
    flush_ms: ClassVar[int]

    def __init__(self, settings: SinkSettings, *, name: str = "") -> None:
        """Keep the settings; connect to nothing. The store knows the offsets by `name`, which is the kind unless given.

        To be extended, not replaced."""
        self.name = name or self.kind

    @classmethod
    @abstractmethod
    def validate(cls, settings: SinkSettings) -> dict[str, str]:
        """What in its sections can never serve: key ("database.url") to a sentence. Connects to nothing; never raises.

        Types and ranges have been checked by then."""

    @abstractmethod
    def open(self, partitions: Collection[Position]) -> Mapping[Position, int]:
        """Connect anew, make what is missing in the store, and return the next offset of each partition that has one.

        What was put and not flushed before is forgotten, unless it has landed; the offsets say which.
        Raises StoreUnavailable; SettingsError when the store is there but can never serve."""

    @abstractmethod
    def put(self, batch: Batch) -> None:
        """Take a batch over: land it now, in the background, or with the next `flush`.

        Its records and its offsets land together or not at all. The offsets move on the condition that they are still
        what `open` or the batch before left: a second task that was given the same partition has moved them, and lands
        nothing twice. They may go back, when a person resets them; records are redelivered then.
        Raises StoreUnavailable: nobody knows which of the batches since the last `flush` have landed; `open` tells.
        Raises RecordRefused: the store cannot hold a value of at least one record of this batch, or of one before it
        that had not landed yet. That batch and all behind it are forgotten and nothing of them is in the store; those
        before it stand, and the next `flush` returns the offsets in force without refusing anything."""

    @abstractmethod
    def flush(self) -> Mapping[Position, int]:
        """Land all that was put; return the next offset of every partition for which the store has one.

        When it returns, a crash of the store or of this process loses none of it. Raises as `put` does."""

    @abstractmethod
    def check(self) -> None:
        """Ask the store over the open connection whether it is there, so that an idle sink notices an outage.

        Raises StoreUnavailable."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection and of what was not flushed; never raises. `open` connects again."""


def batch_of(records: Iterable[SinkRecord]) -> Batch:
    """A batch of records that are in order within each partition, which go on behind the last of each."""
    taken = tuple(records)
    return Batch(taken, {record.position: record.offset + 1 for record in taken})
