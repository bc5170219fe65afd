"""Why an alert was raised, from the alerts topic alone."""

import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from schemas.errors import LiqcascadeError, SchemaError, SettingsError
from stack.cli.console import print_json, printable

RECORDS_MAX: Final = 5_000_000  # one partition holds fewer in 90 days: 1 alert/s for 57 days
TOLD_EVERY_S: Final = 2.0
SLACK_MS: Final = 60_000  # an alert is appended after its log time, unless the clocks of two brokers differ


def explain(
    alert_id: Annotated[str, typer.Argument(help="As in the topic: asset, start of the episode and sequence.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object: alert, sentences, sums.")] = False,
) -> None:
    """Say in words and numbers why an alert was raised: levels, contributions, exchanges, and what is missing.

    Exit code 1 when the topic does not hold the alert."""
    from runtime.settings import StageSettings, load
    from stack.explanation import explain, sentences

    asset, began_ms = _parts(alert_id)
    alert = _find(load(StageSettings).kafka, alert_id, asset, began_ms)
    if as_json:
        print_json(explain(alert))
        return
    for sentence in sentences(alert):
        typer.echo(printable(sentence))


def _parts(alert_id: str) -> tuple[str, int]:
    asset, *rest = alert_id.rsplit(":", 2)
    if not asset or len(rest) != 2 or not all(part.isdigit() for part in rest):
        raise SettingsError(f"{alert_id!r} is no alert id; they look like BTC:1760130903120:0 (see alerts.cascades)")
    return asset, int(rest[0])


def _find(kafka: Any, alert_id: str, asset: str, began_ms: int) -> Any:
    """The alert, from the partition of its asset, beginning where its episode began."""
    from schemas.codec import Codec
    from schemas.records import CascadeAlert

    codec, looked_at, told_s = Codec(kafka.schema_registry_url), 0, time.monotonic()
    for record in _records(kafka, asset, began_ms - SLACK_MS):
        looked_at += 1
        if record.key == asset.encode():
            try:
                alert = codec.decode(CascadeAlert, record.value or b"")
            except SchemaError:
                continue  # not ours: nobody can have its id
            if alert.alert_id == alert_id:
                return alert
        if time.monotonic() - told_s > TOLD_EVERY_S:
            told_s = time.monotonic()
            sys.stderr.write(f"looked at {looked_at:,} alerts\n")
        if looked_at >= RECORDS_MAX:
            break
    raise LiqcascadeError(
        f"there is no alert {alert_id} among {looked_at:,} records of {kafka.topic_prefix}alerts.cascades at"
        f" {kafka.bootstrap_servers}; they are kept for 90 days (see `liqcascade tail alerts.cascades`)"
    )


def _records(kafka: Any, asset: str, from_ms: int) -> Iterator[Any]:
    import threading

    from processors.history import partition_of
    from processors.host.log import LogReader
    from runtime.kafka import describe, topic_names
    from schemas.topics import ALERTS

    name = topic_names(kafka).of(ALERTS)
    partitions = describe(kafka).get(name)
    if partitions is None:
        raise SettingsError(f"there is no topic {name} at {kafka.bootstrap_servers}; see `liqcascade topics`")
    partition, ending = partition_of(asset, partitions), threading.Event()
    with LogReader(kafka, {}, ending=ending) as asking:
        start = asking.offset_at(name, partition, from_ms)
        low, high = asking.bounds(name, partition)
    if max(start, low) >= high:
        return
    with LogReader(kafka, {(name, partition): max(start, low)}, ending=ending) as reader:
        yield from reader.to_end()
