"""Records built by hand, and the SinkRecords that a worker would make of them."""

from collections.abc import Iterable
from typing import Any

import msgspec

from runtime.clock import wall_clock_ms
from schemas.codec import Codec
from schemas.records import (
    AssetState,
    CascadeAlert,
    Contributions,
    ExchangeCoverage,
    ExchangeFigures,
    FeedHealth,
    Funding,
    Liquidation,
    OpenInterest,
    Record,
    WindowAggregate,
    WindowExchange,
    WindowFigures,
)
from schemas.topics import ALERTS, FEED_HEALTH, FUNDING, LIQUIDATIONS, OPEN_INTEREST, STATE, WINDOWS, Topic
from schemas.words import (
    AlertKind,
    Completeness,
    Exchange,
    FeedState,
    Level,
    Market,
    PriceKind,
    Profile,
    Side,
    StateKind,
)
from sinks.connector import SinkRecord

CODEC = Codec()
TOPIC_OF: dict[type[Record], Topic] = {
    Liquidation: LIQUIDATIONS,
    OpenInterest: OPEN_INTEREST,
    Funding: FUNDING,
    FeedHealth: FEED_HEALTH,
    WindowAggregate: WINDOWS,
    AssetState: STATE,
    CascadeAlert: ALERTS,
}


def liquidation(number: int = 0, **changes: Any) -> Liquidation:
    """One long of 0.5 BTC at 65,432.1, received 100 ms after its event."""
    event_time_ms = changes.pop("event_time_ms", wall_clock_ms())
    event = Liquidation(
        event_id=f"binance:BTCUSDT:{number}",
        exchange=Exchange.BINANCE,
        asset="BTC",
        instrument="BTCUSDT",
        market=Market.USDT,
        side=Side.LONG,
        price=65_432.1,
        quantity=0.5,
        notional_usd=32_716.05,
        price_kind=PriceKind.AVERAGE,
        completeness=Completeness.LARGEST_PER_SECOND,
        event_time_ms=event_time_ms,
        received_time_us=(event_time_ms + 100) * 1_000,
    )
    return msgspec.structs.replace(event, **changes)


def open_interest(number: int = 0) -> OpenInterest:
    """1,000 coins of one contract."""
    event_time_ms = 1_760_000_000_000 + number * 10_000
    return OpenInterest(
        event_id=f"okx:BTC-USDT-SWAP:{event_time_ms}",
        exchange=Exchange.OKX,
        asset="BTC",
        instrument="BTC-USDT-SWAP",
        market=Market.USDT,
        open_interest=1_000.5,
        open_interest_usd=None,
        event_time_ms=event_time_ms,
        received_time_us=(event_time_ms + 50) * 1_000,
    )


def funding(number: int = 0) -> Funding:
    """A predicted rate that is paid every four hours."""
    event_time_ms = 1_760_000_000_000 + number * 10_000
    return Funding(
        event_id=f"okx:BTC-USDT-SWAP:{event_time_ms}:predicted",
        exchange=Exchange.OKX,
        asset="BTC",
        instrument="BTC-USDT-SWAP",
        market=Market.USDT,
        rate=0.0001,
        interval_hours=4.0,
        rate_8h=0.0002,
        next_funding_time_ms=event_time_ms + 3_600_000,
        settled=False,
        event_time_ms=event_time_ms,
        received_time_us=(event_time_ms + 50) * 1_000,
    )


def health(number: int = 0) -> FeedHealth:
    """A channel that has been live for a minute."""
    event_time_ms = 1_760_000_000_000 + number * 60_000
    return FeedHealth(
        exchange=Exchange.OKX,
        channel="liquidation",
        state=FeedState.LIVE,
        since_ms=event_time_ms - 60_000,
        expected_gap_ms=30_000,
        lag_p50_ms=12.5,
        detail="first data\tafter 2 s",
        event_time_ms=event_time_ms,
    )


def window(number: int = 0, *, asset: str = "BTC") -> WindowAggregate:
    """A window of 2 s with three events of two exchanges."""
    start_ms = 1_760_000_000_000 + number * 2_000
    return WindowAggregate(
        window_id=f"{asset}:2000:{start_ms}",
        asset=asset,
        size_ms=2_000,
        window_start_ms=start_ms,
        window_end_ms=start_ms + 2_000,
        events=3,
        long_events=2,
        short_events=1,
        notional_usd=3_000.5,
        long_notional_usd=2_000.25,
        short_notional_usd=1_000.25,
        exchanges={
            "binance": WindowExchange(events=2, notional_usd=2_000.25, long_notional_usd=2_000.25),
            "okx": WindowExchange(events=1, notional_usd=1_000.25, long_notional_usd=0.0),
        },
        source_partition=3,
        source_offset=17,
        append_time_ms=start_ms + 7_000,
    )


def _common(asset: str, level: Level, event_time_ms: int) -> dict[str, Any]:
    return {
        "asset": asset,
        "episode_id": f"{asset}:{event_time_ms}",
        "profile": Profile.ABSOLUTE,
        "level": level,
        "previous_level": Level.NONE,
        "peak_level": level,
        "absolute_level": level,
        "relative_level": Level.UNKNOWN,
        "side": Side.LONG,
        "probability": 0.75,
        "boost": 1.25,
        "contributions": Contributions(
            velocity=0.25, acceleration=0.2, volume=0.1, correlation=0.05, funding=0.0, open_interest=0.0
        ),
        "windows": (
            WindowFigures(
                size_ms=2_000,
                events=80,
                events_per_s=40.0,
                notional_usd_per_s=1e6,
                acceleration_events_per_s2=12.5,
                acceleration_usd_per_s2=1e5,
                long_share=0.9,
            ),
        ),
        "exchanges": {"binance": ExchangeFigures(events_per_s=40.0, notional_usd_per_s=1e6, share=1.0, active=True)},
        "leading_exchange": Exchange.BINANCE,
        "flags": ("flash_crash", "momentum"),
        "coverage": {"binance": ExchangeCoverage(state=FeedState.LIVE, completeness=Completeness.LARGEST_PER_SECOND)},
        "confidence": 0.5,
        "source_partition": 3,
        "source_offset": 17,
        "event_time_ms": event_time_ms,
        "append_time_ms": event_time_ms + 200,
    }


def alert(number: int = 0, *, asset: str = "BTC", level: Level = Level.CRITICAL) -> CascadeAlert:
    """The alert with this sequence number in one episode."""
    fields = _common(asset, level, 1_760_000_000_000)
    return CascadeAlert(alert_id=f"{fields['episode_id']}:{number}", sequence=number, kind=AlertKind.UPDATED, **fields)


def state(*, asset: str = "BTC", level: Level = Level.ALERT, kind: StateKind = StateKind.ASSET) -> AssetState:
    """State of one asset."""
    return AssetState(kind=kind, **_common(asset, level, 1_760_000_000_000))


def landing(
    records: Iterable[Record],
    *,
    first_offset: int = 0,
    partition: int = 0,
    topic: Topic | None = None,
    prefix: str = "",
) -> list[SinkRecord]:
    """The records as one partition of their topics would hold them, appended now."""
    return [
        SinkRecord(
            topic=(at := topic or TOPIC_OF[type(record)]),
            position=(prefix + at.name, partition),
            offset=offset,
            append_time_ms=wall_clock_ms(),
            key=b"BTC",
            value=CODEC.encode(at, record),
            record=record,
        )
        for offset, record in enumerate(records, first_offset)
    ]
