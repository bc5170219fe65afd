"""Rows of written state: which of them count, and a detector made of them."""

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

import msgspec

from processors.host.fold import Fold
from processors.host.places import BASE_HEADER, EPOCH_HEADER, PLACES_HEADER, Places
from processors.host.source import run_of
from processors.past import CLOCKS_MS_MAX
from processors.snapshots import PARTITION_ROW, PartitionState, read_partition
from processors.windows.seen import SPAN_MS
from runtime.kafka import topic_names
from runtime.log_reader import LogReader, LogRecord, place_of
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import SchemaError
from schemas.records import DetectorSnapshot
from schemas.topics import LIQUIDATIONS, SNAPSHOTS

NewDetector = Callable[[int], Fold]
EPOCH_BEFORE_ALL: Final = 0


@dataclass(kw_only=True)
class State:
    """What was written of one partition: rows that count, and where the topics stood when they were captured.

    `epoch`: the highest that wrote; `base`: rows of lower ones are of a state that was given up."""

    epoch: int = EPOCH_BEFORE_ALL
    base: int = EPOCH_BEFORE_ALL
    places: Places = field(default_factory=dict)
    rows: list[LogRecord] = field(default_factory=list)


def read_states(settings: KafkaSettings, partitions: Iterable[int], *, ending: threading.Event) -> dict[int, State]:
    """The newest rows of each partition; none where its own row is missing: a first state that was cut off, or
    trimmed."""
    name = topic_names(settings).of(SNAPSHOTS)
    states = {partition: State() for partition in partitions}
    rows: dict[int, dict[bytes, tuple[int, LogRecord]]] = defaultdict(dict)
    with LogReader(settings, {(name, partition): 0 for partition in states}, ending=ending) as reader:
        for record in reader.to_end():
            state, epoch = states[record.partition], _number(record, EPOCH_HEADER)
            if record.value is None:
                rows[record.partition].pop(record.key or b"", None)  # somebody removed it
            elif epoch >= state.epoch:  # else of an owner that was replaced
                state.epoch = epoch
                rows[record.partition][record.key or b""] = epoch, record
    for partition, state in states.items():
        _, own = rows[partition].get(f"partition/{partition}".encode(), (0, None))
        if own is not None:
            state.base = _number(own, BASE_HEADER)
            state.places = msgspec.json.decode(dict(own.headers)[PLACES_HEADER], type=Places)
            state.rows = [record for epoch, record in rows[partition].values() if epoch >= state.base]
    return states


def restored(state: State, codec: Codec, detector: Fold) -> PartitionState:
    """Put the rows into a new detector. Raises SchemaError when this version or these settings cannot use them."""
    rows = [codec.decode(DetectorSnapshot, row.value or b"") for row in state.rows]
    own = next((row for row in rows if row.asset == PARTITION_ROW), None)
    if own is None:
        raise SchemaError("restoring: the partition's own row is missing")
    detector.restore(rows)
    return read_partition(own)


def remember_heard(
    settings: KafkaSettings, folds: Mapping[int, tuple[Fold, int]], *, ending: threading.Event, asking: LogReader
) -> None:
    """Tell detectors, restored up to these offsets, what a duplicate of what comes next could be of."""
    name = topic_names(settings).of(LIQUIDATIONS)
    starts = {}
    for partition, (detector, position) in folds.items():
        start = asking.offset_at(name, partition, detector.log_time_ms - SPAN_MS - CLOCKS_MS_MAX)
        if start < position:
            starts[name, partition] = start
    waiting = {partition for _, partition in starts}
    with LogReader(settings, starts, ending=ending) as reader:
        while waiting:
            for (_, partition), messages in groupby(reader.messages(), place_of):
                detector, position = folds[partition]
                run = run_of(list(messages))
                detector.remember(run[: bisect_left(run.offsets, position)])
                if run.offsets[-1] >= position - 1:
                    waiting.discard(partition)
            if reader.ended:
                break


def _number(record: LogRecord, header: str) -> int:
    return int(dict(record.headers).get(header, b"0"))
