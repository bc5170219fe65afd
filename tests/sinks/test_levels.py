"""Price levels, held against their definition."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.levels import price_level

PRICES = st.floats(min_value=1e-12, max_value=1e9, allow_nan=False)


@given(PRICES)
def test_a_price_lies_in_its_level(price: float) -> None:
    level, exact = Decimal(price_level(price)), Decimal(repr(price))
    assert level <= exact
    assert (exact - level) / exact < Decimal("0.001"), "10 basis points"


@given(PRICES)
def test_a_level_is_its_own(price: float) -> None:
    level = price_level(price)
    assert price_level(float(level)) == level


@given(PRICES, PRICES)
def test_levels_keep_the_order_of_prices(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert Decimal(price_level(low)) <= Decimal(price_level(high))


@given(PRICES)
def test_a_level_is_a_plain_decimal(price: float) -> None:
    assert "E" not in price_level(price)


#      1999  2000      2002      2004          4998      5000                5005
#  [----)[---)[---------)[--------)  …  --------)[---------)[------------------)
@pytest.mark.parametrize(
    ("price", "level"),
    [(1999.9, "1999"), (2000.0, "2000"), (2001.9, "2000"), (2002.0, "2002"), (4999.9, "4998"), (5004.9, "5000")],
)
def test_the_width_grows_at_2_and_5(price: float, level: str) -> None:
    assert price_level(price) == level


@pytest.mark.parametrize("price", [0.0, -1.0, float("inf"), float("nan")])
def test_no_level_for_what_is_no_price(price: float) -> None:
    with pytest.raises(ValueError, match="price must be finite"):
        price_level(price)
