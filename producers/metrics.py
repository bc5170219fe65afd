"""What the producers count, for /metrics."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

FRAMES: Final = Counter("liqcascade_frames", "Frames received, control frames included", ["exchange"])
EVENTS_PUBLISHED: Final = Counter(
    "liqcascade_events_published", "Records that the broker has acknowledged", ["exchange", "topic"]
)
EVENTS_REPEATED: Final = Counter("liqcascade_events_repeated", "Events that the exchange sent again", ["exchange"])
DEAD_LETTERS: Final = Counter("liqcascade_dead_letters", "Frames that were refused", ["exchange"])
RECONNECTS: Final = Counter("liqcascade_reconnects", "Connections that ended and were opened again", ["exchange"])
REFUSED_SUBSCRIPTIONS: Final = Counter(
    "liqcascade_refused_subscriptions", "Subscriptions that the exchange refused", ["exchange"]
)
LAG: Final = Histogram(
    "liqcascade_lag_seconds",
    "Received minus event time",
    ["exchange"],
    buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300, 600),
)
QUEUE: Final = Gauge("liqcascade_publish_queue_messages", "Records waiting for the broker")
FRAMES_RECORDED: Final = Counter("liqcascade_frames_recorded", "Frames that were written to the recording")
FRAMES_NOT_RECORDED: Final = Counter(
    "liqcascade_frames_not_recorded", "Frames that are missing in the recording because the disk did not take them"
)
