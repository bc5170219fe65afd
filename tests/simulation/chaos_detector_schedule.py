"""What happens to the detector's workers when, from a seed. Pure."""

from random import Random
from typing import Final, NamedTuple

FIRST_S: Final = 12.0  # the first worker has joined, and a cascade begins
APART_S: Final = (4.0, 10.0)  # so that takeovers are cut off by the next fault, and sometimes not
LAST_S: Final = 15.0  # from the last fault to the end
TURNS: Final = 2

KINDS: Final = {
    "kill": "a worker is killed with -9, and comes back",
    "join": "a worker joins the group",
    "leave": "a worker leaves it in order",
    "trim": "rows of state are gone from their topic, and all workers are killed with -9",
    "broker": "the broker is killed with -9, and comes back",
    "freeze": "a worker stands still for longer than the group waits, and wakes",
    "hold": "open interest, funding and health are held back, then come at once",
}
FREEZE_S: Final = 9.0  # the group gives a worker up after six
HOLD_S: Final = (3.0, 12.0)


class Action(NamedTuple):
    """`at_s` after the beginning; `dice`, 0 to 1, chooses whom or what; `seconds`: for how long, where it lasts."""

    at_s: float
    kind: str
    dice: float
    seconds: float


def schedule(seed: int, *, freezes: bool = True) -> list[Action]:
    """Every kind of fault in every turn, each turn in an order of its own; sorted by time."""
    dice, at_s = Random(seed), FIRST_S
    actions = []
    for _ in range(TURNS):
        kinds = [kind for kind in KINDS if freezes or kind != "freeze"]
        dice.shuffle(kinds)
        for kind in kinds:
            seconds = {"freeze": FREEZE_S, "hold": dice.uniform(*HOLD_S)}.get(kind, dice.uniform(0.0, 3.0))
            actions.append(Action(at_s, kind, dice.random(), seconds))
            at_s += dice.uniform(*APART_S)
    return actions
