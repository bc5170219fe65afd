"""States of channels, drawn over time; no server, no clock."""

from hypothesis import given, settings
from hypothesis import strategies as st

from producers.clock import ClockOffset
from producers.gaps import SLOT_MS, SLOTS_MIN, GapLearner
from producers.health import DOWN_MS, DRIFT_MS, PollHealth, StreamHealth
from schemas.records import FeedHealth
from schemas.words import Exchange, FeedState

CONNECTED, SUBSCRIBED, LIVE, SILENT, STALE, GAP, RECONNECTING, DRIFT, DOWN = (
    FeedState.CONNECTED,
    FeedState.SUBSCRIBED,
    FeedState.LIVE,
    FeedState.SILENT,
    FeedState.STALE,
    FeedState.GAP,
    FeedState.RECONNECTING,
    FeedState.DRIFT,
    FeedState.DOWN,
)
MINUTE_MS = 60_000


def states(records: list[FeedHealth]) -> list[tuple[FeedState, int]]:
    return [(record.state, record.since_ms) for record in records]


def stream(connections: int = 1, pulse: str | None = "ticker") -> StreamHealth:
    health = StreamHealth(
        Exchange.BYBIT, "liquidation", now_ms=0, silent_ms_min=MINUTE_MS, silent_ms_unlearned=30 * MINUTE_MS
    )
    for number in range(connections):
        health.open(number, f"/feed/{number}", pulse, now_ms=0)
    return health


def live(health: StreamHealth, connection: int = 0, now_ms: int = 0) -> None:
    health.update(connection, CONNECTED, "", now_ms=now_ms)
    health.update(connection, SUBSCRIBED, "topics: 1", now_ms=now_ms)
    health.data(connection, now_ms)


def test_two_connections() -> None:
    # ms           0     10    20    30    40    50    60    70
    # first        C     S     data              R     S     data
    # second             C     .     S     data
    # channel      .     CONN.       LIVE        REC.  GAP, LIVE
    health = stream(2)

    def update(connection: int, state: FeedState, now_ms: int) -> list[tuple[FeedState, int]]:
        return states(health.update(connection, state, "", now_ms=now_ms))

    assert update(0, CONNECTED, 0) == []
    assert update(1, CONNECTED, 10) == [(CONNECTED, 10)]
    assert update(0, SUBSCRIBED, 10) == []
    assert health.data(0, 20) == []
    assert update(1, SUBSCRIBED, 30) == [(LIVE, 30)]
    assert health.data(1, 40) == []
    assert update(0, RECONNECTING, 50) == [(RECONNECTING, 50)]
    assert update(0, SUBSCRIBED, 60) == [(GAP, 50), (LIVE, 60)]
    assert states(health.data(0, 70)) == []
    assert health.now(80).since_ms == 60


def test_first_failures_are_no_gap() -> None:
    health = stream()
    health.update(0, RECONNECTING, "", now_ms=1)
    records = health.update(0, SUBSCRIBED, "topics: 1", now_ms=2)
    assert states(records) == [(SUBSCRIBED, 2)]
    assert "quiet so far, but watched by ticker" in records[0].detail


def test_gap_begins_with_the_last_frame_not_with_the_discovery() -> None:
    health = stream()
    live(health, now_ms=1_000)
    health.update(0, STALE, "nothing came", now_ms=40_000, last_frame_ms=9_000)
    health.update(0, RECONNECTING, "nothing came", now_ms=40_000, last_frame_ms=9_000)
    gap, after = health.update(0, SUBSCRIBED, "", now_ms=41_000)
    assert (gap.state, gap.since_ms) == (GAP, 9_000)
    assert gap.detail.endswith("nothing was received for 32000 ms, from 9000 to 41000")
    assert after.state is SUBSCRIBED


