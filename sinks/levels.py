"""Price levels: prices that lie close together share one. Pure, and in integers: no two machines cut differently.

Source: own definition."""

from decimal import Decimal
from functools import lru_cache
from typing import Final

PRICES_MAX: Final = (
    65_536  # remembered prices, 150 B each: 10 MB; a price comes again and again while it is the market's
)


@lru_cache(maxsize=PRICES_MAX)
def price_level(price: float) -> str:
    """The lower end of the level that holds the price, as a plain decimal.

    A level is 4 to 10 basis points wide: 1, 2 or 5 units of the price's fourth significant digit, the smaller the
    first digit. Level ends are therefore round numbers, and every wider level ends where a narrower one does.

    >>> [price_level(price) for price in (65_432.1, 100_000.0, 1_999.9, 2_001.0, 0.00001234567)]
    ['65430', '100000', '1999', '2000', '0.00001234']

    Raises ValueError unless the price is finite and > 0."""
    exact = Decimal(repr(price))
    if not exact.is_finite() or exact <= 0:
        raise ValueError(f"price must be finite and > 0, was {price}")
    exponent = exact.adjusted() - 3
    digits = int(exact.scaleb(-exponent))  # 1000 to 9999, cut off
    unit = 1 if digits < 2_000 else 2 if digits < 5_000 else 5
    return format(Decimal(digits - digits % unit).scaleb(exponent).normalize(), "f")
