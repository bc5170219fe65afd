"""Bybit v5: contracts, by their symbols and by instruments-info of linear and inverse.

Sources, as of 2026-11-23 (bybit-exchange/docs, docs/v5): market/instruments-info (pages of 1,000 by `cursor`).
`*PERP` and BASE-DATE are USDC-margined; inverse contracts (BTCUSD, BTCUSDU26) are 1 USD each; 1000BONK is a thousand
BONK; SHIB1000 (market/fee-group-info) has it at the end."""

import re
from decimal import Decimal
from typing import Final

import msgspec

from producers.exchange import InstrumentPage
from producers.instruments import Instrument
from producers.symbols import DOLLARS, linear_market, split_multiplier
from schemas.errors import FrameRefused
from schemas.words import Exchange, Market

NAME: Final = Exchange.BYBIT.value
MULTIPLIER_SUFFIXES: Final = {"SHIB1000": ("SHIB", 1000)}  # the one listed base that has it at the end
_INVERSE_SYMBOL: Final = re.compile(r"(.+)USD([FGHJKMNQUVXZ]\d\d)?")
_LINEAR_SYMBOL: Final = re.compile(r"(.+?)(USDT|PERP|)(-\d{1,2}[A-Z]{3}\d\d)?")


def instrument_rule(symbol: str) -> Instrument | None:
    """A contract by its symbol: BTCUSDT, BTCUSDT-18SEP26; BTCPERP, BTC-26DEC25 (USDC); BTCUSD, BTCUSDU23 (inverse)."""
    by_usd = _INVERSE_SYMBOL.fullmatch(symbol)
    if by_usd is not None:
        return _inverse(symbol, by_usd[1])
    linear = _LINEAR_SYMBOL.fullmatch(symbol)
    if linear is None or linear[1] != linear[1].upper() or not (linear[2] or linear[3]):
        return None
    return _linear(symbol, linear[1], "USDT" if linear[2] == "USDT" else "USDC")


def is_perpetual(instrument: Instrument) -> bool:
    """True for what pays funding: dated contracts have a month in their symbol."""
    symbol = instrument.instrument
    if instrument.inverse:
        by_usd = _INVERSE_SYMBOL.fullmatch(symbol)
        return by_usd is not None and by_usd[2] is None
    return "-" not in symbol


def _inverse(symbol: str, base: str) -> Instrument:
    return Instrument(
        exchange=Exchange.BYBIT, instrument=symbol, asset=base, market=Market.USD,
        contract_size=Decimal(1), inverse=True,
    )  # fmt: skip


def _linear(symbol: str, base: str, margin: str) -> Instrument:
    asset, coins = MULTIPLIER_SUFFIXES.get(base) or split_multiplier(base)
    return Instrument(
        exchange=Exchange.BYBIT, instrument=symbol, asset=asset, market=linear_market(margin),
        contract_size=Decimal(coins), inverse=False,
    )  # fmt: skip


class _Listed(msgspec.Struct):
    symbol: str
    status: str
    baseCoin: str
    quoteCoin: str
    settleCoin: str


class _List(msgspec.Struct):
    """Empty where the answer is an error."""

    rows: list[_Listed] = msgspec.field(name="list", default_factory=list)
    nextPageCursor: str = ""


class _InstrumentsInfo(msgspec.Struct):
    retCode: int
    retMsg: str
    result: _List


_INSTRUMENTS_INFO: Final = msgspec.json.Decoder(_InstrumentsInfo)


def decode_instruments_info(body: bytes) -> InstrumentPage:
    """GET /v5/market/instruments-info, one page; contracts that do not trade are left out.

    One that is settled in its base coin is inverse."""
    try:
        answer = _INSTRUMENTS_INFO.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise FrameRefused(f"decoding {NAME} instruments-info: {exc}") from exc
    if answer.retCode != 0:
        raise FrameRefused(f"decoding {NAME} instruments-info: the answer is {answer.retCode} {answer.retMsg[:200]!r}")
    return InstrumentPage(
        tuple(
            _inverse(row.symbol, row.baseCoin)
            if row.settleCoin == row.baseCoin
            else _linear(row.symbol, row.baseCoin, row.settleCoin)
            for row in answer.result.rows
            if row.status == "Trading" and row.quoteCoin in DOLLARS
        ),
        answer.result.nextPageCursor or None,
    )