def test_channel_that_is_tried_in_vain_is_down() -> None:
    health = stream()
    for now_ms in range(0, DOWN_MS, 10_000):
        health.update(0, RECONNECTING, "refused", now_ms=now_ms)
        health.update(0, CONNECTED, "", now_ms=now_ms + 1)
    assert states(health.update(0, RECONNECTING, "refused", now_ms=DOWN_MS - 1)) == [(RECONNECTING, DOWN_MS - 1)]
    (down,) = health.review(DOWN_MS)
    assert (down.state, down.detail) == (DOWN, "tried for 60 s: refused")


def busy(health: StreamHealth, minutes: int, gap_ms: int, connection: int = 0) -> int:
    """Data every `gap_ms` for so many minutes; when the last came."""
    times = range(0, minutes * MINUTE_MS, gap_ms)
    for now_ms in times:
        health.data(connection, now_ms)
    return times[-1]


def test_silence_is_told_after_the_learned_gap() -> None:
    # min    0 ... 19           20        21
    #        data every 25 s    |<- 75 s ->| SILENT, then data: LIVE
    health = stream()
    live(health)
    last_ms = busy(health, 20, 25_000)
    assert health.expected_gap_ms == 75_000
    assert health.review(last_ms + 75_000) == []
    assert health.silent(last_ms + 75_000) == []
    (silent,) = health.review(last_ms + 75_001)
    assert silent.state is SILENT
    assert "ticker is alive" in silent.detail
    assert health.silent(last_ms + 75_001) == [0]
    assert states(health.data(0, last_ms + 80_000)) == [(LIVE, last_ms + 80_000)]


def test_silence_shorter_than_the_floor_is_not_told() -> None:
    health = stream()
    live(health)
    last_ms = busy(health, 20, 1_000)
    assert health.expected_gap_ms == MINUTE_MS
    assert health.review(last_ms + MINUTE_MS) == []
    assert states(health.review(last_ms + MINUTE_MS + 1)) == [(SILENT, last_ms + MINUTE_MS + 1)]


def test_subscribed_and_nothing_ever_came() -> None:
    health = stream()
    health.update(0, SUBSCRIBED, "topics: 1", now_ms=0)
    assert health.review(30 * MINUTE_MS) == []
    (silent,) = health.review(30 * MINUTE_MS + 1)
    assert silent.state is SILENT
    assert "subscribed and nothing ever came" in silent.detail
    assert "ticker is alive" in silent.detail


def test_quiet_connection_beside_a_live_one_is_not_silent() -> None:
    health = stream(2, pulse=None)
    live(health, 0)
    health.update(1, SUBSCRIBED, "", now_ms=0)
    busy(health, 60, 1_000)
    assert health.review(60 * MINUTE_MS) == []
    assert health.state is LIVE


def test_burst_teaches_no_short_gap() -> None:
    gaps = GapLearner()
    for now_ms in range(20_000):
        gaps.add(now_ms)
    assert gaps.usual_ms is None
    for minute in range(1, SLOTS_MIN + 2):
        gaps.add(minute * SLOT_MS)
    assert gaps.usual_ms == 3 * SLOT_MS


@settings(max_examples=60, deadline=None)
@given(gaps_ms=st.lists(st.integers(1, 200_000), min_size=40, max_size=200))
def test_usual_gap_is_not_above_three_times_the_longest(gaps_ms: list[int]) -> None:
    learner, now_ms = GapLearner(), 0
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        learner.add(now_ms)
    assert learner.usual_ms is None or min(gaps_ms) <= learner.usual_ms <= 3 * max(gaps_ms)


def test_drift_is_told_at_most_once_a_second_and_forgotten() -> None:
    health = stream()
    live(health)
    (drift,) = health.drift("fields", "fields that are not known: x", now_ms=10)
    assert (drift.state, drift.detail) == (DRIFT, "fields that are not known: x")
    assert health.drift("fields", "fields that are not known: x", now_ms=5_000) == []
    (both,) = health.drift("sides", "sides: 30 of 50", now_ms=5_001)
    assert both.detail == "fields that are not known: x; sides: 30 of 50"
    assert both.since_ms == 10
    for after_ms in range(1, 1_000):
        assert health.drift("sides", f"sides: {after_ms} of 50", now_ms=5_001 + after_ms) == []
    (newest,) = health.review(6_001)
    assert newest.detail == "fields that are not known: x; sides: 999 of 50"
    assert states(health.update(0, RECONNECTING, "cut", now_ms=7_000)) == [(RECONNECTING, 7_000)]
    assert [record.state for record in health.update(0, SUBSCRIBED, "", now_ms=8_000)] == [GAP, DRIFT]
    assert [record.state for record in health.review(6_000 + DRIFT_MS)] == [SUBSCRIBED]


