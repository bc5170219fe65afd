"""Outputs of the fold as the host takes them: bytes, with the record behind them for those who want to look at it."""

import io
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple, overload

import fastavro

from processors.outputs.words import ALERTS, LATE, PROGRESS, STATES, WINDOWS
from processors.windows.avro import HEADER
from processors.windows.state import Out
from schemas.codec import from_plain
from schemas.records import Record
from schemas.registry import latest_schema
from schemas.topics import ALERTS as ALERTS_TOPIC
from schemas.topics import LATE as LATE_TOPIC
from schemas.topics import STATE, Topic
from schemas.topics import WINDOWS as WINDOWS_TOPIC

TOPICS: Final[tuple[Topic, ...]] = (STATE, WINDOWS_TOPIC, ALERTS_TOPIC, LATE_TOPIC, STATE)  # by kind
assert (STATES, WINDOWS, ALERTS, LATE, PROGRESS) == (0, 1, 2, 3, 4)
WRITTEN: Final = (STATE, WINDOWS_TOPIC, ALERTS_TOPIC)  # what has a header of the fold's own, by kind


Message = dict[str, Any]  # "key" (text or bytes) and "value", as the client wants it


class Output(NamedTuple):
    """One record to publish, in the order of the log. `value` in the wire format."""

    topic: Topic
    key: str
    value: bytes

    @property
    def id(self) -> str:
        """Of the alert, window or late event, the first field of each; "" for states, which are never deduplicated."""
        if self.topic is STATE:
            return ""
        length, shift, at = 0, 0, HEADER
        while True:
            byte = self.value[at]
            length |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return self.value[at : at + (length >> 1)].decode()

    @property
    def record(self) -> Record:
        """The record, decoded with the newest schema."""
        kind = self.topic.record
        assert kind is not None
        plain = fastavro.schemaless_reader(io.BytesIO(self.value[HEADER:]), latest_schema(kind), None)
        assert isinstance(plain, dict)
        return from_plain(kind, plain)


class Taken(NamedTuple):
    """What the fold had written at one time: bytes one behind the other, and of each output kind, row and end."""

    data: bytes
    kinds: list[int]
    rows: list[int]
    ends: list[int]


class Outputs(Sequence[Output]):
    """Outputs in the order of the log. They stay as the fold has written them until somebody wants objects: by topic,
    as a producer takes them, or one by one."""

    def __init__(self, keys: list[str]) -> None:
        self._keys = keys  # by row; NOBODY's is the last one
        self._taken: list[Taken] = []
        self._made: list[Output] | None = None

    def take(self, out: Out) -> None:
        """Take the outputs away that the fold has written."""
        count, size = out.counts.tolist()
        if count:
            kinds, rows, ends = out.places[:count].T.tolist()
            self._taken.append(Taken(out.data[:size].tobytes(), kinds, rows, ends))
            self._made = None
            out.counts[:] = 0

    def by_topic(self, is_published: Callable[[str], bool] | None = None) -> list[tuple[Topic, list[Message]]]:
        """The same for a producer, each topic in order; without those whose id `is_published`."""
        lists: list[list[Message]] = [[] for _ in TOPICS]
        lists[PROGRESS] = lists[STATES]  # one topic
        keys = self._keys
        if is_published is not None:
            for output in self:
                if not is_published(output.id):
                    lists[TOPICS.index(output.topic)].append({"key": output.key, "value": output.value})
        else:
            for data, kinds, rows, ends in self._taken:
                for kind, row, begin, end in zip(kinds, rows, [0, *ends], ends, strict=False):
                    lists[kind].append({"key": keys[row], "value": data[begin:end]})
        return [(topic, messages) for topic, messages in zip(TOPICS[:PROGRESS], lists, strict=False) if messages]

    def newest(self, row: int, kinds: Collection[int]) -> Output:
        """The last output of these kinds about an asset; there is one."""
        for taken in reversed(self._taken):
            for i in range(len(taken.kinds) - 1, -1, -1):
                if taken.rows[i] == row and taken.kinds[i] in kinds:
                    begin = taken.ends[i - 1] if i else 0
                    return Output(TOPICS[taken.kinds[i]], self._keys[row], taken.data[begin : taken.ends[i]])
        raise AssertionError(f"there is no output of row {row}")

    def __len__(self) -> int:
        return sum(len(taken.kinds) for taken in self._taken)

    def __iter__(self) -> Iterator[Output]:
        return iter(self._outputs())

    @overload
    def __getitem__(self, place: int) -> Output: ...

    @overload
    def __getitem__(self, place: slice) -> list[Output]: ...

    def __getitem__(self, place: int | slice) -> Output | list[Output]:
        return self._outputs()[place]

    def _outputs(self) -> list[Output]:
        if self._made is None:
            keys, self._made = self._keys, []
            for data, kinds, rows, ends in self._taken:
                for kind, row, begin, end in zip(kinds, rows, [0, *ends], ends, strict=False):
                    self._made.append(Output(TOPICS[kind], keys[row], data[begin:end]))
        return self._made
