"""The budget of REST calls, and signs of drift; no server, no clock."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.budget import SHARE, RateBudget
from producers.drift import SAMPLE_MS, SIDES_CHECKED, SIDES_DISAGREEING_MIN, FieldWatch, ListWatch, SideWatch
from producers.exchange import Budget
from schemas.records import Liquidation
from schemas.words import Completeness, Exchange, Market, PriceKind, Side

BUDGET = Budget(weight_max=40, window_ms=1_000, retry_after_headers=("Reset", "Retry-After"), ban_ms_default=60_000)
WALL_MS = 1_791_400_000_000


@settings(max_examples=200, deadline=None)
@given(calls=st.lists(st.tuples(st.integers(0, 700), st.integers(1, 30)), min_size=1, max_size=60))
def test_no_window_holds_more_than_our_share(calls: list[tuple[int, int]]) -> None:
    budget, now_ms, spent = RateBudget(BUDGET), 0, list[tuple[int, int]]()
    for wait_ms, weight in calls:
        now_ms += wait_ms
        at_ms = budget.reserve(weight, now_ms)
        assert at_ms >= max(now_ms, spent[-1][0] if spent else 0), "calls keep their order"
        spent.append((at_ms, min(weight, budget.weight_max)))
    for start_ms, _ in spent:
        in_window = sum(weight for at_ms, weight in spent if start_ms <= at_ms < start_ms + BUDGET.window_ms)
        assert in_window <= BUDGET.weight_max * SHARE


def test_calls_wait_only_for_room() -> None:
    # ms       0           999  1000        1000
    # weight   15   5      .    20 (full)   1 waits until 2000
    budget = RateBudget(BUDGET)
    assert [budget.reserve(weight, 0) for weight in (15, 5, 20, 1)] == [0, 0, 1_000, 2_000]


@pytest.mark.parametrize(
    ("headers", "wait_ms"),
    [
        ({"Retry-After": "7"}, 7_000),
        ({"Retry-After": "0"}, 1_000),
        ({"Reset": str(WALL_MS + 9_500)}, 9_500),
        ({"Reset": str(WALL_MS // 1_000 + 9)}, 9_000),
        ({"Reset": str(WALL_MS - 5_000)}, 1_000),
        ({"Reset": str(WALL_MS + 2_000), "Retry-After": "30"}, 30_000),
        ({"Retry-After": "9" * 40}, 60_000),
        ({"Retry-After": "nan"}, 60_000),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 60_000),
        ({"Retry-After": "999999"}, 259_200_000),
        ({}, 60_000),
    ],
)
def test_refusal_says_how_long_to_wait(headers: Mapping[str, str], wait_ms: int) -> None:
    budget = RateBudget(BUDGET)
    assert budget.refused(headers, now_ms=100, wall_ms=WALL_MS) == wait_ms
    assert budget.is_banned(99 + wait_ms)
    assert not budget.is_banned(100 + wait_ms)
    assert budget.reserve(1, 100) == 100 + wait_ms


def test_refusals_in_a_row_double_the_wait_until_an_answer() -> None:
    budget = RateBudget(BUDGET)
    waits = [budget.refused({}, now_ms=0, wall_ms=WALL_MS) for _ in range(8)]
    assert waits == [60_000, 120_000, 240_000, 480_000, 960_000, 1_920_000, 1_920_000, 1_920_000]
    budget.answered()
    assert budget.refused({}, now_ms=0, wall_ms=WALL_MS) == 60_000


def test_field_that_is_not_known_is_named() -> None:
    watch = FieldWatch(frozenset({"a", "b"}))
    assert watch.look(b'{"a": [{"b": 1, "new": 2}], "e\\u0007": {}}', 0) == ["e?", "new"]
    assert watch.look(b'{"other": 1}', SAMPLE_MS - 1) == []
    assert watch.look(b'{"a": {"b": 1}}', SAMPLE_MS) == []
    assert watch.look(b"no json", 2 * SAMPLE_MS) == []
    assert FieldWatch(frozenset()).look(b'{"other": 1}', 0) == []


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=50), inner, max_size=4),
    )
)
def test_any_body_can_be_looked_at(body: object) -> None:
    for name in FieldWatch(frozenset({"a"})).look(json.dumps(body).encode(), 0):
        assert len(name) <= 40
        assert name.isprintable()


def test_sides_are_contradicted_while_most_of_the_last_ones_disagree() -> None:
    watch = SideWatch()
    for agrees in [False] * (SIDES_DISAGREEING_MIN - 1):
        watch.add(agrees)
    assert watch.contradiction is None
    watch.add(False)
    assert watch.contradiction is not None
    for agrees in [True] * (SIDES_CHECKED - SIDES_DISAGREEING_MIN + 1):
        watch.add(agrees)
    assert watch.contradiction is None
    for agrees in [True, False] * SIDES_CHECKED:
        watch.add(agrees)
        assert watch.contradiction is None


def event(event_id: str, side: Side, time_ms: int, quantity: float = 1.0) -> Liquidation:
    return Liquidation(
        event_id=event_id, exchange=Exchange.GATE, asset="BTC", instrument="BTC_USDT", market=Market.USDT, side=side,
        price=1.0, quantity=quantity, notional_usd=quantity, price_kind=PriceKind.ORDER, completeness=Completeness.ALL,
        event_time_ms=time_ms, received_time_us=time_ms * 1_000,
    )  # fmt: skip


def test_rest_list_is_held_against_the_websocket() -> None:
    # websocket   1: L 0 s    2: S 10 s    3: L 20 s and S 20.5 s, of one size
    # REST        L 1 s       L 11 s       L 20 s                                  L 40 s: not seen
    # agrees      yes         no           nothing is said
    watch = ListWatch()
    for each in (
        event("1", Side.LONG, 0),
        event("2", Side.SHORT, 10_000),
        event("3", Side.LONG, 20_000, 5.0),
        event("4", Side.SHORT, 20_500, 5.0),
    ):
        watch.add(each)
    listed = [
        event("a", Side.LONG, 1_000),
        event("b", Side.LONG, 11_000),
        event("c", Side.LONG, 20_000, 5.0),
        event("d", Side.LONG, 40_000),
    ]
    assert watch.compare(listed) == [True, False]
    assert watch.compare(listed) == [], "each is matched once"
