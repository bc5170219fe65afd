"""Every sink by its kind: a new one is a module and a line here."""

from typing import Final

from sinks.connector import Connector
from sinks.parquet import ParquetSink
from sinks.redis import RedisSink
from sinks.timescale import TimescaleSink
from sinks.webhook import WebhookSink

SINKS: Final[dict[str, type[Connector]]] = {
    sink.kind: sink for sink in (TimescaleSink, RedisSink, ParquetSink, WebhookSink)
}
