"""What the topic of liquidations holds already: read back at a start, so that a row that an exchange sends again after
a restart is published once. Blocking: call it in a thread."""

import threading
from collections.abc import Mapping
from typing import Final

from runtime.kafka import describe, topic_names
from runtime.log_reader import LogReader
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import SchemaError
from schemas.records import Liquidation
from schemas.topics import LIQUIDATIONS

TAIL_MS: Final = 86_400_000  # what exchanges send again is minutes to hours old
TAIL_RECORDS_MAX: Final = 20_000  # a partition: 240,000 of twelve are read in 3 s; on calm days a day has fewer
ANSWER_S_MAX: Final = 10.0  # without any answer of the broker

Ids = dict[str, list[str]]


def recent_ids(settings: KafkaSettings, *, now_ms: int) -> Ids:
    """Ids of the latest liquidations by exchange, in the order in which the broker took them.

    Raises BrokerUnavailable; records that cannot be decoded are left to those who read all of them."""
    starts, codec = _starts(settings, now_ms - TAIL_MS), Codec(settings.schema_registry_url)
    rows: list[tuple[int, str, str]] = []
    with LogReader(settings, starts, ending=threading.Event(), idle_s_max=ANSWER_S_MAX) as reader:
        for record in reader.to_end():
            row = _row(codec, record.value or b"")
            rows += [(record.timestamp, *row)] if row else []
    ids: Ids = {}
    for _, exchange, event_id in sorted(rows, key=lambda row: row[0]):
        ids.setdefault(exchange, []).append(event_id)
    return ids


def _starts(settings: KafkaSettings, from_ms: int) -> dict[tuple[str, int], int]:
    """Where to begin in each partition that holds something of that time."""
    name, starts = topic_names(settings).of(LIQUIDATIONS), {}
    with LogReader(settings, {}, ending=threading.Event()) as asking:
        for partition in range(describe(settings).get(name, 0)):
            _, end = asking.bounds(name, partition)
            first = max(asking.offset_at(name, partition, from_ms), end - TAIL_RECORDS_MAX)
            if first < end:
                starts[name, partition] = first
    return starts


def _row(codec: Codec, value: bytes) -> tuple[str, str] | None:
    try:
        plain: Mapping[str, str] = codec.decode_plain(Liquidation, value)
    except SchemaError:
        return None
    return plain["exchange"], plain["event_id"]
