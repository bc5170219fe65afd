"""What the market's fold holds, as arrays: compiled code reads and changes them, Python publishes what comes of it."""

from typing import Final, NamedTuple

import numpy as np

from processors.cascade.level import NONE
from processors.market.settings import LEVELS, MarketSettings
from processors.windows.layout import LONG_AGO, Array
from schemas.words import LEVEL_RANKS, Exchange

SLOTS: Final = len(Exchange)
ASSETS_MAX: Final = 2_000  # four times what the exchanges list; the one heard of longest ago goes
NAME_MAX: Final = 64  # bytes of an asset's name; the longest that is listed has 20
TABLE: Final = 1 << 12  # slots of the hash table by name: twice ASSETS_MAX, rounded up to a power of two
SIZES_MAX: Final = 16  # of windows: eight in the settings, and as many while workers with other settings take over
PARTITIONS_MAX: Final = 1_000  # what the settings allow
SECONDS: Final = 128  # kept of USD/s: a minute and the longest lag twice are 100
NOBODY: Final = -1
RANKS: Final = LEVEL_RANKS["EXTREME"] + 1
EVENTS, USD, LONG_USD, ACCELERATION_EVENTS, ACCELERATION_USD, OF_LONGS = range(6)  # of a window, USD in millionths
WATCHED, EXCEPTIONAL = range(2)

TOLD: Final = np.dtype(
    [
        ("kind", "i8"),
        ("name_begin", "i8"),
        ("name_end", "i8"),
        ("level", "i8"),
        ("ratio", "f8"),  # NaN where it is not known
        ("mover", "i8"),  # slot of the first mover, or NOBODY
        ("kusd", "i8"),  # USD/s over all exchanges, in thousands
        ("partition", "i8"),
        ("event_ms", "i8"),
        ("append_ms", "i8"),
    ]
)
CLOCK: Final = np.dtype(
    [
        ("now_ms", "i8"),
        ("offset", "i8"),
        ("level", "i8"),
        ("peak", "i8"),
        ("previous", "i8"),  # rank before the alert that is due
        ("episode_ms", "i8"),
        ("sequence", "i8"),
        ("alert_ms", "i8"),
        ("leader", "i8"),  # row, or NOBODY
        ("rows", "i8"),
        ("at", "i8"),  # record of the run, and what is to be done with it next
        ("phase", "i8"),
        ("passes", "i8"),  # a second passed with it
        ("row", "i8"),
        ("watched", "i8"),
        ("ratio", "f8"),  # settings, from here on
        ("breadth_ms", "i8"),
        ("hold_ms", "i8"),
        ("update_interval_ms", "i8"),
    ]
)


class Told(NamedTuple):
    """One record of signals.state as it was read."""

    numbers: Array  # TOLD [1]
    windows: Array  # int64 [size, figure]
    there: Array  # int64 [size]: whether it has the window
    exchanges: Array  # int64 [slot, (events/s, USD/s)] in millionths, 0 unless active
    coverage: Array  # int64 [slot, (state, completeness)], NOBODY where nothing is told


class Assets(NamedTuple):
    """What the newest state of each asset said; row first."""

    names: Array  # uint8 [row, place]
    lengths: Array  # int64 [row]
    table: Array  # int32 [slot]: 0, or 1 + the row
    heard_ms: Array  # int64 [row]: its T; 0 while there is none
    event_ms: Array  # int64 [row]
    mover: Array  # int64 [row]
    windows: Array  # int64 [row, size, figure]
    there: Array  # int64 [row, size]
    exchanges: Array  # int64 [row, slot, 2]
    since_ms: Array  # int64 [row, WATCHED or EXCEPTIONAL]: since when without a pause of breadth_ms
    last_ms: Array  # int64 [row, WATCHED or EXCEPTIONAL]: when a state said so last, or LONG_AGO
    seconds: Array  # int64 [row, second % SECONDS]: the second that the next is of
    kusd: Array  # int64 [row, second % SECONDS]: the most USD/s that it told in that second, in thousands


class State(NamedTuple):
    """All of it, as every compiled function takes it."""

    clock: Array  # CLOCK [1]
    told: Told
    assets: Assets
    sizes: Array  # int64 [size]: ms, 0 where there is none yet
    least: Array  # int64 [rank]: assets that justify it
    justified_ms: Array  # int64 [rank]: when it was justified last
    progress_ms: Array  # int64 [partition]: its T
    coverage: Array  # int64 [slot, (state, completeness)]
    covered_ms: Array  # int64 [slot]: when that was told; 0: never


def new_state(settings: MarketSettings) -> State:
    """Nothing heard yet."""
    clock = np.zeros(1, CLOCK)
    for name in ("ratio", "breadth_ms", "hold_ms", "update_interval_ms"):
        clock[name] = getattr(settings, name)
    clock["level"] = clock["peak"] = NONE
    clock["leader"], clock["offset"] = NOBODY, -1
    return State(
        clock=clock,
        told=Told(
            np.zeros(1, TOLD),
            np.zeros((SIZES_MAX, OF_LONGS + 1), np.int64),
            np.zeros(SIZES_MAX, np.int64),
            np.zeros((SLOTS, 2), np.int64),
            np.zeros((SLOTS, 2), np.int64),
        ),
        assets=_new_assets(),
        sizes=np.zeros(SIZES_MAX, np.int64),
        least=np.array([0, 0, *(getattr(settings, f"{level}_assets") for level in LEVELS)], np.int64),
        justified_ms=np.full(RANKS, LONG_AGO, np.int64),
        progress_ms=np.zeros(PARTITIONS_MAX, np.int64),
        coverage=np.zeros((SLOTS, 2), np.int64),
        covered_ms=np.zeros(SLOTS, np.int64),
    )


def _new_assets() -> Assets:
    """All rows at once: what is not touched takes no memory."""
    rows = ASSETS_MAX
    return Assets(
        names=np.zeros((rows, NAME_MAX), np.uint8),
        lengths=np.zeros(rows, np.int64),
        table=np.zeros(TABLE, np.int32),
        heard_ms=np.zeros(rows, np.int64),
        event_ms=np.zeros(rows, np.int64),
        mover=np.zeros(rows, np.int64),
        windows=np.zeros((rows, SIZES_MAX, OF_LONGS + 1), np.int64),
        there=np.zeros((rows, SIZES_MAX), np.int64),
        exchanges=np.zeros((rows, SLOTS, 2), np.int64),
        since_ms=np.full((rows, 2), LONG_AGO, np.int64),
        last_ms=np.full((rows, 2), LONG_AGO, np.int64),
        seconds=np.zeros((rows, SECONDS), np.int64),
        kusd=np.zeros((rows, SECONDS), np.int64),
    )
