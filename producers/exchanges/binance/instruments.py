"""Binance: contracts, by their symbols and by exchangeInfo of USD-M and COIN-M.

Sources, as of 2026-11-23: GET /fapi/v1/exchangeInfo and /dapi/v1/exchangeInfo. COIN-M counts contracts of
`contractSize` USD: BTCUSD 100, the others 10. 1000PEPEUSDT is a thousand PEPE. Symbols may be non-ASCII."""

import re
from decimal import Decimal
from typing import Final

import msgspec

from producers.exchange import InstrumentPage
from producers.instruments import Instrument
from producers.symbols import DOLLARS, linear_market, split_multiplier
from schemas.errors import FrameRefused
from schemas.words import Exchange, Market

NAME: Final = Exchange.BINANCE.value
CONTRACT_SIZE_USD: Final = {"BTCUSD": Decimal(100)}  # by pair
CONTRACT_SIZE_USD_OTHERS: Final = Decimal(10)
# Contracts without positions, for which the exchange refuses to tell an open interest.
IDLE: Final = frozenset({"PENDING_TRADING", "DELIVERING", "DELIVERED", "SETTLING", "CLOSE"})
_COIN_MARGINED_SYMBOL: Final = re.compile(r"(.+)USD_(PERP|\d{6})")
_LINEAR_SYMBOL: Final = re.compile(r"(.+?)(USDT|USDC|FDUSD|BUSD)(_\d{6})?")


def instrument_rule(symbol: str) -> Instrument | None:
    """A contract by its symbol: BTCUSDT, 1000PEPEUSDT, BTCUSDT_260925; BTCUSD_PERP, BTCUSD_260626 (COIN-M)."""
    coin_margined = _COIN_MARGINED_SYMBOL.fullmatch(symbol)
    if coin_margined is not None:
        return _coin_margined(symbol, coin_margined[1], _contract_size_usd(coin_margined[1] + "USD"))
    linear = _LINEAR_SYMBOL.fullmatch(symbol)
    if linear is None or linear[1] != linear[1].upper():
        return None
    return _linear(symbol, linear[1], linear[2])


def _contract_size_usd(pair: str) -> Decimal:
    return CONTRACT_SIZE_USD.get(pair, CONTRACT_SIZE_USD_OTHERS)


def _linear(symbol: str, base: str, margin: str) -> Instrument:
    asset, coins = split_multiplier(base)
    return Instrument(
        exchange=Exchange.BINANCE, instrument=symbol, asset=asset, market=linear_market(margin),
        contract_size=Decimal(coins), inverse=False,
    )  # fmt: skip


def _coin_margined(symbol: str, base: str, size_usd: Decimal) -> Instrument:
    return Instrument(
        exchange=Exchange.BINANCE, instrument=symbol, asset=base, market=Market.USD,
        contract_size=size_usd, inverse=True,
    )  # fmt: skip


class _Symbol(msgspec.Struct):
    symbol: str
    baseAsset: str
    quoteAsset: str
    marginAsset: str
    contractSize: Decimal | None = None  # USD, of COIN-M contracts alone
    status: str = ""  # USD-M
    contractStatus: str = ""  # COIN-M


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_Symbol]


_EXCHANGE_INFO: Final = msgspec.json.Decoder(_ExchangeInfo)


def decode_exchange_info(body: bytes) -> InstrumentPage:
    """GET /fapi/v1/exchangeInfo and /dapi/v1/exchangeInfo; contracts that are not quoted in a kind of dollar, or do not
    trade yet or any more, are left out."""
    try:
        symbols = _EXCHANGE_INFO.decode(body).symbols
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise FrameRefused(f"decoding {NAME} exchangeInfo: {exc}") from exc
    return InstrumentPage(
        tuple(
            _linear(row.symbol, row.baseAsset, row.marginAsset)
            if row.contractSize is None
            else _coin_margined(row.symbol, row.baseAsset, row.contractSize)
            for row in symbols
            if row.quoteAsset in DOLLARS and not IDLE.intersection((row.status, row.contractStatus))
        )
    )
