"""Records as columns: flat fields keep their types, what is nested becomes JSON text. Pure, but for pyarrow's memory.

A column a field of the record, in its order, and behind them where the record lies in the log."""

import json
import typing
from collections.abc import Callable, Sequence
from enum import Enum
from functools import cache
from types import NoneType
from typing import Any, Final

import msgspec
import pyarrow as pa

from schemas.errors import RecordRefused
from schemas.records import Record, WindowAggregate
from sinks.connector import SinkRecord
from sinks.keys import key_of

LOG_COLUMNS: Final = ("log_partition", "log_offset", "log_append_time_ms")
Values = Callable[[Sequence[Record]], list[Any]]


@cache
def columns_of(kind: type[Record]) -> tuple[tuple[str, pa.DataType, Values], ...]:
    """Name, type and the values of every field of a kind of record."""
    return tuple(_column(name, hint) for name, hint in typing.get_type_hints(kind).items())


def table_of(records: Sequence[SinkRecord]) -> pa.Table:
    """The records of one topic, sorted by event time and key.

    Raises RecordRefused for a text that is not Unicode, or a number beyond 64 bits."""
    ordered = sorted(records, key=lambda one: (event_time_ms(one.record), key_of(one.record)))
    rows = [one.record for one in ordered]
    names, arrays = [], []
    try:
        for name, kind, values in columns_of(type(rows[0])):
            names.append(name)
            arrays.append(pa.array(values(rows), kind))
    except (UnicodeEncodeError, OverflowError, pa.ArrowInvalid) as exc:
        raise RecordRefused(f"making a column {names[-1]} of {len(rows)} records: {exc}") from exc
    log = (
        [one.position[1] for one in ordered],
        [one.offset for one in ordered],
        [one.append_time_ms for one in ordered],
    )
    arrays += [pa.array(column, pa.int64()) for column in log]
    return pa.table(arrays, names=[*names, *LOG_COLUMNS])


def event_time_ms(record: Record) -> int:
    """When it happened, by the exchange; of a window its start."""
    time_ms: int = getattr(record, "window_start_ms" if isinstance(record, WindowAggregate) else "event_time_ms")
    return time_ms


def _column(name: str, hint: Any) -> tuple[str, pa.DataType, Values]:
    kinds = [kind for kind in (typing.get_args(hint) or (hint,)) if kind is not NoneType]
    kind = kinds[0] if len(kinds) == 1 else hint
    plain = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}.get(kind)
    if plain is not None:
        return name, plain, lambda rows: [getattr(row, name) for row in rows]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return name, pa.string(), lambda rows: [_word(getattr(row, name)) for row in rows]
    return name, pa.string(), lambda rows: [_json(getattr(row, name)) for row in rows]


def _word(value: Enum | None) -> str | None:
    return None if value is None else str(value.value)


def _json(value: object) -> str:
    return json.dumps(msgspec.to_builtins(value), separators=(",", ":"))
