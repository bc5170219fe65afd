"""The fold alone: ten assets, six exchanges, 1,000 liquidations a second of log time, a third of them a second late.

Runs of values go in as the worker's source hands them over, outputs come out as its producer takes them. Times are of
the CPU, which leaves out what waits for it, but not that it is slower while others use the same memory and caches: so
beside the rate over all there is that of the quickest tenth, in slices of 10,000 events."""

import gc
import random
import time
from typing import Final

from processors.detector import Detector
from processors.outputs.output import WRITTEN
from processors.settings import DetectorSettings
from processors.windows.intake import read_run
from processors.windows.kernel import NEW_TAPE, NO_ROOM, RUN_ENDS, fold_run
from processors.windows.reference import Holder
from processors.windows.run import LogRun
from processors.windows.seen import Seen, new_seen, note_run
from processors.windows.store import Store
from schemas.codec import Codec
from schemas.records import Liquidation
from schemas.topics import LIQUIDATIONS
from schemas.words import Completeness, Exchange, Market, PriceKind, Side

SEED: Final = 20_251_010
EVENTS: Final = 1_000_000
EVENTS_WARMING_UP: Final = 20_000
EVENTS_ALONE: Final = 20_000
ASSETS: Final = ("BTC", "ETH", "SOL", "XRP", "DOGE", "BNB", "ADA", "AVAX", "LINK", "SUI")
EXCHANGES: Final = tuple(Exchange)[1:7]
RUN_RECORDS: Final = 500  # as many as the worker hands over at once
SLICE_RUNS: Final = 20
START_MS: Final = 1_760_000_000_000
NEVER_MS: Final = 1 << 40
ROOM: Final = 1 << 14  # bytes that one event may write; it writes windows only
CODEC: Final = Codec()


def run() -> dict[str, object]:
    """Events per second with everything (values in, outputs out), of panes and levels alone, and one by one."""
    started_s = time.perf_counter()
    Detector(DetectorSettings(), partition=0).fold_log(make_log(1))
    ready_s = time.perf_counter() - started_s
    log = make_log(EVENTS_WARMING_UP + EVENTS)
    gc.collect()
    gc.freeze()  # the log itself is no part of what is measured

    detector = Detector(DetectorSettings(), partition=0)
    runs = [log[first : first + RUN_RECORDS] for first in range(0, len(log), RUN_RECORDS)]
    warm = EVENTS_WARMING_UP // RUN_RECORDS
    outputs = 0
    for part in runs[:warm]:
        detector.fold_log(part)
    fold_ns = []
    for part in runs[warm:]:
        started_ns = time.process_time_ns()
        outputs += sum(len(messages) for _, messages in detector.fold_log(part)[0].by_topic())
        fold_ns.append(time.process_time_ns() - started_ns)

    alone = Detector(DetectorSettings(), partition=0)
    alone.fold_log(log[:EVENTS_WARMING_UP])
    took_ns = []
    for place in range(EVENTS_WARMING_UP, EVENTS_WARMING_UP + EVENTS_ALONE):
        record = log[place : place + 1]
        before_ns = time.process_time_ns()
        alone.fold_log(record)[0].by_topic()
        took_ns.append(time.process_time_ns() - before_ns)
    took_ns.sort()
    return {
        "events": EVENTS,
        **_rates("panes_levels_", panes_and_levels_ns(runs)[warm:]),
        **_rates("", fold_ns),
        "outputs": outputs,
        "one_event_p50_us": took_ns[len(took_ns) // 2] / 1_000,
        "one_event_p99_us": took_ns[len(took_ns) * 99 // 100] / 1_000,
        "state_bytes_per_asset": detector.state_bytes() // len(ASSETS),
        "state_bytes_ten": detector.state_bytes(),
        "ready_s": round(ready_s, 3),
    }


def _rates(what: str, runs_ns: list[int]) -> dict[str, int]:
    """Events per second over all runs, and over the quickest tenth of the slices."""
    slices = sorted(sum(runs_ns[first : first + SLICE_RUNS]) for first in range(0, len(runs_ns), SLICE_RUNS))
    quickest = slices[: len(slices) // 10]
    return {
        f"{what}events_per_s": round(RUN_RECORDS * len(runs_ns) * 1e9 / sum(runs_ns)),
        f"{what}quickest_events_per_s": round(RUN_RECORDS * SLICE_RUNS * len(quickest) * 1e9 / sum(quickest)),
    }


def panes_and_levels_ns(runs: list[LogRun]) -> list[int]:
    """CPU time of each run in the compiled loop alone, over records that are read already: ids, panes of all sizes,
    correlation, levels, and the windows that close; no states, no updates of an alert."""
    settings = DetectorSettings(state_interval_ms=NEVER_MS, update_interval_ms=NEVER_MS)
    store = Store(settings, partition=0, headers=[CODEC.header(topic) for topic in WRITTEN])
    store.clock["room"], store.clock["stale_ms"] = ROOM, NEVER_MS * 4
    holder = Holder(Seen)
    ids = holder.hold(new_seen(len(runs) * RUN_RECORDS))
    header = CODEC.header(LIQUIDATIONS)
    spent_ns = []
    for part in runs:
        read = read_run(part, store, header, lambda value: CODEC.decode(Liquidation, value))
        started_ns = time.process_time_ns()
        count = len(read.events)
        note_run(count, store.state, ids)
        at, why = fold_run(count, read.data, 0, store.state)
        while why != RUN_ENDS:
            assert why in (NEW_TAPE, NO_ROOM)
            store.out.counts[:] = 0
            at, why = fold_run(count, read.data, at, store.state)
        store.out.counts[:] = 0
        spent_ns.append(time.process_time_ns() - started_ns)
    return spent_ns


def make_log(events: int) -> LogRun:
    """A log from a seed."""
    rng = random.Random(SEED)
    values: list[bytes | None] = []
    for offset in range(events):
        append_time_ms = START_MS + offset
        lag_ms = 1_000 if rng.random() < 1 / 3 else rng.randrange(50, 150)
        quantity = round(rng.lognormvariate(3, 1.5), 3)
        liquidation = Liquidation(
            event_id=f"seed:{offset}",
            exchange=rng.choice(EXCHANGES),
            asset=rng.choice(ASSETS),
            instrument="ANY",
            market=Market.USDT,
            side=rng.choice((Side.LONG, Side.SHORT)),
            price=100.0,
            quantity=quantity,
            notional_usd=round(100.0 * quantity, 6),
            price_kind=PriceKind.BANKRUPTCY,
            completeness=Completeness.ALL,
            event_time_ms=append_time_ms - lag_ms,
            received_time_us=(append_time_ms - 5) * 1_000,
        )
        values.append(CODEC.encode(LIQUIDATIONS, liquidation))
    return LogRun([*range(events)], [*range(START_MS, START_MS + events)], values)
