"""What goes wrong when, from a seed; and how the health of a feed must name it. Pure."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from schemas.records import FeedHealth
from schemas.words import FeedState

RECOVERY_S: Final = 5.0  # between two faults of one exchange: backoff of at most 3 s, subscribing, first data
FIRST_S: Final = 8.0  # from the first liquidation on
RECONNECTED_S_MAX: Final = 8.0  # a connection that is lost is named at once, its gap when it is back
DRIFT_S_MAX: Final = 5.0  # a body a second is looked at
SWAPPED_S: Final = 60.0  # more than a cycle of the soak at four times its speed: there is a whole cascade in it
STALE_S: Final = 30.0  # of silence of the pulse, until a connection is stale
NEW_SIDE_WORDS: Final = re.compile(
    r"SOLD|BOUGHT|LongPosition|ShortPosition|bought|sold|one-way|contracts|'long'|'short'|'ask'|'bid'"
)

Names = Callable[[FeedHealth], bool]


class Planned(NamedTuple):
    """A fault of one exchange, `at_s` after the play began."""

    at_s: float
    exchange: str
    kind: str
    seconds: float
    offset_s: float


@dataclass(frozen=True, slots=True)
class Kind:
    """How long a fault lasts, when it must have been named after its end, and by which records."""

    seconds: float
    limit_s: float
    names: Names


def _lost(record: FeedHealth) -> bool:
    return record.state is FeedState.GAP


def _says(pattern: str) -> Names:
    return lambda record: re.search(pattern, record.detail) is not None


def _new_side(record: FeedHealth) -> bool:
    return record.state is FeedState.DRIFT and NEW_SIDE_WORDS.search(record.detail) is not None


def _swapped(record: FeedHealth) -> bool:
    return record.state is FeedState.DRIFT and "have the other side by their evidence" in record.detail


def _cut_short(record: FeedHealth) -> bool:
    return record.state is FeedState.DRIFT and "refused" in record.detail and not NEW_SIDE_WORDS.search(record.detail)


KINDS: Final = {
    "drop": Kind(0.5, RECONNECTED_S_MAX, _lost),
    "close": Kind(0.5, RECONNECTED_S_MAX, _lost),
    "cut-24h": Kind(0.5, RECONNECTED_S_MAX, _lost),
    "backlog": Kind(0.5, RECONNECTED_S_MAX, _lost),
    "ban": Kind(6.0, RECONNECTED_S_MAX, _lost),
    "stall": Kind(STALE_S + 6.0, RECONNECTED_S_MAX, lambda record: record.state is FeedState.STALE),
    "unknown-field": Kind(8.0, DRIFT_S_MAX, _says("novelty")),
    "half-frame": Kind(6.0, DRIFT_S_MAX, _cut_short),
    "changed-side": Kind(6.0, DRIFT_S_MAX, _new_side),
    "duplicate": Kind(6.0, DRIFT_S_MAX, _says("came again")),
    "reorder": Kind(9.0, DRIFT_S_MAX, _says("out of order")),
    "swapped-sides": Kind(SWAPPED_S, DRIFT_S_MAX, _swapped),
    "clock-skew": Kind(36.0, DRIFT_S_MAX, _says("clock")),
}
SKEW_S: Final = 20.0
# Other faults come while these last: REST tells the time every 30 s; where an exchange shows one order a side, contract
# and second, the evidence of one cascade may be too little.
ALONE_S_MAX: Final = {"clock-skew": 6.0, "swapped-sides": 45.0}


def schedule(seed: int, exchanges: Iterable[str]) -> list[Planned]:
    """Every fault once at every exchange, in an order of its own; sorted by time."""
    planned = []
    for exchange in exchanges:
        dice = Random(f"{seed}:{exchange}")
        at_s = FIRST_S + dice.uniform(0, RECOVERY_S)
        for kind in _order(dice):
            seconds = KINDS[kind].seconds
            planned.append(Planned(at_s, exchange, kind, seconds, dice.choice((-SKEW_S, SKEW_S))))
            at_s += min(seconds, ALONE_S_MAX.get(kind, seconds)) + RECOVERY_S
    return sorted(planned)


def _order(dice: Random) -> list[str]:
    """A slow clock makes rows after a reconnect look like history, which has no order: disorder comes before it."""
    order = dice.sample(sorted(KINDS), len(KINDS))
    first, second = sorted((order.index("reorder"), order.index("clock-skew")))
    order[first], order[second] = "reorder", "clock-skew"
    return order


def length_s(planned: Iterable[Planned]) -> float:
    """Until the last fault is over and had to be named."""
    return max(each.at_s + each.seconds + KINDS[each.kind].limit_s for each in planned)
