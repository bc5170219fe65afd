"""Dead letters of all stages: what they say."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from runtime.kafka import topic_names
from runtime.log_reader import LogRecord
from runtime.settings import KafkaSettings
from schemas.errors import LiqcascadeError, SettingsError
from schemas.topics import DEAD_LETTERS
from sinks.dead_letters import HEADER
from stack.log_range import between, starts, to_end

DETECTOR: Final = "detector"
PRODUCERS: Final = "producers"
UNKNOWN: Final = "unknown"


class Place(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter. `id`: its own partition/offset; `by`: the connector, "detector" or "producers".

    `source`: topic; `place`: of the refused record there, None where it never lay in a topic (a frame)."""

    id: str
    append_time_ms: int
    by: str
    source: str
    place: Place | None
    stage: str
    reason: str
    headers: dict[str, str]
    value: bytes | None


def read_letters(kafka: KafkaSettings, *, from_ms: int = 0, to_ms: int | None = None) -> Iterator[Letter]:
    """All letters appended in [from_ms, to_ms), without their bytes. Raises BrokerUnavailable."""
    for record in between(kafka, [topic_names(kafka).of(DEAD_LETTERS)], from_ms=from_ms, to_ms=to_ms):
        yield letter_of(record._replace(value=None))


def find_letter(kafka: KafkaSettings, letter_id: str) -> Letter:
    """One letter. Raises LiqcascadeError when there is none with that id, SettingsError when it is no id."""
    name = topic_names(kafka).of(DEAD_LETTERS)
    partition, _, offset = letter_id.partition("/")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise SettingsError(f"{letter_id!r} is no id of a dead letter; they look like 3/17 (`dead-letters list`)")
    first = starts(kafka, [name]).get((name, int(partition)))
    if first is not None and first <= int(offset):
        for record in to_end(kafka, {(name, int(partition)): int(offset)}):
            if record.offset == int(offset):
                return letter_of(record)
            break
    raise LiqcascadeError(f"there is no letter {letter_id} in {name} at {kafka.bootstrap_servers}; they stay 30 days")


def letter_of(record: LogRecord) -> Letter:
    """What a record of the topic says, whichever stage wrote it."""
    headers = {name: _text(value) for name, value in record.headers}
    source = _text(record.key or b"")
    by, stage, reason = UNKNOWN, "", headers.get("reason", "")
    partition, offset = headers.get("partition", ""), headers.get("offset", "")
    if HEADER + "topic" in headers:
        source, by = headers[HEADER + "topic"], headers.get(HEADER + "connector.name", UNKNOWN)
        stage, reason = headers.get(HEADER + "stage", ""), headers.get(HEADER + "exception.message", "")
        partition, offset = headers.get(HEADER + "partition", ""), headers.get(HEADER + "offset", "")
    elif "exchange" in headers:
        by, stage = PRODUCERS, f"{headers['exchange']} {headers.get('channel', '')}"
    elif "offset" in headers:
        by = DETECTOR
    is_place = partition.isdecimal() and offset.isdecimal()
    return Letter(
        id=f"{record.partition}/{record.offset}",
        append_time_ms=record.timestamp,
        by=by,
        source=source,
        place=Place(source, int(partition), int(offset)) if is_place else None,
        stage=stage,
        reason=reason,
        headers=headers,
        value=record.value,
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
