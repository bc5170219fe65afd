import itertools
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.journal import Journal, effective, merged, replay
from schemas.records import JournalEntry
from schemas.words import JournalKind


class At(NamedTuple):
    offset: int


def entry(after_offset: int, sequence: int, epoch: int = 1) -> JournalEntry:
    return JournalEntry(
        partition=0, epoch=epoch, sequence=sequence, after_offset=after_offset, kind=JournalKind.TICK, append_time_ms=1
    )


def order(runs: Sequence[Sequence[int]], entries: Sequence[JournalEntry]) -> list[str]:
    return list(
        replay(
            lambda run: [f"{at.offset}" for at in run],
            lambda one: [f"e{one.sequence}"],
            [[At(offset) for offset in run] for run in runs],
            entries,
        )
    )


def test_an_entry_stands_behind_its_offset_and_before_the_next() -> None:
    # offsets   3   4   5   6   7
    # entries         ^ 0,1       ^ 2
    entries = [entry(4, 0), entry(4, 1), entry(7, 2)]
    assert order([[3, 4, 5, 6, 7]], entries) == ["3", "4", "e0", "e1", "5", "6", "7", "e2"]


def test_an_entry_before_the_first_liquidation_comes_first() -> None:
    assert order([[0, 1]], [entry(-1, 0)]) == ["e0", "0", "1"]


def test_an_entry_behind_a_trimmed_liquidation_comes_before_the_next_that_is_kept() -> None:
    assert order([[8, 9]], [entry(5, 0)]) == ["e0", "8", "9"]


def test_an_entry_waits_for_its_offset_over_runs() -> None:
    pending = deque([entry(5, 0)])
    assert list(merged([At(3), At(4)], pending)) == [[At(3), At(4)]]
    assert list(merged([At(5), At(6)], pending)) == [[At(5)], entry(5, 0), [At(6)]]


@given(st.lists(st.integers(-1, 30), max_size=12), st.sets(st.integers(1, 29)), st.sets(st.integers(0, 29), min_size=1))
def test_the_order_does_not_hang_on_how_runs_are_cut(places: list[int], cuts: set[int], offsets: set[int]) -> None:
    entries = [entry(place, sequence) for sequence, place in enumerate(sorted(places))]
    log = sorted(offsets)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(log)), len(log)]
    runs = [log[low:high] for low, high in itertools.pairwise(bounds) if low < high]
    assert order(runs, entries) == order([log], entries)


def test_an_entry_of_a_replaced_owner_is_void() -> None:
    kept = [entry(1, 0), entry(5, 1, epoch=2)]
    late = entry(6, 2, epoch=1)
    assert effective([*kept, late, entry(6, 2, epoch=2)]) == [*kept, entry(6, 2, epoch=2)]


@pytest.mark.parametrize("again", [entry(5, 1, epoch=2), entry(4, 2, epoch=2)], ids=["sequence", "position"])
def test_an_entry_that_goes_back_is_void(again: JournalEntry) -> None:
    assert effective([entry(1, 0), entry(5, 1), again]) == [entry(1, 0), entry(5, 1)]


def test_a_journal_behind_a_state_reads_what_the_state_has_not_seen() -> None:
    journal = Journal(epoch=2, next_sequence=7, next_offset=11)
    assert not journal.read(entry(10, 6, epoch=2))
    assert not journal.read(entry(12, 7, epoch=1))
    assert journal.read(entry(10, 7, epoch=2))
    assert (journal.epoch, journal.next_sequence, journal.after_offset) == (2, 8, 10)
