"""The exchanges: one module each, one line each here."""

from typing import Final

from producers.exchange import ExchangeAdapter
from producers.exchanges import binance, bitget, bybit, gate, hyperliquid, okx

ADAPTERS: Final[dict[str, ExchangeAdapter]] = {
    adapter.exchange.value: adapter
    for adapter in (
        binance.ADAPTER,
        bybit.ADAPTER,
        okx.ADAPTER,
        gate.ADAPTER,
        bitget.ADAPTER,
        hyperliquid.ADAPTER,
    )
}
