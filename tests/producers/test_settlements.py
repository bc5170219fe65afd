"""Times of settlements: examples of the docstrings, and gaps in a history."""

import doctest

import pytest

import producers.exchange
import producers.exchanges.bitget
import producers.settlements
from producers.settlements import intervals_hours

HOUR_MS = 3_600_000


@pytest.mark.parametrize("module", [producers.exchange, producers.exchanges.bitget, producers.settlements])
def test_examples_of_the_docstrings(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.failed == 0
    assert result.attempted > 0


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        ([], []),
        ([0], [None]),
        ([0, 8, 16], [8.0, 8.0, 8.0]),
        ([16, 8, 0], [8.0, 8.0, 8.0]),
        ([0, 8, 24, 32], [8.0, 8.0, 8.0, 8.0]),  # the row of 16 is missing
        ([0, 4, 8, 16], [4.0, 4.0, 4.0, 8.0]),  # the interval was changed at 8
        ([0, 0, 1], [None, 1.0, 1.0]),  # a row that came twice
        ([0, 25], [None, None]),
        ([0, 24], [24.0, 24.0]),
    ],
)
def test_interval_is_the_gap_to_the_nearer_neighbour(hours: list[int], expected: list[float | None]) -> None:
    # h      0       8       16      24      32
    # rows   |       |       .       |       |       (the fifth case)
    assert intervals_hours([hour * HOUR_MS for hour in hours]) == expected
