"""Price levels, held against their definition."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sinks.levels import Levels, by_basis_points, by_width, ends, homes, widened
from sinks.settings import BASIS_POINTS, LevelsSettings

PRICES = st.floats(min_value=1e-12, max_value=1e9, allow_nan=False)
WIDTHS = st.sampled_from(BASIS_POINTS)


def exact_ends(level: str) -> tuple[Decimal, Decimal]:
    low, _, high = level.partition(":")
    return Decimal(low), Decimal(high)


@given(PRICES, WIDTHS)
def test_a_price_lies_in_its_level_which_is_as_wide_as_asked_for(price: float, basis_points: int) -> None:
    low, high = exact_ends(by_basis_points(basis_points)(price))
    exact = Decimal(repr(price))
    assert low <= exact < high
    assert exact * basis_points / 10_000 >= high - low > exact * basis_points / 10_000 * Decimal("0.3999")


@given(PRICES, PRICES, WIDTHS)
def test_two_levels_are_one_or_do_not_overlap(one: float, other: float, basis_points: int) -> None:
    cut = by_basis_points(basis_points)
    low, high = sorted((exact_ends(cut(one)), exact_ends(cut(other))))
    assert low == high or low[1] <= high[0]


@given(PRICES, WIDTHS)
def test_where_a_level_ends_the_next_one_begins(price: float, basis_points: int) -> None:
    cut = by_basis_points(basis_points)
    low, high = exact_ends(cut(price))
    assert exact_ends(cut(float(low))) == (low, high)
    assert exact_ends(cut(float(high)))[0] == high


@given(PRICES, WIDTHS)
def test_a_level_is_a_plain_decimal(price: float, basis_points: int) -> None:
    assert "E" not in by_basis_points(basis_points)(price)


#      1999  2000      2002      2004          4998      5000                5005
#  [----)[---)[---------)[--------)  …  --------)[---------)[------------------)
@pytest.mark.parametrize(
    ("price", "level"),
    [
        (1999.9, "1999:2000"),
        (2000.0, "2000:2002"),
        (2001.9, "2000:2002"),
        (2002.0, "2002:2004"),
        (4999.9, "4998:5000"),
        (5004.9, "5000:5005"),
        (1e-7, "0.0000001:0.0000001001"),
        (1e22, "10000000000000000000000:10010000000000000000000"),
    ],
)
def test_the_width_grows_at_2_and_5(price: float, level: str) -> None:
    assert by_basis_points(10)(price) == level


@given(PRICES, st.decimals(min_value="1e-9", max_value="1e6", places=9))
def test_a_width_of_its_own(price: float, width: Decimal) -> None:
    low, high = exact_ends(by_width(width)(price))
    assert low <= Decimal(repr(price)) < high
    assert high - low == width
    assert low % width == 0


@pytest.mark.parametrize("cut", [by_basis_points(10), by_width(Decimal(1))])
@pytest.mark.parametrize("price", [0.0, -1.0, float("inf"), float("nan")])
def test_no_level_for_what_is_no_price(price: float, cut: object) -> None:
    assert callable(cut)
    with pytest.raises(ValueError, match="price must be finite"):
        cut(price)


def test_a_price_that_no_level_can_name() -> None:
    with pytest.raises(ValueError, match="too far above"):
        by_width(Decimal("1e-12"))(1e300)


def test_settings_choose_by_asset() -> None:
    levels = Levels(LevelsSettings(basis_points=100, widths=("BTC=25", "PEPE=0.0000001")))
    assert levels.of("BTC")(65_432.1) == "65425:65450"
    assert levels.of("PEPE")(0.0000123456) == "0.0000123:0.0000124"
    assert levels.of("ETH")(3_456.0) == "3440:3460"


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"basis_points": 3}, "must be one of 1, 2, 5"),
        ({"widths": ("BTC",)}, "'BTC' is no width; write ASSET=WIDTH"),
        ({"widths": ("BTC=-1",)}, "above 0"),
        ({"widths": ("BTC=nan",)}, "above 0"),
        ({"widths": ("=5",)}, "is no width"),
        ({"widths": ("BTC=1.000000000000001",)}, "15 digits"),
        ({"widths": ("BTC=1", "BTC=2")}, "two widths"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, object], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        LevelsSettings.model_validate(settings)


# For the reader


@given(PRICES, WIDTHS, st.sampled_from((2, 5, 10)))
def test_wider_levels_hold_narrower_ones_and_do_not_overlap(price: float, basis_points: int, factor: int) -> None:
    cut = by_basis_points(basis_points)
    level = cut(price)
    wide, narrow = exact_ends(widened(level, factor)), exact_ends(level)
    assert wide[0] <= narrow[0] < narrow[1] <= wide[1]
    neighbour = exact_ends(widened(cut(float(narrow[1])), factor))
    assert neighbour == wide or neighbour[0] >= wide[1]


@given(st.lists(PRICES, max_size=30), WIDTHS)
def test_levels_of_one_width_are_shown_as_they_are(prices: list[float], basis_points: int) -> None:
    levels = {by_basis_points(basis_points)(price) for price in prices}
    assert homes(levels) == {level: level for level in levels}


@given(st.lists(st.floats(min_value=10.0, max_value=1_000.0), max_size=30), WIDTHS, WIDTHS)
def test_after_a_change_of_width_every_middle_is_shown_once(prices: list[float], before: int, after: int) -> None:
    old, new = by_basis_points(before), by_basis_points(after)
    levels = {old(price) for price in prices[::2]} | {new(price) for price in prices[1::2]}
    found = homes(levels)
    assert found.keys() == levels
    assert list(found) == sorted(levels, key=ends)
    shown = sorted(set(found.values()), key=ends)
    assert all(found[level] == level for level in shown)
    middles = [sum(ends(level)) / 2 for level in shown]
    assert all(not ends(one)[0] <= middle < ends(one)[1] for one, middle in pairwise_of(shown, middles))


def pairwise_of(shown: list[str], middles: list[float]) -> list[tuple[str, float]]:
    """Each level with the middles of its neighbours."""
    pairs = list(pairwise(zip(shown, middles, strict=True)))
    return [(one[0], other[1]) for one, other in pairs] + [(other[0], one[1]) for one, other in pairs]