def test_poll_from_the_first_answer_to_stale_data_and_back() -> None:
    # s         0        10    20    30    40    41    50
    # answers   .        ok    .     .     .     .     ok
    # channel   CONN.    LIVE              .     STALE GAP, LIVE
    health = PollHealth(Exchange.BYBIT, "open-interest", now_ms=0)
    health.expect("/tickers", 10_000, now_ms=0)
    assert states(health.review(0)) == [(CONNECTED, 0)]
    assert states(health.succeeded("/tickers", now_ms=10_000)) == [(LIVE, 10_000)]
    assert health.failed("/tickers", "timeout", now_ms=20_000) == []
    assert health.review(40_000) == []
    (stale,) = health.review(40_001)
    assert (stale.state, stale.detail) == (STALE, "/tickers: 30 s old, due every 10 s: timeout")
    assert states(health.succeeded("/tickers", now_ms=50_000)) == [(GAP, 10_000), (LIVE, 50_000)]


def test_poll_that_answers_with_old_data_is_stale() -> None:
    health = PollHealth(Exchange.BYBIT, "open-interest", now_ms=0)
    health.expect("/tickers", 10_000, now_ms=0)
    health.succeeded("/tickers", now_ms=10_000, data_ms=9_900)
    health.succeeded("/tickers", now_ms=41_000, data_ms=9_900)
    assert health.state is STALE


def test_one_call_without_an_answer_among_several() -> None:
    health = PollHealth(Exchange.BYBIT, "funding", now_ms=0)
    for source in ("/linear", "/inverse"):
        health.expect(source, 10_000, now_ms=0)
    assert states(health.succeeded("/linear", now_ms=1)) == [(CONNECTED, 1)]
    (failed,) = health.failed("/inverse", "503", now_ms=2)
    assert (failed.state, failed.detail) == (RECONNECTING, "/inverse: no answer yet: 503")
    health.succeeded("/linear", now_ms=70_000)
    assert health.state is DOWN
    assert states(health.succeeded("/inverse", now_ms=70_001)) == [(LIVE, 70_001)]


@settings(max_examples=60, deadline=None)
@given(
    offset_ms=st.integers(-120_000, 120_000),
    calls=st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 400), st.integers(1, 400)), min_size=1, max_size=60),
)
def test_clock_offset_lies_within_its_bounds(offset_ms: int, calls: list[tuple[int, int, int]]) -> None:
    clock, now_ms = ClockOffset(), 1_700_000_000_000
    for wait_ms, there_ms, back_ms in calls:
        now_ms += wait_ms
        server_ms = (now_ms + there_ms + offset_ms) // 1_000 * 1_000  # its header has whole seconds
        received_ms = now_ms + there_ms + back_ms
        clock.answered(sent_ms=now_ms, received_ms=received_ms, server_ms=server_ms, step_ms=1_000)
        clock.event(event_ms=now_ms + offset_ms, received_ms=now_ms + back_ms)
        now_ms = received_ms
    estimate = clock.get()
    assert estimate is not None
    assert abs(estimate - offset_ms) <= 1_800 / 2


def test_event_from_the_future_does_not_move_the_clock() -> None:
    clock = ClockOffset()
    clock.answered(sent_ms=1_000, received_ms=1_010, server_ms=1_000, step_ms=1_000)
    clock.event(event_ms=99_000, received_ms=1_020)
    assert clock.get() == 1_000
