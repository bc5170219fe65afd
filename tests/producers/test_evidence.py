"""What speaks for and against the sides of liquidations, whatever the market does."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.drift import SIDES_CHECKED, SIDES_DISAGREEING_MIN
from producers.evidence import CHECKED_PER_S_MAX, MARK_AGE_MS_MAX, SideEvidence
from producers.exchanges import ADAPTERS
from producers.exchanges.binance.liquidations import limit_evidence
from producers.marks import KEPT_MS, STEP_MS, Marks
from schemas.records import Liquidation
from schemas.words import Completeness, Exchange, Market, PriceKind, Side

START_MS: Final = 1_791_400_000_000
OTHER: Final = {Side.LONG: Side.SHORT, Side.SHORT: Side.LONG}
LIMIT_FRAME: Final = (
    '{"e":"forceOrder","o":{"s":"BTCUSDT","S":"%s","q":"1","z":"1","p":"%s","ap":"%s","T":1791391082119}}'
)


@dataclass
class Position:
    """It is liquidated as soon as the mark is at its price or beyond."""

    side: Side
    price: float


def liquidation(side: Side, price: float, time_ms: int) -> Liquidation:
    return Liquidation(
        event_id=f"{side}:{price}:{time_ms}", exchange=Exchange.OKX, asset="BTC", instrument="X", market=Market.USDT,
        side=side, price=price, quantity=1.0, notional_usd=price, price_kind=PriceKind.BANKRUPTCY,
        completeness=Completeness.ALL, event_time_ms=time_ms, received_time_us=time_ms * 1_000,
    )  # fmt: skip


def evidence(marks: Marks) -> SideEvidence:
    return SideEvidence(ADAPTERS["okx"], marks)


@settings(max_examples=300, deadline=None)
@given(
    # Steps of 20 ms to 40 s, each up to 12 % up or down: crashes, spikes and their return between two marks.
    path=st.lists(st.tuples(st.integers(20, 40_000), st.floats(0.88, 1.12)), min_size=1, max_size=40),
    stated=st.lists(st.booleans(), min_size=40, max_size=40),
    distances=st.lists(
        st.tuples(st.sampled_from((Side.LONG, Side.SHORT)), st.floats(0.0005, 0.3)), min_size=1, max_size=8
    ),
    worse=st.floats(0.0, 0.02),
)
def test_a_position_that_was_open_is_never_contradicted_however_the_price_moves(
    path: list[tuple[int, float]], stated: list[bool], distances: list[tuple[Side, float]], worse: float
) -> None:
    marks, mark, now_ms = Marks(), 100.0, START_MS
    found = evidence(marks)
    marks.set("X", Decimal(str(mark)), now_ms)
    open_positions = [Position(side, mark * (1 - away if side is Side.LONG else 1 + away)) for side, away in distances]
    for (step_ms, factor), is_stated in zip(path, stated, strict=False):
        now_ms, mark = now_ms + step_ms, mark * factor
        hit = [
            each for each in open_positions if (mark <= each.price) is (each.side is Side.LONG) or mark == each.price
        ]
        for each in hit:
            open_positions.remove(each)
            price = each.price * (1 - worse if each.side is Side.LONG else 1 + worse)
            assert found.agrees_with_marks(liquidation(each.side, price, now_ms)) is not False
            assert found.agrees_with_marks(liquidation(OTHER[each.side], price, now_ms)) is not True
        if is_stated:
            marks.set("X", Decimal(str(mark)), now_ms)


def contradicted_after(agreeing: int, disagreeing: int) -> str | None:
    marks = Marks()
    marks.set("X", Decimal(100), START_MS)
    found = evidence(marks)
    for _ in range(agreeing):
        found.add(liquidation(Side.LONG, 99.0, START_MS + 1))
    for _ in range(disagreeing):
        found.add(liquidation(Side.SHORT, 99.0, START_MS + 1))
    return found.contradiction


@pytest.mark.parametrize("agreeing", [0, 5, 100])
def test_turned_sides_are_told_after_fifteen_checked_ones_and_no_earlier(agreeing: int) -> None:
    assert contradicted_after(agreeing, SIDES_DISAGREEING_MIN - 1) is None
    told = contradicted_after(agreeing, SIDES_DISAGREEING_MIN)
    checked = min(agreeing + SIDES_DISAGREEING_MIN, SIDES_CHECKED)
    assert told is not None
    assert told.startswith(f"sides: {SIDES_DISAGREEING_MIN} of the last {checked} checked")
    assert told.endswith("(mark price)")


@pytest.mark.parametrize("age_ms", [-1, MARK_AGE_MS_MAX + 1])
def test_a_later_mark_and_an_old_one_say_nothing(age_ms: int) -> None:
    marks = Marks()
    marks.set("X", Decimal(100), START_MS)
    assert evidence(marks).agrees_with_marks(liquidation(Side.SHORT, 90.0, START_MS + age_ms)) is None


def test_marks_that_disagree_with_each_other_say_nothing() -> None:
    marks = Marks()
    for price, after_ms in ((100, 0), (90, 1_000)):
        marks.set("X", Decimal(price), START_MS + after_ms)
    found = evidence(marks)
    assert found.agrees_with_marks(liquidation(Side.LONG, 95.0, START_MS + 1_500)) is None
    assert found.agrees_with_marks(liquidation(Side.LONG, 89.0, START_MS + 1_500)) is True


def test_an_exchange_that_states_many_marks_a_second_is_kept_in_bounds() -> None:
    marks = Marks()
    for number in range(10_000):
        marks.set("X", Decimal(number), START_MS + 50 * number)
    assert marks.get("X") == 9_999
    assert len(marks._marks["X"]) <= KEPT_MS // STEP_MS + 2
    last_ms = START_MS + 50 * 9_999
    assert marks.between("X", last_ms - MARK_AGE_MS_MAX, last_ms - 1) is not None


def test_one_mark_from_the_far_future_does_not_end_the_evidence() -> None:
    marks = Marks()
    for price, after_ms in ((100, 0), (101, 10**9), (102, 1_000)):
        marks.set("X", Decimal(price), START_MS + after_ms)
    assert marks.get("X") == 102
    marks.set("X", Decimal(90), START_MS + 500)
    assert marks.get("X") == 102
    assert evidence(marks).agrees_with_marks(liquidation(Side.LONG, 99.0, START_MS + 1_500)) is True


@pytest.mark.parametrize(
    ("side", "limit", "average", "agrees"),
    [
        ("SELL", "99", "100", [True]), ("SELL", "101", "100", [False]),
        ("BUY", "101", "100", [True]), ("BUY", "99", "100", [False]),
        ("BUY", "100", "100.0", []), ("BUY", "0", "100", []), ("BUY", "100", "", []), ("BOUGHT", "99", "100", []),
        ("BUY", "x", "100", []),
    ],
)  # fmt: skip
def test_an_order_is_filled_at_its_limit_or_better(side: str, limit: str, average: str, agrees: list[bool]) -> None:
    assert limit_evidence((LIMIT_FRAME % (side, limit, average)).encode()) == agrees


@pytest.mark.parametrize("frame", [b"", b"\xff", b"{}", b"[]", b'{"e":"forceOrder"}', b'{"o":{"s":1}}'])
def test_frames_without_an_order_are_no_evidence(frame: bytes) -> None:
    assert limit_evidence(frame) == []


def test_a_burst_is_checked_in_part_and_the_next_second_anew() -> None:
    marks = Marks()
    marks.set("X", Decimal(100), START_MS)
    found = evidence(marks)
    for _ in range(CHECKED_PER_S_MAX):
        found.add(liquidation(Side.LONG, 99.0, START_MS + 1))
    for _ in range(SIDES_DISAGREEING_MIN):
        found.add(liquidation(Side.SHORT, 99.0, START_MS + 1))
    assert found.contradiction is None
    for _ in range(SIDES_DISAGREEING_MIN):
        found.add(liquidation(Side.SHORT, 99.0, START_MS + 1_000))
    assert found.contradiction is not None


def test_the_limit_tells_of_turned_words_where_there_is_no_mark() -> None:
    found = SideEvidence(ADAPTERS["binance"], Marks())
    for _ in range(SIDES_DISAGREEING_MIN):
        found.look((LIMIT_FRAME % ("BUY", "99", "100")).encode())
    assert found.contradiction is not None
    assert found.contradiction.endswith("(order's limit)")


def test_a_list_beyond_doubt_tells_of_turned_signs_where_there_is_no_mark() -> None:
    found = SideEvidence(ADAPTERS["gate"], Marks())
    said = [liquidation(Side.LONG, 100.0, START_MS + 10_000 * number) for number in range(SIDES_DISAGREEING_MIN)]
    for event in said:
        found.add(event)
    found.compare([msgspec.structs.replace(event, side=Side.SHORT) for event in said])
    assert found.contradiction is not None
    assert found.contradiction.endswith("(REST list)")
