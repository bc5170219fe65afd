"""What happens to stores, workers and broker in a fault run of the sinks, and when. Pure: a seed gives the order."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Final

FIRST_S: Final = 4.0
RECOVERY_S: Final = 5.0  # between two faults: back-off, reconnect, some batches
# Kind -> how long it lasts. A partition outlasts the 10 s in which Redis must answer.
STORE_FAULTS: Final = {"kill": 4.0, "stop": 4.0, "full": 6.0, "read-only": 6.0, "partition": 13.0, "cut": 3.0}
OTHER_FAULTS: Final = {"kill-worker": 0.0, "add-worker": 0.0, "restart-broker": 3.0}
STORES: Final = ("postgres", "redis")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One fault; `target`: the store, "workers" or "broker"."""

    at_s: float
    target: str
    kind: str
    seconds: float


def schedule(seed: int) -> list[Planned]:
    """Every fault at every store, three workers killed, two added, the broker restarted; sorted by time."""
    dice = Random(seed)
    faults = [(store, kind, seconds) for store in STORES for kind, seconds in STORE_FAULTS.items()]
    for kind, times in (("kill-worker", 3), ("add-worker", 2), ("restart-broker", 1)):
        target = "broker" if "broker" in kind else "workers"
        faults += [(target, kind, OTHER_FAULTS[kind])] * times
    dice.shuffle(faults)
    planned, at_s = [], FIRST_S
    for target, kind, seconds in faults:
        planned.append(Planned(at_s=at_s, target=target, kind=kind, seconds=seconds))
        at_s += seconds + RECOVERY_S + dice.uniform(0.0, 2.0)
    return planned


def length_s(planned: Iterable[Planned]) -> float:
    """Until the last fault is over, and a while."""
    return max(each.at_s + each.seconds for each in planned) + RECOVERY_S
