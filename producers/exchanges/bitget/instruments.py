"""Bitget: contracts, by GET /api/v3/market/instruments?category= and by their symbols.

Sources, as of 2026-11-23: BTCUSDT; BTCPERP and 1000BONKPERP (margined in USDC); BTCUSD_CM and, until September 2026,
BTCUSD (coin-margined, quantities in USD); dated ones BTCUSDZ24, ETHUSD_231229. Quantities of linear contracts are in
coins of the symbol, also where quantityMultiplier is 10,000 (SHIBUSDT): that is the step of orders. Test listings
(BGTESTMEUSDT) are no markets."""

import re
from decimal import Decimal
from typing import Final

import msgspec

from producers.exchange import InstrumentPage
from producers.instruments import Instrument
from producers.symbols import DOLLARS, linear_market, split_multiplier
from schemas.errors import FrameRefused
from schemas.words import Exchange, Market

NAME: Final = Exchange.BITGET.value
TEST_LISTINGS: Final = "BGTEST"  # how their symbols begin
_DATE: Final = r"[FGHJKMNQUVXZ]\d\d|_\d{6}"
_INVERSE_SYMBOL: Final = re.compile(rf"(.+)USD(_CM)?({_DATE})?")
_LINEAR_SYMBOL: Final = re.compile(rf"(.+?)(USDT|PERP)({_DATE})?")
_DATED_SYMBOL: Final = re.compile(rf".+({_DATE})")


class _Listed(msgspec.Struct):
    symbol: str
    category: str
    baseCoin: str
    quoteCoin: str
    status: str = "online"


class _Answer(msgspec.Struct):
    code: str
    msg: str = ""
    data: list[_Listed] | None = None


_ANSWERS: Final = msgspec.json.Decoder(_Answer)


def decode_instruments(body: bytes) -> InstrumentPage:
    """The whole list of one category; contracts that are not quoted in a kind of dollar or are off are left out."""
    try:
        answer = _ANSWERS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise FrameRefused(f"decoding {NAME} instruments: {exc}") from exc
    if answer.code != "00000":
        raise FrameRefused(f"decoding {NAME} instruments: the answer is {answer.code[:20]} {answer.msg[:200]!r}")
    return InstrumentPage(
        tuple(
            _inverse(row.symbol, row.baseCoin)
            if row.category == "COIN-FUTURES"
            else _linear(row.symbol, row.baseCoin, row.quoteCoin)
            for row in answer.data or ()
            if row.quoteCoin in DOLLARS and row.status != "off" and not row.symbol.startswith(TEST_LISTINGS)
        )
    )


def instrument_rule(symbol: str) -> Instrument | None:
    """A contract by its symbol: BTCUSDT; BTCPERP (USDC); BTCUSD_CM, BTCUSD, BTCUSDZ24 (coin-margined)."""
    if symbol.startswith(TEST_LISTINGS) or symbol != symbol.upper():
        return None
    by_coin = _INVERSE_SYMBOL.fullmatch(symbol)
    if by_coin is not None:
        return _inverse(symbol, by_coin[1])
    linear = _LINEAR_SYMBOL.fullmatch(symbol)
    return None if linear is None else _linear(symbol, linear[1], "USDT" if linear[2] == "USDT" else "USDC")


def is_dated(symbol: str) -> bool:
    """True for contracts that are delivered, which pay no funding."""
    return _DATED_SYMBOL.fullmatch(symbol) is not None


def _linear(symbol: str, base: str, margin: str) -> Instrument:
    asset, coins = split_multiplier(base)
    return Instrument(
        exchange=Exchange.BITGET, instrument=symbol, asset=asset, market=linear_market(margin),
        contract_size=Decimal(coins), inverse=False,
    )  # fmt: skip


def _inverse(symbol: str, base: str) -> Instrument:
    return Instrument(
        exchange=Exchange.BITGET, instrument=symbol, asset=base, market=Market.USD,
        contract_size=Decimal(1), inverse=True,
    )  # fmt: skip
