"""The fold alone: ten assets, six exchanges, 1,000 liquidations a second of log time, a third of them a second late."""

import gc
import random
import time
from statistics import median
from typing import Final

from processors.detector import Delivered, Detector, Output
from processors.settings import DetectorSettings
from schemas.records import Liquidation
from schemas.words import Completeness, Exchange, Market, PriceKind, Side

SEED: Final = 20_251_010
EVENTS: Final = 200_000
EVENTS_WARMING_UP: Final = 20_000
ASSETS: Final = ("BTC", "ETH", "SOL", "XRP", "DOGE", "BNB", "ADA", "AVAX", "LINK", "SUI")
EXCHANGES: Final = tuple(Exchange)[1:7]
RUN_RECORDS: Final = 500  # as many as the worker hands over at once
START_MS: Final = 1_760_000_000_000


def run() -> dict[str, object]:
    """Events per second of `Detector.fold` in runs of 500 and one by one, with what one event takes alone."""
    started = time.perf_counter()
    Detector(DetectorSettings(), partition=0)
    ready_s = time.perf_counter() - started
    log = make_log(EVENTS_WARMING_UP + EVENTS)
    warm, rest = log[:EVENTS_WARMING_UP], log[EVENTS_WARMING_UP:]

    detector = Detector(DetectorSettings(), partition=0)
    detector.fold(warm)
    gc.collect()
    gc.freeze()  # the log itself is no part of what is measured
    outputs: list[Output] = []
    started = time.perf_counter()
    for first in range(0, EVENTS, RUN_RECORDS):
        outputs += detector.fold(rest[first : first + RUN_RECORDS])
    fold_s = time.perf_counter() - started

    alone = Detector(DetectorSettings(), partition=0)
    alone.fold(warm)
    took_ns = []
    for delivered in rest[: EVENTS // 10]:
        before_ns = time.perf_counter_ns()
        alone.fold([delivered])
        took_ns.append(time.perf_counter_ns() - before_ns)
    took_ns.sort()
    return {
        "events": EVENTS,
        "events_per_s": round(EVENTS / fold_s),
        "outputs": len(outputs),
        "one_event_p50_us": median(took_ns) / 1_000,
        "one_event_p99_us": took_ns[len(took_ns) * 99 // 100] / 1_000,
        "state_bytes": detector.state_bytes(),
        "ready_s": round(ready_s, 3),
    }


def make_log(events: int) -> list[Delivered]:
    """A log from a seed."""
    rng = random.Random(SEED)
    log = []
    for offset in range(events):
        append_time_ms = START_MS + offset
        lag_ms = 1_000 if rng.random() < 1 / 3 else rng.randrange(50, 150)
        price = 100.0
        quantity = round(rng.lognormvariate(3, 1.5), 3)
        log.append(
            Delivered(
                offset,
                append_time_ms,
                Liquidation(
                    event_id=f"seed:{offset}",
                    exchange=rng.choice(EXCHANGES),
                    asset=rng.choice(ASSETS),
                    instrument="ANY",
                    market=Market.USDT,
                    side=rng.choice((Side.LONG, Side.SHORT)),
                    price=price,
                    quantity=quantity,
                    notional_usd=round(price * quantity, 6),
                    price_kind=PriceKind.BANKRUPTCY,
                    completeness=Completeness.ALL,
                    event_time_ms=append_time_ms - lag_ms,
                    received_time_us=(append_time_ms - 5) * 1_000,
                ),
            )
        )
    return log
