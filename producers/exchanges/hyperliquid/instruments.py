"""Hyperliquid: perpetuals, by POST /info {"type":"meta"} and by their names.

Sources, as of 2026-11-23: BTC; kPEPE is a thousand PEPE; `@107` and PURR/USDC are spot; `xyz:TSLA` is a perpetual of
another deployer (HIP-3), with its own collateral; `isDelisted` ones remain in the list. Everything of the main list
is quoted in USD and margined in USDC."""

import re
from decimal import Decimal
from typing import Final

import msgspec

from producers.exchange import InstrumentPage
from producers.instruments import Instrument
from schemas.errors import FrameRefused
from schemas.words import Exchange, Market

NAME: Final = Exchange.HYPERLIQUID.value
# UNSURE: "own collateral, mostly USDC"; that of the largest other deployer is (collateralToken 0).
DEPLOYERS: Final = {"": Market.USDC, "xyz": Market.USDC}
THOUSAND: Final = re.compile(r"k(?=[A-Z])")
_COIN: Final = re.compile(r"(?:([a-z][a-z0-9]{0,9}):)?([A-Za-z0-9_]+)")


class _Listed(msgspec.Struct):
    name: str
    isDelisted: bool = False


class _Meta(msgspec.Struct):
    universe: list[_Listed]


_METAS: Final = msgspec.json.Decoder(_Meta)


def decode_meta(body: bytes) -> InstrumentPage:
    """The whole list; delisted ones are left out."""
    try:
        listed = _METAS.decode(body).universe
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise FrameRefused(f"decoding {NAME} meta: {exc}") from exc
    found = [perpetual(row.name) for row in listed if not row.isDelisted]
    return InstrumentPage(tuple(row for row in found if row is not None))


def instrument_rule(coin: str) -> Instrument | None:
    """A perpetual by its name, if that has the form of one: BTC, kPEPE, xyz:TSLA."""
    return perpetual(coin) if coin != coin.lower() and "_" not in coin else None


def perpetual(coin: str) -> Instrument | None:
    """A perpetual by its name; None for spot."""
    parts = _COIN.fullmatch(coin)
    if parts is None:
        return None
    deployer, name = parts[1] or "", parts[2]
    thousands = THOUSAND.match(name) is not None
    return Instrument(
        exchange=Exchange.HYPERLIQUID, instrument=coin, asset=(name[1:] if thousands else name).upper(),
        market=DEPLOYERS.get(deployer, Market.OTHER), contract_size=Decimal(1_000 if thousands else 1), inverse=False,
    )  # fmt: skip


def is_spot(coin: str) -> bool:
    """True for `@107` and PURR/USDC."""
    return coin.startswith("@") or "/" in coin
