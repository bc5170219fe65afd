"""The exchanges: one module each, one line each here."""

from typing import Final

from producers.exchange import ExchangeAdapter
from producers.exchanges import binance, bybit, okx

ADAPTERS: Final[dict[str, ExchangeAdapter]] = {
    adapter.exchange.value: adapter
    for adapter in (
        binance.ADAPTER,
        bybit.ADAPTER,
        okx.ADAPTER,
    )
}
