"""Records of a topic, decoded, for people or programs."""

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from runtime.log_reader import LogRecord
from schemas.errors import SchemaError, SettingsError
from stack.cli.console import LEVEL_STYLES, print_json, printable

SHOWN = {  # what a person wants of each record; --json has everything
    "Liquidation": ("exchange", "instrument", "side", "quantity", "price", "notional_usd", "completeness", "backlog"),
    "OpenInterest": ("exchange", "instrument", "open_interest", "open_interest_usd"),
    "Funding": ("exchange", "instrument", "rate_8h", "settled"),
    "FeedHealth": ("exchange", "channel", "state", "detail"),
    "WindowAggregate": ("asset", "size_ms", "events", "notional_usd", "long_notional_usd", "short_notional_usd"),
    "AssetState": ("asset", "kind", "level", "probability", "side"),
    "CascadeAlert": ("asset", "kind", "level", "previous_level", "probability", "side", "leading_exchange", "flags"),
    "JournalEntry": ("partition", "epoch", "sequence", "after_offset", "kind"),
    "DetectorSnapshot": ("asset", "partition", "next_offset", "next_sequence"),
}


def tail(
    topic: Annotated[str, typer.Argument(help="Topic name; `liqcascade topics` lists them.")],
    from_start: Annotated[bool, typer.Option(help="Begin with the oldest record.")] = False,
    last: Annotated[int, typer.Option(min=0, help="Begin with the newest n of each partition.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="End after n records.")] = None,
    follow: Annotated[bool, typer.Option(help="Wait for more; --no-follow ends at the end.")] = True,
    key: Annotated[str | None, typer.Option(help="Only records with this key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, all fields.")] = False,
) -> None:
    """Print the records of a topic, decoded, until Ctrl-C."""
    from runtime.kafka import describe, topic_names
    from runtime.settings import StageSettings, load
    from schemas.codec import Codec
    from stack import log_range

    kafka = load(StageSettings).kafka
    present = describe(kafka)
    name = next((name for name in (topic_names(kafka).prefix + topic, topic) if name in present), None)
    if name is None:
        raise SettingsError(f"there is no topic {topic!r} at {kafka.bootstrap_servers}; see `liqcascade topics`")
    everything = from_start or (not follow and not last)
    offsets = log_range.newest(kafka, name, None if everything else last)
    records = log_range.follow(kafka, offsets) if follow else log_range.to_end(kafka, offsets)
    known = topic_names(kafka).topic(name)
    codec, console, shown = Codec(kafka.schema_registry_url), Console(soft_wrap=True, highlight=False), 0
    for record in records:
        if key is not None and record.key != key.encode():
            continue
        row = _row(record, codec, known.record if known else None)
        if as_json:
            print_json(row)
        else:
            console.print(_line(row, known.record.__name__ if known and known.record else ""))
        sys.stdout.flush()
        shown += 1
        if shown == limit:
            return


def _row(record: LogRecord, codec: Any, kind: Any) -> dict[str, Any]:
    """Position and value of one record; a value that cannot be decoded is shown as text with the reason."""
    row: dict[str, Any] = {
        "partition": record.partition,
        "offset": record.offset,
        "append_time_ms": record.timestamp,
        "key": _text(record.key),
    }
    if kind is not None and record.value is not None:
        try:
            return row | {"value": codec.decode_plain(kind, record.value)}
        except SchemaError as exc:
            row["error"] = str(exc)
    headers = {name: _text(value) for name, value in record.headers}
    return row | {"headers": headers, "value": _text(record.value)}


def _line(row: dict[str, Any], record: str) -> Text:
    time = datetime.fromtimestamp(row["append_time_ms"] / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
    value = row["value"]
    line = Text(f"{time} {row['partition']}/{row['offset']} ", style="dim")
    if not isinstance(value, dict):
        return line.append(printable(f"{row.get('error', '')} {row.get('headers', '')} {value}"))
    for name in SHOWN.get(record, tuple(value)):
        field = value.get(name)
        style = LEVEL_STYLES.get(str(field), "") if "level" in name else ""
        line.append(f"{name}=", style="dim").append(printable(f"{field}"), style=style).append(" ")
    return line


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "backslashreplace")
