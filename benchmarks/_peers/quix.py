"""Quix Streams, state in RocksDB as it comes, without changelog topics."""

import tempfile
from typing import Any

from quixstreams import Application
from quixstreams.dataframe.windows import Count, Sum
from quixstreams.models import BytesDeserializer

from benchmarks._peers.task import BROKERS, EVENTS, STEPS, TOPIC, WINDOWS_MS, Watch, decode


class Liquidation(BytesDeserializer):  # type: ignore[misc]  # not in this environment
    """Values of the topic."""

    def __call__(self, value: bytes, ctx: Any) -> dict[str, Any]:
        return decode(value)


def _time_ms(value: Any, headers: Any, timestamp: float, timestamp_type: Any) -> int:
    return int(value["event_time_ms"])


app = Application(
    BROKERS, consumer_group="peer-quix", auto_offset_reset="earliest", state_dir=tempfile.mkdtemp(),
    use_changelog_topics=False, loglevel="WARNING",
)  # fmt: skip
liquidations = app.topic(TOPIC, value_deserializer=Liquidation(), key_deserializer="str", timestamp_extractor=_time_ms)
events = app.dataframe(liquidations)
watch = Watch(EVENTS)
for size_ms, grace_ms in WINDOWS_MS:
    window = events.hopping_window(size_ms, size_ms // STEPS, grace_ms=grace_ms)
    window.agg(events=Count(), usd=Sum("notional_usd")).final()
events.update(lambda value: watch.see())
app.run()
