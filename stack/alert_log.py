"""Finding one alert in its topic, by its id alone."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from processors.lead_in import began_ms as began_ms_of
from runtime.log_reader import LogReader, LogRecord
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import LiqcascadeError, SchemaError, SettingsError
from schemas.records import CascadeAlert
from schemas.topics import ALERTS
from stack.log_range import place_of, to_end

RECORDS_MAX: Final = 5_000_000  # one partition holds fewer in 90 days: 1 alert/s for 57 days
TOLD_EVERY_S: Final = 2.0
SLACK_MS: Final = 60_000  # an alert is appended after its log time, unless the clocks of two brokers differ
Told = Callable[[int], None]
Place = tuple[str, int]


def find_alert(kafka: KafkaSettings, alert_id: str, *, told: Told) -> CascadeAlert:
    """The alert, from the partition of its asset, between the beginnings of its episode and of the next one.

    `told(n)`: so many alerts were looked at, every now and then. Raises SettingsError for what is no id;
    LiqcascadeError, which says why, when it is not there; BrokerUnavailable."""
    asset, began_ms = _parts(alert_id)
    place = place_of(kafka, ALERTS, asset)
    codec, told_s, last = Codec(kafka.schema_registry_url), time.monotonic(), -1
    for looked_at, record in enumerate(_records(kafka, place, began_ms - SLACK_MS), 1):
        if time.monotonic() - told_s > TOLD_EVERY_S:
            told_s = time.monotonic()
            told(looked_at)
        if looked_at > RECORDS_MAX:
            break
        if record.key != asset.encode():
            continue
        try:
            alert = codec.decode(CascadeAlert, record.value or b"")
        except SchemaError:
            continue  # not ours: nobody can have its id
        if alert.alert_id == alert_id:
            return alert
        own_ms = began_ms_of(alert.episode_id)
        if own_ms > began_ms:
            break
        last = max(last, alert.sequence if own_ms == began_ms else -1)
    raise LiqcascadeError(
        f"there is no alert {alert_id} in {place[0]} at {kafka.bootstrap_servers}: {_why(kafka, place, began_ms, last)}"
        " (see `liqcascade tail alerts.cascades`)"
    )


def _parts(alert_id: str) -> tuple[str, int]:
    asset, *rest = alert_id.rsplit(":", 2)
    if not asset or len(rest) != 2 or not all(part.isdecimal() for part in rest):
        raise SettingsError(f"{alert_id!r} is no alert id; they look like BTC:1760130903120:0 (see alerts.cascades)")
    return asset, int(rest[0])


def _records(kafka: KafkaSettings, place: Place, from_ms: int) -> Iterator[LogRecord]:
    with LogReader(kafka, {}, ending=threading.Event()) as asking:
        low, high = asking.bounds(*place)
        start = max(low, asking.offset_at(*place, from_ms))
    if start < high:
        yield from to_end(kafka, {place: start})


def _why(kafka: KafkaSettings, place: Place, began_ms: int, last: int) -> str:
    if last >= 0:
        return f"its episode has the alerts 0 to {last} there"
    first = next(_records(kafka, place, 0), None)
    if first is not None and first.offset and first.timestamp > began_ms:
        since = datetime.fromtimestamp(first.timestamp / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        return f"what was before {since} UTC is gone, alerts are kept for 90 days"
    return "nothing of its episode stands there"
