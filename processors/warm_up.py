"""Compiling the detector before the first record needs it: a minute once an installation, then a third of a second.

A worker that compiled in the middle of its stream would be thrown out of its group."""

from typing import Final

import numpy as np
from msgspec.structs import replace

from processors.detector import Delivered, Detector
from processors.market.contagion import follows
from processors.market.fold import MarketFold
from processors.market.records import progress_of
from processors.market.settings import MarketSettings
from processors.settings import DetectorSettings, RuleSettings
from processors.windows.seen import new_seen, with_room
from schemas.codec import Codec
from schemas.records import Funding, JournalContext, JournalEntry, Liquidation, OpenInterest, Record
from schemas.topics import FUNDING, OPEN_INTEREST, STATE, Topic
from schemas.words import Completeness, Exchange, JournalKind, Level, Market, PriceKind, Side, StateKind

EVENTS: Final = 60  # enough for an alert and for a correlation of two exchanges
SPAN_MS: Final = 1_500
HOUR_MS: Final = 3_600_000
ASSET: Final = "WARM-UP"


def warm_up(settings: DetectorSettings) -> None:
    """Run every compiled function once, on a detector of its own."""
    rule = RuleSettings(name="warm_up", level="EXTREME", expression="events > 0")
    detector = Detector(settings.model_copy(update={"rules": (rule,)}), partition=None)
    detector.fold([Delivered(i, HOUR_MS + i * SPAN_MS // EVENTS, _liquidation(i)) for i in range(EVENTS)])
    entries: list[JournalContext | int] = [
        _context(OPEN_INTEREST, _open_interest()),
        _context(FUNDING, _funding()),
        HOUR_MS + SPAN_MS + 100,
        2 * HOUR_MS,
    ]
    for sequence, entry in enumerate(entries):
        detector.apply(
            JournalEntry(
                partition=0,
                epoch=0,
                sequence=sequence,
                after_offset=EVENTS - 1,
                kind=JournalKind.TICK if isinstance(entry, int) else JournalKind.CONTEXT,
                append_time_ms=entry if isinstance(entry, int) else None,
                context=None if isinstance(entry, int) else entry,
            )
        )
    detector.open_interest(ASSET)
    with_room(new_seen(1), 2)
    detector.due_baselines()
    Detector(settings, partition=None).restore(detector.snapshot())
    _warm_up_market()


def _warm_up_market() -> None:
    """An asset in WATCH raises a market of one."""
    settings = MarketSettings(watch_assets=1)
    fold = MarketFold(settings, partitions=1, judged_size_ms=DetectorSettings().judged_size_ms)
    state = replace(progress_of(HOUR_MS, 0), kind=StateKind.ASSET, asset=ASSET, level=Level.WATCH)
    fold.fold([0], [Codec().encode(STATE, state)])
    follows(np.zeros(2, np.int64), np.zeros(1, np.int64))


def _liquidation(number: int) -> Liquidation:
    time_ms = HOUR_MS + number * SPAN_MS // EVENTS
    return Liquidation(
        event_id=str(number),
        exchange=tuple(Exchange)[1 + number % 2],
        asset=ASSET,
        instrument=ASSET,
        market=Market.USDT,
        side=Side.LONG,
        price=1.0,
        quantity=1.0,
        notional_usd=1.0,
        price_kind=PriceKind.BANKRUPTCY,
        completeness=Completeness.ALL,
        event_time_ms=time_ms,
        received_time_us=time_ms * 1_000,
    )


def _context(topic: Topic, record: Record) -> JournalContext:
    return JournalContext(
        topic=topic.name, partition=0, offset=0, append_time_ms=HOUR_MS, key=b"", value=Codec().encode(topic, record)
    )


def _open_interest() -> OpenInterest:
    return OpenInterest(
        event_id="",
        exchange=tuple(Exchange)[1],
        asset=ASSET,
        instrument=ASSET,
        market=Market.USDT,
        open_interest=1.0,
        open_interest_usd=1.0,
        event_time_ms=HOUR_MS,
        received_time_us=0,
    )


def _funding() -> Funding:
    return Funding(
        event_id="",
        exchange=tuple(Exchange)[1],
        asset=ASSET,
        instrument=ASSET,
        market=Market.USDT,
        rate=0.0001,
        interval_hours=8.0,
        rate_8h=0.0001,
        settled=False,
        event_time_ms=HOUR_MS,
        received_time_us=0,
    )


if __name__ == "__main__":
    warm_up(DetectorSettings())
