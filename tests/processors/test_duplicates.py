"""A liquidation that comes again within ten minutes of the log counts once."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.windows import seen as table
from processors.windows.seen import COUNT, FORGOTTEN, SPAN_MS, id_of, new_seen, note, with_room
from schemas.records import Liquidation, WindowAggregate
from tests.processors.logs import at, fold_all, heard, liquidation, new_detector, silence


def events_in_windows(detector_outputs: list[object]) -> int:
    return sum(one.events for one in detector_outputs if isinstance(one, WindowAggregate) and one.size_ms == 300_000)


def test_event_that_comes_again_counts_once() -> None:
    detector = new_detector()
    event = liquidation(0)
    outputs = detector.fold([at(0, 0, event), at(1, 1, event), at(2, 5_000, event), at(3, 5_000, liquidation(1))])
    outputs += silence(detector, 5_200)
    assert events_in_windows([one.record for one in outputs]) == 2
    assert (detector.duplicates, detector.next_offset) == (2, 4)


def test_late_event_is_told_of_once() -> None:
    detector = new_detector()
    event = liquidation(0, backlog=True)
    outputs = detector.fold([at(0, 60_000, event), at(1, 60_001, event)])
    assert [one.id for one in outputs if isinstance(one.record, Liquidation)] == [event.event_id]


def test_ten_minutes_end_at_ten_minutes() -> None:
    #  min    0        10 - 1 ms       20 - 2 ms        30 - 2 ms
    #         counts   does not        does not         counts: it came ten minutes before
    seen = new_seen(4)
    times_ms = (0, SPAN_MS - 1, 2 * SPAN_MS - 2, 3 * SPAN_MS - 2)
    assert [note(7, time_ms, seen) for time_ms in times_ms] == [False, True, True, False]


def test_more_ids_than_fit_are_forgotten_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "IDS_MAX", 8)
    seen = new_seen(2)
    for number in range(12):
        seen = with_room(seen, 1)
        assert not note(number, number, seen)
    assert (len(seen.ids), seen.counts[COUNT], seen.counts[FORGOTTEN]) == (8, 8, 4)
    assert note(11, 12, seen)
    assert not note(3, 13, seen)


def test_id_that_found_its_bucket_full_is_known_for_as_long_as_others() -> None:
    #  min    0             10 - 1 ms        20 - 2 ms
    #         40 share one  all come again   and again
    seen = new_seen(64)
    for time_ms in (0, SPAN_MS - 1, 2 * SPAN_MS - 2):
        assert [note(number << 8, time_ms, seen) for number in range(40)] == [time_ms > 0] * 40
    assert not any(note(number << 8, 3 * SPAN_MS - 2, seen) for number in range(40))


def test_id_takes_at_most_32_bytes() -> None:
    seen = with_room(new_seen(2), 2_000_000)
    assert sum(array.nbytes for array in seen) <= 33 * 2_000_000


def test_ids_are_spread() -> None:
    assert len({id_of(f"event-{number}") & 0xFFFF for number in range(1_000)}) > 950


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from((0, 0, 1, 1_000, 200_000, 599_999, 600_000))), max_size=200),
    st.integers(2, 70),
    st.integers(0, 200),
)
def test_table_says_what_a_list_says(drawn: list[tuple[int, int]], places: int, cut: int) -> None:
    """Many ids share two buckets, which overflow; in the middle the table is built anew from what came before."""
    seen, now_ms, listed = new_seen(places), 0, list[tuple[int, int]]()
    for number, (name, gap_ms) in enumerate(drawn):
        now_ms += gap_ms
        id_ = name << 8 | name % 2
        if number == cut:
            seen = new_seen(places)
            pairs = np.array(listed, np.int64).reshape(-1, 2)
            table.note_all(pairs[:, 0], pairs[:, 1], seen)
        known = any(one == id_ and now_ms - at_ms < SPAN_MS for one, at_ms in listed[-places + 1 :])
        assert note(id_, now_ms, seen) == known
        listed.append((id_, now_ms))


def test_restart_tells_duplicates_by_the_ten_minutes_before() -> None:
    rng = random.Random(1)
    events = [liquidation(rng.randrange(3_000), name=number % 40) for number in range(200)]
    log = [at(number, 3_000 + number, event) for number, event in enumerate(events)]
    whole = new_detector()
    fold_all(whole, [*log, *(at(200 + number, 4_000, event) for number, event in enumerate(events))])
    first = new_detector()
    fold_all(first, log)
    second = new_detector()
    second.restore(first.snapshot())
    second.remember(heard(log))
    before = second.duplicates
    outputs = second.fold([at(200 + number, 4_000, event) for number, event in enumerate(events)])
    assert [one.id for one in outputs if one.id] == []
    assert (before, second.duplicates, whole.duplicates - first.duplicates) == (0, 200, 200)
    assert first.duplicates == 200 - len({event.event_id for event in events})
