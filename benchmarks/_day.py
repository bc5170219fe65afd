"""`python -m benchmarks._day`: a day of 300 assets in simulated time through one fold, in a process of its own.

Five liquidations a second over all assets, a tick a second, and the open interest of an asset and exchange once a
minute: 432,000 of each kind but the ticks. Prints what the process and the state take hour by hour."""

import gc
import json
import sys
from typing import Final

import psutil

from benchmarks._workload import SEED, assets, liquidations
from processors.detector import Delivered, Detector
from processors.settings import DetectorSettings
from schemas.codec import Codec
from schemas.records import JournalContext, JournalEntry, OpenInterest
from schemas.topics import OPEN_INTEREST, SNAPSHOTS
from schemas.words import Exchange, JournalKind, Market

ASSETS: Final = 300
HOURS: Final = 24
HOUR_S: Final = 3_600
RATE_PER_S: Final = 5
START_MS: Final = 1_760_000_400_000  # a full hour


def main() -> None:
    """Print {"memory_mb": [hour …], "state_bytes", "snapshot_bytes"}; progress on stderr."""
    names, codec = assets(ASSETS), Codec()
    detector = Detector(DetectorSettings(), partition=0)
    process = psutil.Process()
    memory_mb, snapshots, outputs = [], {}, 0
    for hour in range(HOURS):
        outputs += _fold_hour(detector, codec, names, hour)
        snapshots.update({row.asset: len(codec.encode(SNAPSHOTS, row)) for row in detector.snapshot()})
        gc.collect()
        memory_mb.append(round(process.memory_info().rss / 1e6, 2))
        print(f"hour {hour + 1}: {memory_mb[-1]} MB, {outputs} outputs", file=sys.stderr)
    figures = {
        "memory_mb": memory_mb,
        "state_bytes": detector.state_bytes(),
        "snapshot_bytes": sum(snapshots.values()),
        "outputs": outputs,
    }
    print(json.dumps(figures), flush=True)


def _fold_hour(detector: Detector, codec: Codec, names: list[str], hour: int) -> int:
    """Returns the number of outputs."""
    start_ms = START_MS + hour * HOUR_S * 1_000
    events, end_ms = HOUR_S * RATE_PER_S, start_ms + HOUR_S * 1_000 - 1
    log = liquidations(events, names, end_ms=end_ms, rate_per_s=RATE_PER_S, seed=SEED + hour)
    outputs = 0
    for second in range(HOUR_S):
        now_ms = start_ms + second * 1_000
        for number in range(RATE_PER_S):
            # 300 assets a minute are five a second
            asset = names[(second * RATE_PER_S + number) % len(names)]
            outputs += len(detector.apply(_entry(detector, JournalKind.CONTEXT, _interest(codec, asset, now_ms))))
        run = [Delivered(detector.next_offset + i, *next(log)) for i in range(RATE_PER_S)]
        outputs += len(detector.fold(run))
        outputs += len(detector.apply(_entry(detector, JournalKind.TICK, None, run[-1].append_time_ms)))
    return outputs


def _entry(
    detector: Detector, kind: JournalKind, context: JournalContext | None, append_time_ms: int | None = None
) -> JournalEntry:
    return JournalEntry(
        partition=0,
        epoch=1,
        sequence=detector.next_sequence,
        after_offset=detector.next_offset - 1,
        kind=kind,
        append_time_ms=append_time_ms,
        context=context,
    )


def _interest(codec: Codec, asset: str, now_ms: int) -> JournalContext:
    coins = 1_000_000.0 + now_ms // 1_000 % 1_000
    record = OpenInterest(
        event_id=f"binance:{asset}USDT:{now_ms}",
        exchange=Exchange.BINANCE,
        asset=asset,
        instrument=f"{asset}USDT",
        market=Market.USDT,
        open_interest=coins,
        open_interest_usd=coins * 100.0,
        event_time_ms=now_ms,
        received_time_us=now_ms * 1_000,
    )
    return JournalContext(
        topic=OPEN_INTEREST.name,
        partition=0,
        offset=0,
        append_time_ms=now_ms,
        key=asset.encode(),
        value=codec.encode(OPEN_INTEREST, record),
    )


if __name__ == "__main__":
    main()
