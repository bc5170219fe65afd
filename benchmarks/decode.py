"""Frames that the decoders turn into records in a second of one core's time, one event a frame."""

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
    "hyperliquid": b'{"channel":"trades","data":[{"coin":"SOL","side":"A","px":"138.85","sz":"19.7",'
    b'"time":1791565600992,"hash":"0x6b8f5cbbd1f34dc8a1a0043000000000000000000000000000000000000000a1","tid":118906512037719,"users":'
    b'["0x2e3d94f0562703b25c83308a05046ddaf9a8dd14","0x00000000000000000000000000000000000000a1"]}]}',
    "gate": b'{"time":1791565601,"time_ms":1791565601482,"channel":"futures.public_liquidates","event":"update",'
    b'"result":[{"price":"138.85","size":"-197","time":1791565600992,"contract":"SOL_USDT"}]}',
    "bitget": b'{"action":"update","arg":{"instType":"usdt-futures","topic":"liquidation"},"data":[{"symbol":"SOLUSDT",'
    b'"side":"buy","price":"138.85","amount":"2735.345","ts":"1791565600992"}],"ts":1791565601482}',
}
RUN_FRAMES: Final = 100_000
RUNS: Final = 3


def run() -> dict[str, float]:
    """Frames/s by exchange, the best of three runs of 100,000 frames; what other processes take is not counted."""
    return {name: max(frames_per_s(name) for _ in range(RUNS)) for name in FRAMES}


def frames_per_s(name: str) -> float:
    adapter, frame = ADAPTERS[name], FRAMES[name]
    instruments = Instruments(adapter.exchange, shipped(adapter.exchange), adapter.instrument_rule)
    decode = adapter.decoders[LIQUIDATION]
    start = time.process_time()
    for received_time_us in range(RUN_FRAMES):
        events = decode(frame, received_time_us=received_time_us, instruments=instruments)
        assert len(events) == 1
    return round(RUN_FRAMES / (time.process_time() - start), 1)
