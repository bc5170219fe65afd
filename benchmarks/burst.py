"""20,000 frames/s for 10 s over websockets into one `produce` process: what is lost, how fast it takes them in, how it
holds the senders back.

One event a frame, from three exchanges at once. All is counted in the topic, record by record."""

import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from benchmarks._children import Child, line_of, speaking, tell
from benchmarks._produce import Produce, producing
from runtime.kafka import confluent_config, describe
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import StackError
from schemas.records import Liquidation
from schemas.topics import LIQUIDATIONS
from stack.embedded import EmbeddedStack

FRAMES: Final = 200_000
FRAMES_PER_S: Final = 20_000
SAMPLE_S: Final = 0.1
SETTLE_S: Final = 5.0  # after the start: REST histories are read then
PATIENCE_S: Final = 30.0  # without a new event
ANSWER_S_MAX: Final = 10.0


def run() -> dict[str, object]:
    """{"frames_sent", "offered_per_s", "intake_per_s", "held_back_s", "cpu_us_per_frame", "event_loop_us_per_frame",
    "queue_messages_max", "queue_waits", "rss_mb_before", "rss_mb_peak", "events_published", "lost", "doubled",
    "lag_p50_ms", "lag_p99_ms"}; held_back_s, lags and queue_waits (for the broker) are the back-pressure."""
    with tempfile.TemporaryDirectory(prefix="liqcascade-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        stack = EmbeddedStack(folder)
        try:
            kafka = KafkaSettings(bootstrap_servers=stack.kafka.start())
            with speaking("benchmarks._sender", FRAMES, FRAMES_PER_S) as sender:
                with producing(kafka, line_of(sender)["origins"], folder) as produce:
                    time.sleep(SETTLE_S)
                    figures = measure(produce, sender)
                return figures | count(kafka)
        finally:
            stack.stop()


def measure(produce: Produce, sender: Child) -> dict[str, object]:
    """Let the burst begin and watch until all its events are acknowledged."""
    before, cpu_before, rss_mb_before = produce.metrics(), produce.cpu_s(), produce.rss_mb()
    tell(sender)
    begun = progress = time.monotonic()
    queue_max = published = 0.0
    while published < FRAMES:
        now, metrics = time.monotonic(), produce.metrics()
        queue_max = max(queue_max, metrics["liqcascade_publish_queue_messages"])
        if metrics["published"] != published:
            begun, progress = (begun if published else now), now
        published = metrics["published"] - before["published"]
        if now - progress > PATIENCE_S:
            break  # some are lost; `count` says how many
        time.sleep(SAMPLE_S)
    took_s = progress - begun
    (cpu_s, loop_s), after = produce.cpu_s(), produce.metrics()
    told = line_of(sender)
    return {
        "frames_sent": told["sent"],
        "offered_per_s": FRAMES_PER_S,
        "intake_per_s": round(published / took_s),
        "held_back_s": round(max(0.0, told["took_s"] - FRAMES / FRAMES_PER_S), 2),
        "cpu_us_per_frame": round((cpu_s - cpu_before[0]) / FRAMES * 1e6, 1),
        "event_loop_us_per_frame": round((loop_s - cpu_before[1]) / FRAMES * 1e6, 1),
        "queue_messages_max": round(queue_max),
        "queue_waits": round(after["liqcascade_publish_waits_total"] - before["liqcascade_publish_waits_total"]),
        "rss_mb_before": round(rss_mb_before, 1),
        "rss_mb_peak": round(produce.rss_mb_peak(), 1),
    }


def count(kafka: KafkaSettings) -> dict[str, object]:
    """What the topic holds, by event id."""
    consumer = Consumer(confluent_config(kafka, group_id="bench", enable_auto_commit=False))
    ids: Counter[str] = Counter()
    lags_ms: list[float] = []
    codec = Codec()
    for number in range(describe(kafka)[LIQUIDATIONS.name]):
        place = TopicPartition(LIQUIDATIONS.name, number, 0)
        left = consumer.get_watermark_offsets(place, timeout=ANSWER_S_MAX)[1]
        consumer.assign([place])
        while left:
            messages = consumer.consume(min(left, 10_000), timeout=ANSWER_S_MAX)
            if not messages:
                raise StackError(f"reading {LIQUIDATIONS.name}: {left} records of partition {number} did not come")
            left -= len(messages)
            events = [codec.decode(Liquidation, message.value() or b"") for message in messages]
            ids.update(event.event_id for event in events)
            lags_ms += [event.received_time_us / 1_000 - event.event_time_ms for event in events]
    consumer.close()
    p50_ms, p99_ms = np.percentile(lags_ms, (50, 99))
    return {
        "events_published": ids.total(),
        "lost": FRAMES - len(ids),
        "doubled": ids.total() - len(ids),
        "lag_p50_ms": round(float(p50_ms)),
        "lag_p99_ms": round(float(p99_ms)),
    }
