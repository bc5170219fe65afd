"""Price levels: prices that lie close together share one. Pure, and exact: no two machines cut differently.

A level is written `low:high`, plain decimals: it holds low <= price < high. Source: own definition."""

from bisect import bisect_right, insort
from collections.abc import Callable, Iterable
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from functools import lru_cache
from itertools import pairwise
from math import inf
from typing import Final

from sinks.settings import LevelsSettings, width_of

PRICES_MAX: Final = 65_536  # remembered prices, 200 B each: 13 MB; a price comes again while it is the market's
DIGITS: Final = 5  # of a price, which decide: a level of 1 basis point is one unit of the fifth
BASIS_POINTS: Final = 10_000
STEPS: Final = (50_000, 20_000, 10_000, 5_000, 2_000, 1_000, 500, 200, 100, 50, 20, 10, 5, 2, 1)
EXACT: Final = Context(prec=50, traps=[Inexact, InvalidOperation])

Cut = Callable[[float], str]


class Levels:
    """Which level of an asset holds a price."""

    def __init__(self, settings: LevelsSettings) -> None:
        """As the settings say: a width for all in basis points, and widths of their own."""
        self._usual = by_basis_points(settings.basis_points)
        self._own = {asset: by_width(width) for asset, width in map(width_of, settings.widths)}

    def of(self, asset: str) -> Cut:
        """Of one asset."""
        return self._own.get(asset, self._usual)


def by_basis_points(basis_points: int) -> Cut:
    """Levels that grow with the price: 1, 2 or 5 units of some digit wide, the widest that is not above so much.

    Every level is at least 0.4 of that wide, and its ends are round numbers. `basis_points`: what a setting may be.

    >>> [by_basis_points(10)(price) for price in (65_432.1, 100_000.0, 1_999.9, 2_001.0, 0.00001234567)]
    ['65400:65450', '100000:100100', '1999:2000', '2000:2002', '0.00001234:0.00001235']

    The function raises ValueError unless the price is finite and > 0."""

    @lru_cache(maxsize=PRICES_MAX)
    def cut(price: float) -> str:
        digits, exponent = _cut_off(price)
        most = digits * basis_points // BASIS_POINTS
        step = next(step for step in STEPS if step <= most)
        return _text(digits - digits % step, step, exponent)

    return cut


def by_width(width: Decimal) -> Cut:
    """Levels of one width in units of the price.

    >>> [by_width(Decimal("2.5"))(price) for price in (101.0, 102.5, 1.0)]
    ['100:102.5', '102.5:105', '0:2.5']

    The function raises ValueError unless the price is finite and > 0, and not so far above the width that 50 digits do
    not hold the level."""

    @lru_cache(maxsize=PRICES_MAX)
    def cut(price: float) -> str:
        try:
            low = EXACT.multiply(EXACT.divide_int(Decimal(_exact(price)), width), width)
            return f"{_plain(low)}:{_plain(EXACT.add(low, width))}"
        except DecimalException as exc:
            raise ValueError(f"price {price} is too far above levels of {width}") from exc

    return cut


@lru_cache(maxsize=PRICES_MAX)
def ends(level: str) -> tuple[float, float]:
    """Low and high of a level."""
    low, _, high = level.partition(":")
    return float(low), float(high)


@lru_cache(maxsize=PRICES_MAX)
def widened(level: str, factor: int) -> str:
    """The level `factor` times as wide that holds this one.

    >>> widened("65450:65500", 10)
    '65000:65500'"""
    low, _, high = level.partition(":")
    width = EXACT.multiply(EXACT.subtract(Decimal(high), Decimal(low)), Decimal(factor))
    start = EXACT.multiply(EXACT.divide_int(Decimal(low), width), width)
    return f"{_plain(start)}:{_plain(EXACT.add(start, width))}"


def homes(levels: Iterable[str]) -> dict[str, str]:
    """Where each is shown, lowest first, so that nothing is shown twice: at itself, or at a wider one that holds its
    middle. Levels of two widths lie side by side for an hour after a setting has changed.

    >>> homes(["100:102", "100:105", "104:106", "106:108"])
    {'100:102': '100:105', '100:105': '100:105', '104:106': '104:106', '106:108': '106:108'}"""
    ordered = sorted(levels, key=ends)
    if all(ends(one)[1] <= ends(other)[0] for one, other in pairwise(ordered)):
        return {level: level for level in ordered}
    shown: list[tuple[float, float, str]] = []
    found = {}
    for level in sorted(ordered, key=lambda level: ends(level)[0] - ends(level)[1]):  # the widest first
        low, high = ends(level)
        middle = (low + high) / 2
        place = bisect_right(shown, (middle, inf, ""))
        if place and middle < shown[place - 1][1]:
            found[level] = shown[place - 1][2]
        else:
            insort(shown, (low, high, level))
            found[level] = level
    return {level: found[level] for level in ordered}


def _exact(price: float) -> str:
    """The plain decimal that a program would print."""
    if not 0 < price < inf:
        raise ValueError(f"price must be finite and > 0, was {price}")
    text = repr(price)
    return format(Decimal(text), "f") if "e" in text else text


def _cut_off(price: float) -> tuple[int, int]:
    """The first five digits, and the power of ten of the last of them. By text, which is a third of Decimal's time."""
    whole, _, fraction = _exact(price).partition(".")
    whole = whole.lstrip("0")
    digits = (whole + fraction).lstrip("0")
    places = len(whole) or len(digits) - len(fraction)
    return int(digits[:DIGITS].ljust(DIGITS, "0")), places - DIGITS


@lru_cache(maxsize=PRICES_MAX)
def _text(low: int, step: int, exponent: int) -> str:
    return f"{_plain(Decimal(low).scaleb(exponent))}:{_plain(Decimal(low + step).scaleb(exponent))}"


def _plain(number: Decimal) -> str:
    return format(number.normalize(EXACT), "f")
