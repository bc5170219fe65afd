"""The detector against the plain reference, output by output."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.settings import DetectorSettings
from schemas.records import JournalEntry
from tests.processors.logs import (
    EXCHANGES,
    Entry,
    at,
    cascade_log,
    liquidation,
    new_detector,
    random_log,
    tick,
    with_context,
)
from tests.processors.reference import Reference, step


def compare(log: list[Entry]) -> int:
    """Fold a log through both; returns how many outputs there were."""
    detector, reference = new_detector(), Reference(DetectorSettings())
    total = 0
    for entry in log:
        total += step(detector, reference, entry if isinstance(entry, JournalEntry) else [entry])
    return total


@pytest.mark.parametrize("seed", range(6))
def test_random_log_gives_what_the_reference_gives(seed: int) -> None:
    assert compare(random_log(seed, 700)) > 300


def test_one_dense_asset_gives_what_the_reference_gives() -> None:
    assert compare(random_log(99, 1_200, assets=("BTC",))) > 300


def test_cascade_gives_what_the_reference_gives() -> None:
    assert compare(cascade_log(5)) > 300


@pytest.mark.parametrize("seed", range(3))
def test_context_gives_what_the_reference_gives(seed: int) -> None:
    assets = ("BTC", "ETH")
    assert compare(with_context(random_log(seed, 500, assets=assets), seed, assets=assets)) > 200
    assert compare(with_context(cascade_log(seed), seed, assets=("BTC",), every_ms=500)) > 300


steps = st.tuples(
    st.integers(0, 400),  # ms since the step before
    st.sampled_from((-5, 0, 1, 99, 100, 1_000, 1_999, 4_999, 5_000, 5_001, 29_999, 30_000, 30_001)),  # lag, ms
    st.sampled_from(("BTC", "ETH")),
    st.sampled_from(EXCHANGES[:3]),
    st.sampled_from((0.0, 0.000001, 50_000.0, 9_999_999.999999)),
    st.booleans(),  # a tick instead
)


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=40))
def test_any_log_gives_what_the_reference_gives(drawn: list[tuple[int, int, str, object, float, bool]]) -> None:
    now, log = 0, list[Entry]()
    for number, (gap_ms, lag_ms, asset, exchange, notional_usd, is_tick) in enumerate(drawn):
        now += gap_ms
        if is_tick:
            log.append(tick(number, now))
        else:
            event = liquidation(now - lag_ms, asset=asset, exchange=exchange, notional_usd=notional_usd, name=number)  # type: ignore[arg-type]
            log.append(at(number, now, event))
    log.append(tick(len(log), now + 400_000))
    compare(log)
