"""The simulated exchanges with 300 symbols each, in calm times: `python -m benchmarks._listed` prints {"origins"}."""

import asyncio
import json
import sys
from typing import Final

from stack.simulator.binance import Binance
from stack.simulator.bitget import Bitget
from stack.simulator.bybit import Bybit
from stack.simulator.exchange import SimulatedExchange
from stack.simulator.gate import Gate
from stack.simulator.hyperliquid import Hyperliquid
from stack.simulator.okx import Okx
from stack.simulator.server import Simulator, SimulatorOptions

SYMBOLS: Final = 300
NAMES: Final[tuple[tuple[SimulatedExchange, str], ...]] = (
    (Binance(), "COIN{}USDT"),
    (Bybit(), "COIN{}USDT"),
    (Okx(), "COIN{}-USDT-SWAP"),
    (Gate(), "COIN{}_USDT"),
    (Bitget(), "COIN{}USDT"),
    (Hyperliquid(), "COIN{}"),
)


def letters(number: int) -> str:
    """A name of its own without digits, which would be read as a multiplier: 0 -> AA, 27 -> BB."""
    return chr(ord("A") + number // 26) + chr(ord("A") + number % 26)


async def main() -> None:
    """Serve until stdin ends."""
    for exchange, name in NAMES:
        for number in range(SYMBOLS - len(exchange.instruments)):
            exchange.list_symbol(name.format(letters(number)))
    simulator = Simulator(SimulatorOptions(scenario="calm", repeat=True), [exchange for exchange, _ in NAMES])
    print(json.dumps({"origins": await simulator.start()}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await simulator.stop()


if __name__ == "__main__":
    asyncio.run(main())
