"""How long a program waits for the levels and the state of an asset whose hour is full."""

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from typing import Final

import msgspec

from runtime.clock import wall_clock_ms
from schemas.records import AssetState, Liquidation
from schemas.topics import LIQUIDATIONS, STATE
from schemas.words import Side
from sinks.connector import SinkRecord, batch_of
from sinks.redis import RedisSink
from sinks.redis_view import LEVELS_MAX, RedisView
from sinks.settings import SinkSettings

EVENTS: Final = 12_000  # 20 at each level and side
CALLS: Final = 1_000
ASSET: Final = "FULL"
HOUR_MS: Final = 3_600_000


def figures(settings: SinkSettings, sample: Liquidation) -> dict[str, object]:
    """Median ms of each call. Between two calls a liquidation lands, so that there is always something to read."""
    now_ms = wall_clock_ms()
    with closing(RedisSink(settings, name="view")) as sink, closing(RedisView(settings.redis)) as view:
        sink.open([(LIQUIDATIONS.name, 0), (STATE.name, 0)])
        sink.put(batch_of([SinkRecord(STATE, (STATE.name, 0), 0, now_ms, None, b"", _state(now_ms))]))
        events = [_event(sample, number, now_ms - number * HOUR_MS // EVENTS) for number in range(EVENTS)]
        for first in range(0, EVENTS, 1_000):
            sink.put(batch_of(events[first : first + 1_000]))
        sink.flush()
        assert len(view.levels(ASSET)) == LEVELS_MAX, "a full hour"
        levels_ms = []
        for number in range(EVENTS, EVENTS + CALLS):
            sink.put(batch_of([_event(sample, number, now_ms)]))
            sink.flush()
            levels_ms.append(_took_ms(lambda: view.levels(ASSET)))
        states_ms = [_took_ms(lambda: view.state(ASSET)) for _ in range(CALLS)]
    return {
        "levels_p50_ms": round(statistics.median(levels_ms), 3),
        "state_p50_ms": round(statistics.median(states_ms), 3),
        "levels": LEVELS_MAX,
    }


def _event(sample: Liquidation, number: int, event_time_ms: int) -> SinkRecord:
    """At one of 300 levels, 50 wide each."""
    event = msgspec.structs.replace(
        sample,
        event_id=f"view:{number}",
        asset=ASSET,
        side=(Side.LONG, Side.SHORT)[number % 2],
        price=60_000.0 + number * 7 % LEVELS_MAX * 50,
        event_time_ms=event_time_ms,
    )
    return SinkRecord(LIQUIDATIONS, (LIQUIDATIONS.name, 0), number, wall_clock_ms(), None, b"", event)


def _took_ms(call: Callable[[], object]) -> float:
    begun_s = time.perf_counter()
    call()
    return (time.perf_counter() - begun_s) * 1_000


def _state(now_ms: int) -> AssetState:
    """As full as one gets: all windows, six exchanges."""
    window = {"events": 90, "events_per_s": 45.0, "notional_usd_per_s": 2.5e6}
    window |= {"acceleration_events_per_s2": 3.5, "acceleration_usd_per_s2": 1.25e5, "long_share": 0.875}
    exchanges = ("binance", "bybit", "okx", "bitget", "gate", "hyperliquid")
    terms = ("velocity", "acceleration", "volume", "correlation", "funding", "open_interest")
    levels = ("level", "previous_level", "peak_level", "absolute_level", "relative_level")
    active = {"events_per_s": 7.5, "notional_usd_per_s": 4.2e5, "share": 0.1625, "active": True}
    plain = {
        "kind": "ASSET",
        "asset": ASSET,
        "profile": "ABSOLUTE",
        "side": "LONG",
        "probability": 0.875,
        "boost": 1.2,
        "contributions": dict.fromkeys(terms, 0.125),
        "windows": [{"size_ms": size_ms} | window for size_ms in (100, 500, 2_000, 10_000, 60_000, 300_000)],
        "exchanges": dict.fromkeys(exchanges, active),
        "flags": [],
        "coverage": {name: {"state": "LIVE", "completeness": "ALL"} for name in exchanges},
        "confidence": 0.9,
        "event_time_ms": now_ms,
        "append_time_ms": now_ms,
    }
    return msgspec.convert(plain | dict.fromkeys(levels, "CRITICAL"), AssetState)
