"""Windows: what is in them, when they are final, and in which order they come."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.detector import Detector, Output
from processors.settings import DetectorSettings, RelativeSettings, RelativeWindowSettings, WindowSettings
from processors.windows.store import Store
from schemas.records import WindowAggregate
from schemas.words import Exchange, Side
from tests.processors.logs import START_MS, as_lines, at, fold_all, liquidation, new_detector, silence, tick


def windows(outputs: list[Output], size_ms: int) -> list[WindowAggregate]:
    records = [one.record for one in outputs if isinstance(one.record, WindowAggregate)]
    return [record for record in records if record.size_ms == size_ms]


def test_window_holds_its_start_and_not_its_end() -> None:
    #  ms      -100         0  99 100      199 200
    #  events         |-1   |   |  |        |   |
    #  100 ms  [------------)[-----)[----------)[---
    detector = new_detector()
    times = (-1, 0, 99, 100, 199, 200)
    outputs = detector.fold([at(i, 300, liquidation(time)) for i, time in enumerate(times)]) + silence(detector, 400)
    found = [(w.window_start_ms - START_MS, w.window_end_ms - START_MS, w.events) for w in windows(outputs, 100)]
    assert found == [(-100, 0, 1), (0, 100, 2), (100, 200, 2), (200, 300, 1)]


@pytest.mark.parametrize(("late_ms", "counted"), [(4_999, True), (5_000, True), (5_001, False)])
def test_event_within_the_grace_counts(late_ms: int, counted: bool) -> None:
    #  ms      0                         5000
    #  T       |------ grace of 2 s ------|
    #  event   x                          arrives
    detector = new_detector()
    outputs = detector.fold([at(0, late_ms, liquidation(0))]) + silence(detector, late_ms + 200)
    assert len(windows(outputs, 2_000)) == counted
    assert len(windows(outputs, 60_000)) == 1  # its grace is 30 s


@pytest.mark.parametrize(("late_ms", "late"), [(30_000, False), (30_001, True)])
def test_event_late_for_every_size_goes_to_the_late_topic_unchanged(late_ms: int, late: bool) -> None:
    event = liquidation(0)
    detector = new_detector()
    outputs = detector.fold([at(0, late_ms, event)])
    assert [one.id for one in outputs if one.topic.name == "market.late"] == [event.event_id] * late
    assert all(one.record == event for one in outputs if one.topic.name == "market.late")
    assert detector.wants_ticks is not late


def test_backlog_goes_to_the_late_topic_however_young_it_is() -> None:
    detector = new_detector()
    outputs = detector.fold([at(0, 10, liquidation(0, backlog=True))])
    assert [one.topic.name for one in outputs] == ["signals.state", "market.late"]  # progress, then the event
    assert not detector.wants_ticks


def test_event_ahead_of_the_log_counts_now() -> None:
    detector = new_detector()
    outputs = detector.fold([at(0, 1_050, liquidation(9_000))]) + silence(detector, 1_200)
    assert [window.window_start_ms - START_MS for window in windows(outputs, 100)] == [1_000]


def test_window_is_final_at_its_end_and_grace_and_not_before() -> None:
    #  ms      0    100                      5099 5100
    #  window  [-x---)                        |    |
    #  T                                    tick  tick
    detector = new_detector()
    detector.fold([at(0, 50, liquidation(50))])
    assert windows([*detector.apply(tick(0, 5_099))], 100) == []
    (window,) = windows([*detector.apply(tick(1, 5_100))], 100)
    assert window.append_time_ms - START_MS == 5_100
    assert window.window_id == f"BTC:100:{START_MS}"


def test_windows_close_before_the_record_that_closes_them_is_counted() -> None:
    detector = new_detector()
    detector.fold([at(0, 50, liquidation(50))])
    outputs = detector.fold([at(1, 500_000, liquidation(500_000))])
    assert [one.events for one in windows(outputs, 300_000)] == [1]


def test_windows_come_by_end_then_size_then_asset() -> None:
    detector = new_detector()
    names = ("SOL", "BTC", "ETH")  # not in the order of the alphabet
    events = [at(i, 60, liquidation(50 + 40 * (i // 3), asset=names[i % 3])) for i in range(6)]
    outputs = [*detector.fold(events), *detector.apply(tick(0, 700_000))]
    order = [
        (record.window_end_ms, record.size_ms, record.asset)
        for one in outputs
        if isinstance(record := one.record, WindowAggregate)
    ]
    assert len(order) == 18
    assert order == sorted(order)


def test_window_says_who_and_which_side() -> None:
    detector = new_detector()
    outputs = detector.fold(
        [
            at(0, 50, liquidation(10, exchange=Exchange.OKX, notional_usd=0.1)),
            at(1, 50, liquidation(20, exchange=Exchange.OKX, notional_usd=0.2, side=Side.SHORT)),
            at(2, 50, liquidation(30, exchange=Exchange.BYBIT, notional_usd=1e6)),
        ]
    )
    (window,) = windows(outputs + silence(detector, 200), 2_000)
    assert (window.events, window.long_events, window.short_events) == (3, 2, 1)
    assert (window.notional_usd, window.long_notional_usd, window.short_notional_usd) == (1_000_000.3, 1_000_000.1, 0.2)
    assert list(window.exchanges) == ["bybit", "okx"]
    assert (window.exchanges["okx"].notional_usd, window.exchanges["okx"].long_notional_usd) == (0.3, 0.1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_any_order_within_the_grace_gives_the_same_windows(seed: int, count: int) -> None:
    rng = random.Random(seed)
    events = [
        liquidation(
            rng.randrange(4_000),
            asset=rng.choice(("BTC", "ETH")),
            exchange=rng.choice((Exchange.BYBIT, Exchange.OKX)),
            notional_usd=round(rng.lognormvariate(9, 3), 6),
            name=number,
        )
        for number in range(count)
    ]
    found = []
    for order in (events, rng.sample(events, count)):
        detector = Detector(DetectorSettings(), partition=None)
        log = [at(offset, 4_000 + offset, event) for offset, event in enumerate(order)]
        outputs = fold_all(detector, log) + silence(detector, 5_000)
        found.append(as_lines(one for one in outputs if one.topic.name == "signals.windows"))
    assert found[0] == found[1]


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32))
def test_sizes_need_not_fit_into_each_other(seed: int) -> None:
    #  200 fits into 600 and 2,000, 300 into 600, 600 into none; 4,000 takes less late events than 2,000, 6,000 more
    graces = {200: 1_000, 300: 1_000, 600: 1_500, 2_000: 1_000, 4_000: 500, 6_000: 3_000}
    sizes = [
        WindowSettings(size_ms=size, grace_ms=grace, flag=str(size), flag_events=5) for size, grace in graces.items()
    ]
    relative = RelativeSettings(windows=(RelativeWindowSettings(size_ms=2_000, events_min=5, scale="1"),))
    detector = new_detector(DetectorSettings(windows=tuple(sizes), relative=relative))
    rng, now_ms, log, expected = random.Random(seed), 5_000, [], Counter[tuple[int, int, str]]()
    for offset in range(80):
        now_ms += rng.choice((0, 40, 300))
        late_ms = rng.choice((0, 100, 500, 501, 1_000, 1_001, 1_500, 3_000))
        event = liquidation(now_ms - late_ms, exchange=rng.choice((Exchange.BYBIT, Exchange.OKX)), name=offset)
        log.append(at(offset, now_ms, event))
        for size_ms, grace_ms in graces.items():
            start_ms = event.event_time_ms // size_ms * size_ms - START_MS
            expected[size_ms, start_ms, event.exchange.value] += late_ms <= grace_ms
    outputs = fold_all(detector, log) + silence(detector, now_ms + 200)
    found = {
        (size_ms, window.window_start_ms - START_MS, exchange): part.events
        for size_ms in graces
        for window in windows(outputs, size_ms)
        for exchange, part in window.exchanges.items()
    }
    assert found == +expected


def test_sums_return_to_nothing() -> None:
    detector = new_detector()
    detector.fold([at(i, i, liquidation(i, notional_usd=0.1)) for i in range(1_000)])
    silence(detector, 1_200)
    outputs = detector.fold([at(1_000, 2_000_000, liquidation(2_000_000, notional_usd=0.1))])
    outputs += silence(detector, 2_000_200, sequence=100_000)
    assert {window.notional_usd for window in windows(outputs, 300_000)} == {0.1}


def test_memory_of_an_asset_does_not_grow_with_events() -> None:
    store = Store(DetectorSettings(), partition=None, headers=[bytes(5)] * 3)
    store.row("BTC")
    assert store.nbytes() < 400_000
