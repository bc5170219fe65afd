"""Probability, levels and episodes."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.cascade.level import ALERT, CRITICAL, EXTREME, NONE, WATCH, level_rank
from processors.cascade.score import boosted, probability_nano, published_terms, terms_nano
from processors.detector import Output
from processors.settings import DetectorSettings
from processors.windows.layout import rules_of
from schemas.codec import Codec
from schemas.records import AssetState, CascadeAlert, FeedHealth, JournalContext, JournalEntry
from schemas.topics import FEED_HEALTH
from schemas.words import AlertKind, Completeness, Exchange, FeedState, JournalKind, Level, Side, StateKind
from tests.processors.logs import START_MS, at, cascade_log, fold_all, liquidation, new_detector, silence, tick

RULE = rules_of(DetectorSettings())[0]
MILLION = 10**12  # USD in micro-USD
NO_DATA = float("nan")


def alerts(outputs: list[Output]) -> list[CascadeAlert]:
    return [one.record for one in outputs if isinstance(one.record, CascadeAlert)]


def states(outputs: list[Output]) -> list[AssetState]:
    return [r for one in outputs if isinstance(r := one.record, AssetState) and r.kind is StateKind.ASSET]


@pytest.mark.parametrize(
    ("events", "before", "micro_usd", "correlation", "terms"),
    [
        (100, 100, 0, NO_DATA, (0.25, 0, 0, 0)),  # 50/s
        (50, 100, 0, NO_DATA, (0.125, 0, 0, 0)),  # slower than before: no negative marks
        (0, 0, 100 * MILLION, NO_DATA, (0, 0, 0.2, 0)),  # $50M/s
        (80, 0, 0, NO_DATA, (0.2, 0.2, 0, 0)),  # 20/s²
        (10, 10, 0, 1.0, (0.025, 0, 0, 0.075)),  # 5/s: context counts half
        (0, 0, 10 * MILLION, 1.0, (0, 0, 0.02, 0.075)),  # $5M/s: half as well
        (1_000, 0, 1_000 * MILLION, 0.5, (0.25, 0.2, 0.2, 0.075)),
    ],
)
def test_terms_are_shares_of_full_marks(
    events: int, before: int, micro_usd: int, correlation: float, terms: tuple[float, ...]
) -> None:
    given_terms = terms_nano(events, before, micro_usd, 0, correlation, NO_DATA, NO_DATA, RULE)
    assert given_terms == (*(round(term * 1e9) for term in terms), 0, 0)


def test_boost_begins_at_twice_the_critical_acceleration() -> None:
    assert not boosted(159, 0, RULE)
    assert boosted(160, 0, RULE)  # 80/s in 2 s: 40/s²
    assert probability_nano((200, 0, 0, 0, 0, 0), True, RULE) == 250
    assert probability_nano((900_000_000, 0, 0, 0, 0, 0), True, RULE) == 10**9


@pytest.mark.parametrize(
    ("probability", "events", "before", "rank"),
    [
        (0.3, 20, 20, NONE),
        (0.300000001, 0, 0, WATCH),
        (0.0, 21, 21, WATCH),  # above 10/s
        (0.5, 40, 40, WATCH),
        (0.500000001, 0, 0, ALERT),
        (0.0, 41, 41, ALERT),  # above 20/s
        (0.0, 101, 21, ALERT),  # above 50/s, but 20/s² is not above 20/s²
        (0.0, 101, 20, CRITICAL),
        (0.0, 100, 0, ALERT),
        (0.700000001, 0, 0, CRITICAL),
        (0.9, 200, 200, CRITICAL),
        (0.900000001, 0, 0, EXTREME),
        (0.0, 201, 201, EXTREME),  # above 100/s
    ],
)
def test_level_is_justified_above_its_thresholds(probability: float, events: int, before: int, rank: int) -> None:
    assert level_rank(round(probability * 1e9), events, before, RULE) == rank


@given(st.tuples(*[st.integers(0, 250_000_000)] * 6))
def test_published_terms_add_up(terms: tuple[int, int, int, int, int, int]) -> None:
    published = published_terms(terms)
    assert round(sum(published) * 10**6) == round(sum(terms) / 1_000)
    assert all(abs(given_term - term / 1e9) < 1e-6 for given_term, term in zip(published, terms, strict=True))


def test_calm_gives_no_alert() -> None:
    detector = new_detector()
    log = [at(i, i * 700, liquidation(i * 700 - 300, notional_usd=2e5)) for i in range(600)]
    assert alerts(fold_all(detector, log) + silence(detector, 420_200)) == []


def test_cascade_reaches_extreme_and_ends() -> None:
    found = alerts(fold_all(new_detector(), cascade_log(1)))
    assert (found[0].kind, found[0].previous_level) == (AlertKind.RAISED, Level.NONE)
    assert (found[-1].kind, found[-1].level, found[-1].peak_level) == (AlertKind.ENDED, Level.NONE, Level.EXTREME)
    assert {alert.level for alert in found} >= {Level.WATCH, Level.ALERT, Level.CRITICAL, Level.EXTREME, Level.NONE}
    assert found[-2].side is Side.LONG or found[5].side is Side.LONG


def test_episode_counts_its_alerts_without_a_gap() -> None:
    found = alerts(fold_all(new_detector(), cascade_log(2, assets=("BTC", "ETH"))))
    for asset in ("BTC", "ETH"):
        own = [alert for alert in found if alert.asset == asset]
        assert own
        number = 0
        for alert in own:
            assert alert.sequence == number
            assert alert.alert_id == f"{alert.episode_id}:{number}"
            number = 0 if alert.kind is AlertKind.ENDED else number + 1
        assert len({alert.alert_id for alert in own}) == len(own)


def test_level_is_what_the_alerts_before_it_say() -> None:
    level = Level.NONE
    for alert in alerts(fold_all(new_detector(), cascade_log(3))):
        assert alert.previous_level is level
        assert (alert.kind is AlertKind.UPDATED) == (alert.level is level)
        level = alert.level
    assert level is Level.NONE


def test_updates_come_once_a_second_at_most_and_only_after_events() -> None:
    found = alerts(fold_all(new_detector(), cascade_log(4)))
    for before, alert in itertools.pairwise(found):
        if alert.kind is AlertKind.UPDATED:
            assert alert.append_time_ms - before.append_time_ms >= 1_000
    detector = new_detector()
    detector.fold([at(i, 100, liquidation(0, name=i)) for i in range(30)])
    assert [alert.kind for alert in alerts(silence(detector, 200))] == [AlertKind.UPDATED, AlertKind.ENDED]


def test_level_falls_after_the_hold_directly_to_the_highest_justified_in_it() -> None:
    #  s        0        4                 10            14
    #  events   |||50    ||22
    #  level    ALERT .................... WATCH ....... NONE
    detector = new_detector()
    first = [at(i, 0, liquidation(0, name=i)) for i in range(50)]
    second = [at(50 + i, 4_000, liquidation(4_000, name=i)) for i in range(22)]
    raised = [(a.kind, a.level) for a in alerts(detector.fold(first + second))]
    assert raised[:2] == [(AlertKind.RAISED, Level.WATCH), (AlertKind.RAISED, Level.ALERT)]
    outputs = []
    for number, time_ms in enumerate((4_200, 5_800, 9_999, 10_000, 15_799, 15_800)):
        for alert in alerts([*detector.apply(tick(number, time_ms))]):
            outputs.append((time_ms, alert.kind, alert.level, alert.previous_level))
    # a tick at 5.8 s judges the window that ends at 4.8 s, which holds the second burst: WATCH stands until 15.8 s
    changes = [output for output in outputs if output[1] is not AlertKind.UPDATED]
    assert changes == [
        (10_000, AlertKind.LOWERED, Level.WATCH, Level.ALERT),
        (15_800, AlertKind.ENDED, Level.NONE, Level.WATCH),
    ]


def test_fall_that_nobody_ticked_is_found_by_the_next_record_of_any_asset() -> None:
    detector = new_detector()
    detector.fold([at(i, 0, liquidation(0, name=i)) for i in range(30)])
    (alert,) = alerts(detector.fold([at(30, 60_000, liquidation(60_000, asset="ETH"))]))
    assert (alert.asset, alert.kind, alert.source_offset) == ("BTC", AlertKind.ENDED, 30)


def test_late_venue_counts_in_the_window_where_it_belongs() -> None:
    #  ms       0                2000          2400
    #  on time  |||||11          .             | 1
    #  late     |||||11 (arrive at 2400)
    #  2 s      [----- 22 -------)
    detector = new_detector()
    log = [at(i, 100, liquidation(100 + i, name=i)) for i in range(11)]
    log += [at(11, 2_400, liquidation(2_400))]
    log += [at(12 + i, 2_401, liquidation(150 + i, exchange=Exchange.BINANCE, name=i)) for i in range(10)]
    (alert,) = [alert for alert in alerts(detector.fold(log)) if alert.kind is AlertKind.RAISED]
    assert (alert.level, alert.windows[2].events) == (Level.WATCH, 21)


def test_short_windows_raise_flags_that_stand_for_the_hold() -> None:
    detector = new_detector()
    detector.fold([at(i, 10, liquidation(i, name=i)) for i in range(5)])
    shown = states([*detector.apply(tick(0, 200))])
    assert shown[-1].flags == ("flash_crash",)  # the state at the first of the five could not show it
    found = [flag for state in states(silence(detector, 12_000, sequence=1)) for flag in state.flags]
    assert found == []


def test_states_come_ten_a_second_at_most_and_the_last_is_quiet() -> None:
    outputs = fold_all(new_detector(), cascade_log(6))
    found = states(outputs)
    times = [state.append_time_ms for state in found]
    assert min(after - before for before, after in itertools.pairwise(times)) >= 100
    assert (found[-1].level, found[-1].windows[2].events, found[-1].episode_id) == (Level.NONE, 0, None)
    assert len([one for one in outputs if one.key == "progress/0"]) == 100  # one a second of T


def test_first_mover_came_first_by_event_time_not_by_arrival() -> None:
    detector = new_detector()
    log = [at(i, 900, liquidation(500 + i, exchange=Exchange.BYBIT, name=i)) for i in range(15)]
    log += [at(15 + i, 1_400, liquidation(400 + i, exchange=Exchange.BINANCE, name=i)) for i in range(15)]
    found = alerts(detector.fold(log))
    assert (found[0].kind, found[0].first_mover) == (AlertKind.RAISED, Exchange.BINANCE)


def test_leading_exchange_has_most_of_the_usd() -> None:
    detector = new_detector()
    log = [at(i, 900, liquidation(800, exchange=Exchange.BYBIT, name=i)) for i in range(20)]
    log += [at(20, 901, liquidation(801, exchange=Exchange.OKX, notional_usd=60_000.0, side=Side.SHORT))]
    (alert,) = alerts(detector.fold(log))
    assert (alert.leading_exchange, alert.side) == (Exchange.OKX, Side.SHORT)
    assert (alert.exchanges["okx"].share, alert.exchanges["bybit"].share) == (0.75, 0.25)


def health(sequence: int, exchange: Exchange, state: FeedState, **changed: Any) -> JournalEntry:
    record = FeedHealth(
        exchange=exchange, channel=changed.get("channel", "liquidation"), state=state, since_ms=0, event_time_ms=0
    )
    value = changed.get("value", Codec().encode(FEED_HEALTH, record))
    context = JournalContext(
        topic=changed.get("topic", FEED_HEALTH.name),
        partition=0,
        offset=sequence,
        append_time_ms=START_MS,
        key=b"",
        value=value,
    )
    return JournalEntry(
        partition=0, epoch=1, sequence=sequence, after_offset=-1, kind=JournalKind.CONTEXT, context=context
    )


def test_coverage_names_every_exchange_that_is_known() -> None:
    detector = new_detector()
    detector.apply(health(0, Exchange.OKX, FeedState.SILENT))
    detector.apply(health(1, Exchange.BYBIT, FeedState.LIVE))
    detector.apply(health(2, Exchange.BYBIT, FeedState.DOWN, channel="funding"))
    detector.apply(health(3, Exchange.BYBIT, FeedState.DOWN, topic="market.funding"))
    detector.apply(health(4, Exchange.BYBIT, FeedState.DOWN, value=b"nonsense"))
    assert (detector.next_sequence, detector.contexts_refused) == (5, 2)
    (state,) = states(detector.fold([at(0, 0, liquidation(0, completeness=Completeness.ALL))]))
    assert {name: (one.state, one.completeness) for name, one in state.coverage.items()} == {
        "bybit": (FeedState.LIVE, Completeness.ALL),
        "okx": (FeedState.SILENT, Completeness.UNKNOWN),
    }
    assert state.confidence == 0.425  # one of two, and no correlation: 0.5 x 0.85
    assert not state.exchanges["okx"].active


def test_times_of_an_alert_are_the_logs() -> None:
    detector = new_detector()
    log = [at(i, 900, liquidation(800 + i, name=i)) for i in range(21)]
    (alert,) = alerts(detector.fold(log))
    assert alert.event_time_ms == START_MS + 820
    assert (alert.append_time_ms, alert.source_partition, alert.source_offset) == (START_MS + 900, 0, 20)
    terms = [getattr(alert.contributions, name) for name in alert.contributions.__struct_fields__]
    assert terms == [0.0525, 0.0525, 0.000042, 0.0, 0.0, 0.0]  # 10.5/s, 5.25/s², $10,500/s
    assert alert.probability == 0.105042
