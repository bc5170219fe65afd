"""Gate.io: contracts, by GET /api/v4/futures/{settle}/contracts and, where that is safe, by their symbols.

Sources, as of 2026-11-23: coins of one contract = quanto_multiplier; 0 at BTC_USD, which is inverse: 1 contract = 1
USD (contract_stats of 2022: open_interest equals open_interest_usd). Other contracts that were settled in BTC were
quanto ones, whose size in coins moves with BTC: they have no contract size, so they are refused. 1000BONK_USDT is
quoted by a thousand coins. Symbols may be non-ASCII.
Sizes in gate.instruments.jsonl: BTC, ETH, 2Z, PEPE and ANDURIL of captured lists, the others of a public copy of the
list without those on which other public copies disagree. A size that is not known is refused, never guessed."""

import re
from decimal import Decimal
from typing import Final

import msgspec

from producers.exchange import InstrumentPage
from producers.figures import number
from producers.instruments import Instrument
from producers.symbols import DOLLARS, linear_market, split_multiplier
from schemas.errors import FrameRefused
from schemas.words import Exchange, Market

NAME: Final = Exchange.GATE.value
_INVERSE_SYMBOL: Final = re.compile(r"BTC_USD(_\d{8})?")


class _Listed(msgspec.Struct):
    name: str
    quanto_multiplier: str | int | float
    status: str = "trading"


_CONTRACTS: Final = msgspec.json.Decoder(list[_Listed])


def decode_contracts(body: bytes) -> InstrumentPage:
    """GET /api/v4/futures/{settle}/contracts; quanto contracts and those that trade no more are left out."""
    try:
        listed = _CONTRACTS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise FrameRefused(f"decoding {NAME} contracts: {exc}") from exc
    found = [contract(row.name, row.quanto_multiplier) for row in listed if row.status != "delisted"]
    return InstrumentPage(tuple(row for row in found if row is not None))


def contract(symbol: str, quanto_multiplier: str | int | float) -> Instrument | None:
    """A contract by its multiplier; None where it is neither inverse nor of a fixed number of coins."""
    size = number(str(quanto_multiplier), NAME, "quanto_multiplier")
    base, _, rest = symbol.partition("_")
    margin = rest.partition("_")[0]
    if size == 0:
        return instrument_rule(symbol)
    if size < 0 or margin not in DOLLARS or margin == "USD":
        return None
    asset, coins = split_multiplier(base)
    return Instrument(
        exchange=Exchange.GATE, instrument=symbol, asset=asset, market=linear_market(margin),
        contract_size=size * coins, inverse=False,
    )  # fmt: skip


def instrument_rule(symbol: str) -> Instrument | None:
    """BTC_USD and BTC_USD_20220624, which are inverse; the size of others cannot be told from their symbols."""
    if _INVERSE_SYMBOL.fullmatch(symbol) is None:
        return None
    return Instrument(
        exchange=Exchange.GATE, instrument=symbol, asset="BTC", market=Market.USD,
        contract_size=Decimal(1), inverse=True,
    )  # fmt: skip


def unsized_rule(symbol: str) -> Instrument | None:
    """A contract by its symbol, all but its size; ETC_USD and the like are quanto ones, margined in BTC."""
    base, _, rest = symbol.partition("_")
    if base and rest.partition("_")[0] == "USD":
        return Instrument(
            exchange=Exchange.GATE, instrument=symbol, asset=base, market=Market.USD, contract_size=Decimal(1),
            inverse=False,
        )  # fmt: skip
    return contract(symbol, 1) if base else None


def price_unit(instrument: Instrument) -> int:
    """Coins that a price is for: 1000 of 1000BONK_USDT, else 1."""
    if instrument.inverse or instrument.instrument.startswith(instrument.asset):
        return 1
    return split_multiplier(instrument.instrument.partition("_")[0])[1]
