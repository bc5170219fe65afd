"""What every metric says of itself, so that tests and documentation find all of them.

A metric is one module in this folder with pure functions, a doctest, and `METRIC`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

NOBODY: Final = -1  # in compiled code, in place of an exchange's slot


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric. `without_data`: arguments for which it is None; None where an empty window has a value, 0."""

    name: str
    unit: str
    field: str  # of the published records
    compute: Callable[..., Any]
    without_data: tuple[Any, ...] | None = None


def ratio(numerator: int, denominator: int) -> float:
    """Numerator / denominator rounded half-even to 6 decimals, from whole numbers, so that no float rounds twice.

    >>> ratio(1, 3), ratio(-2, 3), ratio(5, 10_000_000), ratio(15, 10_000_000)
    (0.333333, -0.666667, 0.0, 2e-06)"""
    millionths, rest = divmod(numerator * 1_000_000, denominator)
    if rest and (2 * rest > denominator or (2 * rest == denominator and millionths & 1)):
        millionths += 1
    return millionths / 1_000_000
