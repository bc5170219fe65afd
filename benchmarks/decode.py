"""Frames/s that the decoders turn into records, one core, one event a frame."""

import time
from typing import Final

from producers.exchange import LIQUIDATION
from producers.exchanges import ADAPTERS
from producers.instruments import Instruments, shipped

FRAMES: Final = {
    "binance": b'{"stream":"!forceOrder@arr","data":{"e":"forceOrder","E":1791391083124,"o":{"s":"SOLUSDT","S":"SELL",'
    b'"o":"LIMIT","f":"IOC","q":"116.5","p":"138.0300","ap":"138.8564","X":"FILLED","l":"25.2","z":"116.5",'
    b'"T":1791391082119,"ps":"SOLUSDT","st":1}}}',
    "bybit": b'{"topic":"allLiquidation.SOLUSDT","type":"snapshot","ts":1791565601482,"data":[{"T":1791565600992,'
    b'"s":"SOLUSDT","S":"Buy","v":"19.7","p":"138.85"}]}',
    "okx": b'{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"details":[{"bkLoss":"0",'
    b'"bkPx":"138.85","ccy":"","posSide":"long","side":"sell","sz":"8.55","ts":"1791565600771"}],'
    b'"instFamily":"SOL-USDT","instId":"SOL-USDT-SWAP","instType":"SWAP","uly":"SOL-USDT"}]}',
}
RUN_FRAMES: Final = 100_000
RUNS: Final = 3


def run() -> dict[str, float]:
    """Frames/s by exchange, the best of three runs of 100,000 frames."""
    return {name: max(frames_per_s(name) for _ in range(RUNS)) for name in FRAMES}


def frames_per_s(name: str) -> float:
    adapter, frame = ADAPTERS[name], FRAMES[name]
    instruments = Instruments(adapter.exchange, shipped(adapter.exchange), adapter.instrument_rule)
    decode = adapter.decoders[LIQUIDATION]
    start = time.perf_counter()
    for received_time_us in range(RUN_FRAMES):
        events = decode(frame, received_time_us=received_time_us, instruments=instruments)
        assert len(events) == 1
    return round(RUN_FRAMES / (time.perf_counter() - start), 1)
