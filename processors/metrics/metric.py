"""What every metric says of itself, so that tests and documentation find all of them.

A metric is one module in this folder with pure functions, a doctest, and `METRIC`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric. `without_data`: arguments for which it is None; None where an empty window has a value, 0."""

    name: str
    unit: str
    field: str  # of the published records
    compute: Callable[..., Any]
    without_data: tuple[Any, ...] | None = None
