"""Rows of written state: which of them count, and a detector made of them."""

import threading
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from processors.host.fold import Fold
from processors.host.places import BASE_HEADER, EPOCH_HEADER, PLACES_HEADER, Places
from processors.past import CLOCKS_MS_MAX
from processors.snapshots import PARTITION_ROW, PartitionState, read_partition
from processors.windows.seen import SPAN_MS, id_of
from processors.windows.store import why_refused
from runtime.kafka import topic_names
from runtime.log_reader import LogReader, LogRecord
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import SchemaError
from schemas.records import DetectorSnapshot, Liquidation
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
    settings: KafkaSettings, codec: Codec, folds: Mapping[int, tuple[Fold, int]], *, ending: threading.Event
) -> None:
    """Tell detectors, restored up to these offsets, the ids that a duplicate of what comes next could be of."""
    name = topic_names(settings).of(LIQUIDATIONS)
    starts = {}
    with LogReader(settings, {}, ending=ending) as reader:
        for partition, (detector, position) in folds.items():
            start = reader.offset_at(name, partition, detector.log_time_ms - SPAN_MS - CLOCKS_MS_MAX)
            if start < position:
                starts[name, partition] = start
    heard: dict[int, array[int]] = {partition: array("q") for _, partition in starts}
    waiting = set(heard)
    with LogReader(settings, starts, ending=ending) as reader:
        while waiting:
            for record in reader.read():
                position = folds[record.partition][1]
                if record.offset < position:
                    heard[record.partition].extend(_heard(codec, record))
                if record.offset >= position - 1:
                    waiting.discard(record.partition)
            if reader.ended:
                break
    for partition, pairs in heard.items():
        folds[partition][0].remember(np.array(pairs, np.int64).reshape(-1, 2))


def _heard(codec: Codec, record: LogRecord) -> tuple[int, ...]:
    try:
        liquidation = codec.decode(Liquidation, record.value or b"")
    except SchemaError:
        return ()  # in the dead letters
    return () if why_refused(liquidation) else (id_of(liquidation.event_id), record.timestamp)


def _number(record: LogRecord, header: str) -> int:
    return int(dict(record.headers).get(header, b"0"))
