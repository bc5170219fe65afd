"""What the producers count, for /metrics."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from schemas.records import FeedHealth
from schemas.words import FeedState

FRAMES: Final = Counter("liqcascade_frames", "Frames received, control frames included", ["exchange"])
EVENTS_PUBLISHED: Final = Counter(
    "liqcascade_events_published", "Records that the broker has acknowledged", ["exchange", "topic"]
)
EVENTS_REPEATED: Final = Counter("liqcascade_events_repeated", "Events that the exchange sent again", ["exchange"])
DEAD_LETTERS: Final = Counter("liqcascade_dead_letters", "Frames that were refused", ["exchange"])
MARKET_SKIPPED: Final = Counter(
    "liqcascade_market_skipped", "Open interest and funding that said nothing new or came too soon", ["exchange"]
)
REST_CALLS: Final = Counter("liqcascade_rest_calls", "REST calls", ["exchange"])
REST_REFUSALS: Final = Counter("liqcascade_rest_refusals", "REST calls refused as too many", ["exchange"])
POLL_INTERVAL: Final = Gauge(
    "liqcascade_poll_interval_seconds",
    "Interval of a REST call, stretched to what the budget allows",
    ["exchange", "path"],
)
RENEWALS: Final = Counter("liqcascade_renewals", "Connections replaced before the exchange cuts them", ["exchange"])
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
QUEUE_FULL: Final = Counter(
    "liqcascade_publish_waits", "Waits of a feed for room in the publisher's queue: back-pressure from the broker"
)
BACKLOG: Final = Counter("liqcascade_events_backlog", "Events that were history when they came", ["exchange"])
SIDES_CHECKED: Final = Counter(
    "liqcascade_sides_checked", "Liquidations whose side was checked by evidence", ["exchange", "agrees"]
)
STATE: Final = Gauge("liqcascade_feed_state", "1 for the state that a channel is in", ["exchange", "channel", "state"])
EXPECTED_GAP: Final = Gauge("liqcascade_feed_expected_gap_seconds", "Usual longest gap", ["exchange", "channel"])
LAG_QUANTILE: Final = Gauge(
    "liqcascade_feed_lag_seconds", "Received minus event time, lately", ["exchange", "channel", "quantile"]
)
CLOCK_OFFSET: Final = Gauge("liqcascade_clock_offset_seconds", "The exchange's clock minus ours", ["exchange"])
_STATES: Final = tuple(state for state in FeedState if state not in (FeedState.UNKNOWN, FeedState.GAP))
MS: Final = 1_000


def show_health(record: FeedHealth) -> None:
    """The figures of a channel's state as gauges; a GAP is an event and changes none."""
    if record.state is FeedState.GAP:
        return
    exchange, channel = record.exchange.value, record.channel
    for state in _STATES:
        STATE.labels(exchange, channel, state.value).set(float(state is record.state))
    if record.expected_gap_ms is not None:
        EXPECTED_GAP.labels(exchange, channel).set(record.expected_gap_ms / MS)
    for quantile, lag_ms in (("0.5", record.lag_p50_ms), ("0.99", record.lag_p99_ms)):
        if lag_ms is not None:
            LAG_QUANTILE.labels(exchange, channel, quantile).set(lag_ms / MS)
    if record.clock_offset_ms is not None:
        CLOCK_OFFSET.labels(exchange).set(record.clock_offset_ms / MS)
