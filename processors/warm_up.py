"""Compiling the detector before the first record needs it: some ten seconds once an installation, then a third of one.

A worker that compiled in the middle of its stream would be thrown out of its group."""

from typing import Final

from processors.detector import Delivered, Detector
from processors.settings import DetectorSettings
from schemas.records import JournalEntry, Liquidation
from schemas.words import Completeness, Exchange, JournalKind, Market, PriceKind, Side

EVENTS: Final = 60  # enough for an alert and for a correlation of two exchanges
SPAN_MS: Final = 1_500
HOUR_MS: Final = 3_600_000


def warm_up(settings: DetectorSettings) -> None:
    """Run every compiled function once, on a detector of its own."""
    detector = Detector(settings, partition=None)
    detector.fold([Delivered(i, HOUR_MS + i * SPAN_MS // EVENTS, _liquidation(i)) for i in range(EVENTS)])
    for sequence, time_ms in enumerate((HOUR_MS + SPAN_MS + 100, 2 * HOUR_MS)):
        detector.apply(
            JournalEntry(
                partition=0,
                epoch=0,
                sequence=sequence,
                after_offset=EVENTS - 1,
                kind=JournalKind.TICK,
                append_time_ms=time_ms,
            )
        )


def _liquidation(number: int) -> Liquidation:
    time_ms = HOUR_MS + number * SPAN_MS // EVENTS
    return Liquidation(
        event_id=str(number),
        exchange=tuple(Exchange)[1 + number % 2],
        asset="WARM-UP",
        instrument="WARM-UP",
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
