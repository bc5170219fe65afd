"""The schedule of a fault run of the detector."""

from collections import Counter
from itertools import pairwise

from tests.simulation.chaos_detector_schedule import APART_S, KINDS, TURNS, schedule


def test_equal_seeds_play_equal_schedules() -> None:
    assert schedule(7) == schedule(7)
    assert schedule(7) != schedule(8)


def test_every_fault_comes_in_every_turn_in_an_order_of_its_own() -> None:
    actions = schedule(3)
    assert Counter(action.kind for action in actions) == dict.fromkeys(KINDS, TURNS)
    assert [one.kind for one in actions[: len(KINDS)]] != [one.kind for one in actions[len(KINDS) :]]
    assert all(APART_S[0] <= later.at_s - one.at_s <= APART_S[1] for one, later in pairwise(actions))
    assert "freeze" not in {action.kind for action in schedule(3, freezes=False)}
