"""The last liquidations of one asset, read back from its partition."""

import threading
from typing import Final, NamedTuple

from runtime.log_reader import LogReader
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import SchemaError
from schemas.records import Liquidation
from schemas.topics import LIQUIDATIONS
from stack.log_range import place_of, to_end

BACK_FIRST: Final = 5_000  # records of the partition; four times as many until there are enough of the asset
BACK_MAX: Final = 1_280_000  # a partition of an hour in which 350 a second come, read in some seconds


class Event(NamedTuple):
    """One liquidation, where it stands, and when the broker took it."""

    offset: int
    append_time_ms: int
    liquidation: Liquidation


class LastEvents(NamedTuple):
    """Oldest first, each id once as the detector counts them; `looked_back`: records of the partition."""

    events: list[Event]
    looked_back: int
    is_all: bool  # the topic holds no more of the asset


def last_events(kafka: KafkaSettings, asset: str, count: int) -> LastEvents:
    """The newest `count` of an asset. Raises SettingsError without a topic, BrokerUnavailable."""
    place = place_of(kafka, LIQUIDATIONS, asset)
    with LogReader(kafka, {}, ending=threading.Event()) as reader:
        low, end = reader.bounds(*place)
    codec, back = Codec(kafka.schema_registry_url), BACK_FIRST
    while True:
        start = max(low, end - back)
        events = _read(kafka, codec, place, start, end, asset)
        if len(events) >= count or start == low or back >= BACK_MAX:
            return LastEvents(events[-count:], end - start, start == low and len(events) <= count)
        back *= 4


def _read(kafka: KafkaSettings, codec: Codec, place: tuple[str, int], start: int, end: int, asset: str) -> list[Event]:
    found: dict[str, Event] = {}
    if start >= end:
        return []
    for record in to_end(kafka, {place: start}):
        if record.offset >= end:
            break
        if record.key != asset.encode():
            continue
        try:
            liquidation = codec.decode(Liquidation, record.value or b"")
        except SchemaError:
            continue  # in the dead letters
        found.setdefault(liquidation.event_id, Event(record.offset, record.timestamp, liquidation))
    return list(found.values())
