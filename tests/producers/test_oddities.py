"""What an exchange does that spoils nothing: told, once in ten seconds, and never taken for something worse."""

import pytest

from producers.clock import ClockOffset
from producers.oddities import Oddities

NOW_MS = 1_700_000_000_000


def test_nothing_odd_is_nothing_told() -> None:
    oddities = Oddities()
    for number in range(10):
        oddities.frame(b"%d" % number)
        oddities.event(event_ms=NOW_MS + number, received_ms=NOW_MS + number + 80)
    assert oddities.take(NOW_MS, 150.0) == []


def test_frames_that_come_again_are_told_each_ten_seconds_at_most() -> None:
    # 0 s     1 s     9 s    10 s
    # |2 again|1 again|      |
    # told 2          -      told 1
    oddities = Oddities()
    for frame in (b"a", b"a", b"b", b"b"):
        oddities.frame(frame)
    assert oddities.take(NOW_MS, None) == ["frames came again: 2"]
    oddities.frame(b"a")
    assert oddities.take(NOW_MS + 9_999, None) == []
    assert oddities.take(NOW_MS + 10_000, None) == ["frames came again: 1"]
    assert oddities.take(NOW_MS + 30_000, None) == []


@pytest.mark.parametrize(("back_ms", "told"), [(2_499, []), (2_500, ["rows came out of order: 1, by up to 2.5 s"])])
def test_rows_out_of_order_are_told_from_two_and_a_half_seconds_on(back_ms: int, told: list[str]) -> None:
    oddities = Oddities()
    for event_ms in (NOW_MS, NOW_MS - back_ms, NOW_MS + 5):
        oddities.event(event_ms=event_ms, received_ms=NOW_MS + 50)
    assert oddities.take(NOW_MS, None) == told


def test_a_row_from_the_far_future_makes_no_other_row_late() -> None:
    oddities = Oddities()
    oddities.event(event_ms=NOW_MS + 10**10, received_ms=NOW_MS)
    oddities.event(event_ms=NOW_MS + 100, received_ms=NOW_MS + 150)
    (told,) = oddities.take(NOW_MS, None)
    assert told == "the exchange's clock is 10000000.0 s ahead of ours"


@pytest.mark.parametrize(
    ("offset_ms", "told"),
    [(-1_999.0, []), (-2_000.0, ["the exchange's clock is 2.0 s behind ours"]),
     (20_000.0, ["the exchange's clock is 20.0 s ahead of ours"])],
)  # fmt: skip
def test_a_wrong_clock_is_told(offset_ms: float, told: list[str]) -> None:
    assert Oddities().take(NOW_MS, offset_ms) == told


@pytest.mark.parametrize(
    ("lags_ms", "told"),
    [([9_000] * 4, []), ([9_000] * 4 + [4_999], []), ([9_000] * 4 + [5_000], ["no row comes within 5.0 s"])],
)
def test_a_feed_without_any_row_in_time_is_told(lags_ms: list[int], told: list[str]) -> None:
    oddities = Oddities()
    for lag_ms in lags_ms:
        oddities.event(event_ms=NOW_MS, received_ms=NOW_MS + lag_ms)
    sentences = oddities.take(NOW_MS + 9_000, None)
    assert [sentence.partition(":")[0] for sentence in sentences] == told
    assert oddities.take(NOW_MS + 30_000, None) == [], "those rows are long ago"


@pytest.mark.parametrize("jump_ms", [-20_000, 20_000])
def test_a_clock_that_is_set_is_known_at_the_next_answer(jump_ms: int) -> None:
    clock = ClockOffset()
    for number, offset_ms in ((0, 0), (1, 0), (2, jump_ms), (3, 0)):
        sent_ms = NOW_MS + 1_000 * number
        server_ms = (sent_ms + 20 + offset_ms) // 1_000 * 1_000
        clock.answered(sent_ms=sent_ms, received_ms=sent_ms + 40, server_ms=server_ms, step_ms=1_000)
        known_ms = clock.get()
        assert known_ms is not None
        assert abs(known_ms - offset_ms) < 1_000


def test_order_is_told_while_a_clock_is_wrong_and_not_when_it_is_set_right() -> None:
    # 0 s                20 s ahead               set right, 11 s later
    # |+20 s  +23 s  +20 s: out of order|         |+0 s: in order
    oddities = Oddities()
    for event_ms in (20_000, 23_000, 20_000):
        oddities.event(event_ms=NOW_MS + event_ms, received_ms=NOW_MS)
    told = oddities.take(NOW_MS, None)
    assert "rows came out of order: 1, by up to 3.0 s" in told
    oddities.event(event_ms=NOW_MS + 11_000, received_ms=NOW_MS + 11_000)
    assert oddities.take(NOW_MS + 30_000, None) == []
