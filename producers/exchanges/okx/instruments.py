"""OKX v5: contracts, by the lists of swaps and futures and, as far as it is safe, by their symbols.

Sources, as of 2026-11-23: GET /api/v5/public/instruments?instType=SWAP|FUTURES: coins (linear) or USD (inverse) of one
contract = ctVal x ctMult. OKX's contract specifications: inverse contracts are 100 USD (BTC) and 10 USD (others).
BTC-USDT-SWAP, BTC-USDC-SWAP; BTC-USD-SWAP, BTC-USD-261225 (inverse); BTC-USD_UM_XPERP-310404 (X-Perp: linear, among
FUTURES, pays funding). Sizes in okx.instruments.jsonl: BTC and ETH of the docs; CHIP of a captured row of
open-interest (oiCcy / oi); the other linear ones are equal in two independent public lists of ctVal."""

import re
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from producers.exchange import InstrumentPage
from producers.instruments import Instrument, Instruments, is_symbol
from producers.symbols import DOLLARS, linear_market
from schemas.errors import FrameRefused
from schemas.words import Exchange, Market

NAME: Final = Exchange.OKX.value
CONTRACT_SIZE_USD: Final = {"BTC": Decimal(100)}  # inverse, by coin
CONTRACT_SIZE_USD_OTHERS: Final = Decimal(10)
_SYMBOL: Final = re.compile(r"([^-]+)-([A-Z0-9]+)(_UM_XPERP)?-(SWAP|\d{6})")


def instrument_rule(symbol: str) -> Instrument | None:
    """An inverse contract by its symbol; None for linear ones, whose size cannot be told from it."""
    parts = _SYMBOL.fullmatch(symbol)
    if parts is None or parts[2] != "USD" or parts[3] is not None:
        return None
    return _inverse(symbol, parts[1], CONTRACT_SIZE_USD.get(parts[1], CONTRACT_SIZE_USD_OTHERS))


def unsized_rule(symbol: str) -> Instrument | None:
    """A linear contract by its symbol, all but its size."""
    parts = _SYMBOL.fullmatch(symbol)
    if parts is None or parts[2] not in DOLLARS or (parts[2] == "USD" and parts[3] is None):
        return None
    return Instrument(
        exchange=Exchange.OKX, instrument=symbol, asset=parts[1], market=linear_market(parts[2]),
        contract_size=Decimal(1), inverse=False,
    )  # fmt: skip


def described(symbol: str, instruments: Instruments) -> Instrument:
    """A contract for figures that are given in coins or as a rate, where the size of a linear one does not matter.

    Raises UnknownInstrument for a symbol of another form and for what is not quoted in dollars."""
    told = unsized_rule(symbol) if symbol not in instruments and is_symbol(symbol) else None
    return instruments[symbol] if told is None else told


def pays_funding(instrument: Instrument) -> bool:
    """True for swaps and X-Perps; dated contracts have none."""
    return instrument.instrument.endswith("-SWAP") or "_XPERP-" in instrument.instrument


def _inverse(symbol: str, base: str, size_usd: Decimal) -> Instrument:
    return Instrument(
        exchange=Exchange.OKX, instrument=symbol, asset=base, market=Market.USD,
        contract_size=size_usd, inverse=True,
    )  # fmt: skip


class _Listed(msgspec.Struct):
    instId: str
    ctType: str
    ctVal: str
    ctMult: str
    ctValCcy: str
    settleCcy: str


class _InstrumentList(msgspec.Struct):
    code: str
    msg: str = ""
    data: list[_Listed] = []


_INSTRUMENT_LIST: Final = msgspec.json.Decoder(_InstrumentList)


def decode_instrument_list(body: bytes) -> InstrumentPage:
    """GET /api/v5/public/instruments; contracts that are neither of coins nor of USD are left out."""
    try:
        answer = _INSTRUMENT_LIST.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise FrameRefused(f"decoding {NAME} instruments: {exc}") from exc
    if answer.code != "0":
        raise FrameRefused(f"decoding {NAME} instruments: the answer is {answer.code} {answer.msg[:200]!r}")
    return InstrumentPage(tuple(row for row in map(_listed, answer.data) if row is not None))


def _listed(row: _Listed) -> Instrument | None:
    base, _, rest = row.instId.partition("-")
    quote = rest.partition("-")[0]
    try:
        size = Decimal(row.ctVal) * Decimal(row.ctMult or "1")
    except InvalidOperation:
        return None
    if row.ctType == "inverse" and row.ctValCcy == "USD":
        return _inverse(row.instId, base, size)
    if row.ctType != "linear" or row.ctValCcy != base or quote.partition("_")[0] not in DOLLARS:
        return None
    return Instrument(
        exchange=Exchange.OKX, instrument=row.instId, asset=base, market=linear_market(row.settleCcy),
        contract_size=size, inverse=False,
    )  # fmt: skip
