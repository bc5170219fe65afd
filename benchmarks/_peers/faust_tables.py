"""Faust's own tables, in memory, with the windows that they can hold: a step below a second is a ValueError to them."""

import sys
import tempfile
from datetime import timedelta
from typing import Any

import faust

from benchmarks._peers.task import BROKERS, EVENTS, STEPS, TOPIC, WINDOWS_MS, Watch, decode

EXPIRES = timedelta(hours=6)  # by wall clock: the workload's time began up to a quarter of an hour ago
PARTITIONS = 12


class Liquidation(faust.Codec):  # type: ignore[misc]  # no types there
    """Values of the topic."""

    def _loads(self, s: bytes) -> dict[str, Any]:
        return decode(s)

    def _dumps(self, obj: Any) -> bytes:
        raise NotImplementedError


def _time_s(event: Any) -> float:
    return float(event.value["event_time_ms"] / 1_000)


def _add(sums: tuple[int, float], usd: float) -> tuple[int, float]:
    return sums[0] + 1, sums[1] + usd


app = faust.App(
    "peer-faust", broker=f"kafka://{BROKERS}", store="memory://", web_enabled=False,
    consumer_auto_offset_reset="earliest", topic_partitions=PARTITIONS, datadir=tempfile.mkdtemp(),
)  # fmt: skip
topic = app.topic(TOPIC, value_serializer=Liquidation(), key_serializer="raw", allow_empty=False)
tables = [
    app.Table(f"sums-{size_ms}", default=lambda: (0, 0.0), partitions=PARTITIONS)
    .hopping(size_ms / 1_000, size_ms / 1_000 / STEPS, expires=EXPIRES)
    .relative_to(_time_s)
    for size_ms, _ in WINDOWS_MS
    if size_ms >= 1_000 * STEPS
]
watch = Watch(EVENTS)


@app.agent(topic)  # type: ignore[untyped-decorator]  # no types there
async def add(stream: Any) -> None:
    """Into every table."""
    async for event in stream.events():
        watch.see()
        for table in tables:
            table[event.value["asset"]].apply(_add, event.value["notional_usd"])


sys.argv = ["faust", "worker", "--loglevel", "error"]
app.main()
