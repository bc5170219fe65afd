"""Outputs of the fold as the host takes them: bytes, with the record behind them for those who want to look at it."""

import io
from itertools import repeat
from typing import Final, NamedTuple

import fastavro

from processors.outputs.words import ALERTS, HEADER, LATE, PROGRESS, STATES, WINDOWS
from processors.windows.store import Store
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


def take(store: Store, outputs: list[Output]) -> None:
    """Take the outputs away that the fold has written."""
    out = store.out
    count, size = out.counts.tolist()
    if not count:
        return
    data, keys = out.data[:size].tobytes(), store.keys
    kinds, rows, ends = out.places[:count].T.tolist()
    values = [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    fields = zip(map(TOPICS.__getitem__, kinds), map(keys.__getitem__, rows), values, strict=True)
    outputs.extend(map(tuple.__new__, repeat(Output), fields))  # half of the time of calling the class
    out.counts[:] = 0
