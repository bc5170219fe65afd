"""Prices, quantities and notionals of exchanges' texts, exact: as decimals, or as floats where those cannot differ.

Every refusal names the exchange and the field."""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

import msgspec

from schemas.errors import FrameRefused

NUMBER_CHARACTERS_MAX: Final = 24  # exchanges send at most 20; "9999999999.0000000000000000" never in a tape
NUMBER_MIN: Final = 1e-18  # the cheapest coins trade at 10^-10
NUMBER_MAX: Final = 1e15  # the largest contract is 10^10 coins, 10^5 of them at once
NOTIONAL_USD_MAX: Final = (
    Decimal(10) ** 10
)  # fifty times the largest single liquidation; 900 of them fit an int64 of micro-USD
TIME_MS_MIN: Final = 1_420_070_400_000  # 2015-01-01
TIME_MS_MAX: Final = 4_102_444_800_000  # 2100-01-01
_CHARACTERS: Final = "0123456789.eE+-"  # no sign but the exponent's survives the bounds; no "_", space, inf or nan
_EXACT: Final = Context(prec=80, rounding=ROUND_HALF_EVEN)  # 24 + 24 + 14 digits of the factors are 62
_ONE: Final = Decimal(1)
_MICRO: Final = Decimal("0.000001")
# Two texts read as floats, multiplied, times 10^6: four roundings of 2^-53 each. Below 10^7 USD = 10^13 micro-USD
# that is an error under 0.005, so a result at least 0.01 away from a half is rounded as the exact product would be.
_FLOAT_USD_MAX: Final = 1e7
_FLOAT_FRACTION_MAX: Final = 0.49


class Amounts(msgspec.Struct, frozen=True, gc=False):
    """USD per coin, coins, USD. A struct, since a named tuple takes four times as long to make."""

    price: float
    quantity: float
    notional_usd: float


def refusal(exchange: str, field: str, given: object, expected: str) -> FrameRefused:
    """The error for one field that cannot be understood."""
    return FrameRefused(f"decoding {exchange}: {field} is {repr(given)[:80]}, expected {expected}")


def positive(text: str, exchange: str, field: str) -> float:
    """A decimal text as a number > 0 within the bounds. Raises FrameRefused."""
    if not text.strip(_CHARACTERS) and len(text) <= NUMBER_CHARACTERS_MAX:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if NUMBER_MIN <= value <= NUMBER_MAX:
            return value
    raise refusal(exchange, field, text, f"a decimal number between {NUMBER_MIN:g} and {NUMBER_MAX:g}")


def is_zero(text: str) -> bool:
    """True for an empty text and for 0 with any number of decimals."""
    return not text.strip("0.")


def time_ms(value: int, exchange: str, field: str) -> int:
    """A time in ms since 1970 within 2015 to 2100. Raises FrameRefused."""
    if TIME_MS_MIN <= value < TIME_MS_MAX:
        return value
    raise refusal(exchange, field, value, "ms since 1970 between the years 2015 and 2100")


def notional(product: Decimal, exchange: str) -> float:
    """USD rounded half-even to whole micro-USD. Raises FrameRefused for an absurd amount."""
    if product > NOTIONAL_USD_MAX:
        raise refusal(exchange, "price x quantity", f"{product:.6g} USD", f"at most {NOTIONAL_USD_MAX:.0e} USD")
    return float(_EXACT.quantize(product, _MICRO))


def _whole_micro(usd: float) -> float | None:
    """USD rounded to whole micro-USD where floats are sure to round as the exact product would; None elsewhere."""
    micro_usd = usd * 1e6
    whole = round(micro_usd)
    sure = usd < _FLOAT_USD_MAX and abs(micro_usd - whole) < _FLOAT_FRACTION_MAX
    return whole / 1_000_000 if sure else None


def linear_by_unit(quantity: str, price: str, size: Decimal, exchange: str, fields: tuple[str, str]) -> Amounts:
    """Amounts of a linear contract whose price is per unit of `size` coins (1000PEPE): notional = quantity x price.

    `fields` are the names of quantity and price, for refusals."""
    units, per_unit = positive(quantity, exchange, fields[0]), positive(price, exchange, fields[1])
    usd = _whole_micro(units * per_unit)
    if usd is None:
        usd = notional(_EXACT.multiply(Decimal(quantity), Decimal(price)), exchange)
    if size == _ONE:
        return Amounts(per_unit, units, usd)
    coins, per_coin = _EXACT.multiply(Decimal(quantity), size), _EXACT.divide(Decimal(price), size)
    return Amounts(float(per_coin), float(coins), usd)


def linear_by_coin(quantity: str, price: str, size: Decimal, exchange: str, fields: tuple[str, str]) -> Amounts:
    """Amounts of a linear contract of `size` coins whose price is per coin: notional = quantity x size x price."""
    positive(quantity, exchange, fields[0])
    per_coin = positive(price, exchange, fields[1])
    exact = _EXACT.multiply(Decimal(quantity), size)
    coins = float(exact)
    usd = _whole_micro(coins * per_coin)
    if usd is None:
        usd = notional(_EXACT.multiply(exact, Decimal(price)), exchange)
    return Amounts(per_coin, coins, usd)


def inverse(quantity: str, price: str, size: Decimal, exchange: str, fields: tuple[str, str]) -> Amounts:
    """Amounts of an inverse contract of `size` USD: coins = USD / price."""
    positive(quantity, exchange, fields[0])
    per_coin = positive(price, exchange, fields[1])
    usd = _EXACT.multiply(Decimal(quantity), size)
    return Amounts(per_coin, float(_EXACT.divide(usd, Decimal(price))), notional(usd, exchange))
