"""The relative profile: what is exceptional for this asset, in terms of its own last week.

Of each whole hour the largest final tumbling window of each size is kept, by events and by USD. A window counts in the
hour in which it becomes final (end + grace), so at a whole hour of T all windows of the hours before are known. The
baseline of a size is the quantile of those maxima by nearest rank, an hour without a window counting 0; it is at least
its floor. All comparisons are of whole numbers."""

from fractions import Fraction
from math import ceil
from typing import Any, Final

import numpy as np

from processors.cascade.level import NONE
from processors.jit import jit, owning
from processors.settings import RELATIVE_SIZES_MAX, RULES_MAX, RelativeSettings
from processors.windows.layout import LONG_AGO, MICRO, Array, Row
from schemas.words import LEVELS

HOUR_MS: Final = 3_600_000
WEEK_HOURS: Final = 168
HOURS_KEPT: Final = WEEK_HOURS + 1  # the hour that is not over stands in the ring too
QUANTILE_ONE: Final = 10_000
EVENTS, MICRO_USD = range(2)  # places in maxima and baselines

WEEK: Final = np.dtype(
    [
        ("maxima", np.int64, (RELATIVE_SIZES_MAX, 2, HOURS_KEPT)),  # 8 KB an asset
        ("head", np.int64),  # newest hour that stands in `maxima`
        ("since", np.int64),  # first whole hour of which all is known
        ("in_force", np.int64, (RELATIVE_SIZES_MAX, 2)),  # baselines; 0: not known
        ("needed_events", np.int64, (RELATIVE_SIZES_MAX, len(LEVELS))),  # in one window, from which a rank is justified
        ("needed_micro_usd", np.int64, (RELATIVE_SIZES_MAX,)),
        ("hour", np.int64),  # from which `in_force` holds
        ("justified_ms", np.int64, (len(LEVELS),)),  # T at which a rank was last justified
        ("ratio_micro", np.int64),  # highest R of the windows that were judged last
        ("rank", np.int64),  # and the highest rank
        ("ratio_ms", np.int64),  # T at which that was
        ("ruled_ms", np.int64, (len(LEVELS),)),  # T at which custom rules last justified a rank
        ("met_ms", np.int64, (RULES_MAX,)),  # T at which each custom rule was last met
    ]
)

RELATIVE_RULE: Final = np.dtype(
    [
        ("sizes", np.int64),  # how many there are
        ("events_min", np.int64, (RELATIVE_SIZES_MAX,)),
        ("micro_usd_min", np.int64),
        ("interest_share", np.float64),
        ("quantile", np.int64),  # of QUANTILE_ONE
        ("hours_min", np.int64),
        ("scale", np.int64, (RELATIVE_SIZES_MAX, 2)),  # numerator and denominator
        ("levels", np.int64, (len(LEVELS), 2)),
        ("usd_share", np.int64, (2,)),
        ("hold_ms", np.int64),
    ]
)


def new_weeks(count: int) -> Array:
    """Rows of assets of which nothing is known."""
    rows = np.zeros(count, WEEK)
    for name in ("head", "since", "hour", "justified_ms", "ratio_ms", "ruled_ms", "met_ms"):
        rows[name] = LONG_AGO
    return rows


def relative_rule_of(settings: RelativeSettings) -> Array:
    """The settings as one RELATIVE_RULE row."""
    rows = np.zeros(1, RELATIVE_RULE)
    named = ("watch", "alert", "critical", "extreme")
    levels = [Fraction(0), Fraction(0), *(exact(getattr(settings, f"{name}_ratio")) for name in named)]
    values: dict[str, Any] = {
        "sizes": len(settings.windows),
        "micro_usd_min": round(exact(settings.notional_usd_min) * MICRO),
        "interest_share": settings.open_interest_share_min,
        "quantile": round(exact(settings.quantile) * QUANTILE_ONE),
        "hours_min": settings.hours_min,
        "levels": [level.as_integer_ratio() for level in levels],
        "usd_share": exact(settings.usd_share).as_integer_ratio(),
        "hold_ms": settings.hold_ms,
    }
    for name, value in values.items():
        rows[name] = value
    for s, window in enumerate(settings.windows):
        rows["events_min"][0, s] = window.events_min
        rows["scale"][0, s] = Fraction(window.scale).as_integer_ratio()
    return rows


def exact(number: float) -> Fraction:
    """The number as it was written: 0.1 means a tenth."""
    return Fraction(repr(number))


@jit
def note_window(week: Row, s: int, final_ms: int, events: int, micro_usd: int) -> None:
    """Take a final tumbling window of relative size `s`."""
    hour = final_ms // HOUR_MS
    if week.since == LONG_AGO:
        week.since = hour + 1  # the hour in which an asset is first heard of is not whole
    for gone in range(max(week.head + 1, hour - HOURS_KEPT + 1), hour + 1):
        week.maxima[:, :, gone % HOURS_KEPT] = 0
    week.head = max(week.head, hour)
    if hour > week.head - HOURS_KEPT:
        maxima, place = week.maxima[s], hour % HOURS_KEPT
        maxima[EVENTS, place] = max(maxima[EVENTS, place], events)
        maxima[MICRO_USD, place] = max(maxima[MICRO_USD, place], micro_usd)


@owning
def measure_baselines(week: Row, hour: int, interest_micro_usd: int, rule: Row, baselines: Array) -> bool:
    """Fill `baselines` [size, 2] with what holds from `hour` on, floors included; False while too little is known.

    `interest_micro_usd`: open interest of the asset, 0 when it is not known."""
    first = max(week.since, hour - WEEK_HOURS)
    known = hour - first
    if week.since == LONG_AGO or known < rule.hours_min:
        return False
    rank = (known * rule.quantile + QUANTILE_ONE - 1) // QUANTILE_ONE  # the rank-th smallest, from 1
    maxima = np.zeros(known, np.int64)
    for s in range(rule.sizes):
        for of in range(2):
            maxima[:] = 0
            for past in range(max(first, week.head - HOURS_KEPT + 1), min(hour - 1, week.head) + 1):
                maxima[past - first] = week.maxima[s, of, past % HOURS_KEPT]
            maxima.sort()
            baselines[s, of] = maxima[max(rank, 1) - 1]
        floor = max(rule.micro_usd_min, round(interest_micro_usd * rule.interest_share))
        baselines[s, EVENTS] = max(baselines[s, EVENTS], rule.events_min[s])
        baselines[s, MICRO_USD] = max(baselines[s, MICRO_USD], floor)
    return True


def put_in_force(week: Row, baselines: Array, rule: Row) -> None:
    """Let baselines [size, 2] hold from here on under `rule`; zeros: nothing is known."""
    week["in_force"] = baselines
    share, over = (int(part) for part in rule["usd_share"])
    for s in range(int(rule["sizes"])):
        events, micro_usd = (int(value) for value in baselines[s])
        scale = Fraction(*(int(part) for part in rule["scale"][s]))
        for rank in range(NONE + 1, len(LEVELS)):
            level = Fraction(*(int(part) for part in rule["levels"][rank]))
            week["needed_events"][s, rank] = ceil(events * scale * level)
        week["needed_micro_usd"][s] = -(-micro_usd * share // over)


@jit
def relative_rank(week: Row, s: int, events: int, micro_usd: int) -> int:
    """Rank that one window of relative size `s` justifies."""
    if week.in_force[s, EVENTS] == 0 or micro_usd < week.needed_micro_usd[s]:
        return NONE
    rank = NONE
    while rank + 1 < week.needed_events.shape[1] and events >= week.needed_events[s, rank + 1]:
        rank += 1
    return rank


@jit
def ratio_micro(week: Row, s: int, events: int, micro_usd: int, rule: Row) -> int:
    """R of one window in millionths, rounded half-even; 0 where its USD is too little."""
    base = week.in_force[s, EVENTS]
    if base == 0 or micro_usd < week.needed_micro_usd[s]:
        return 0
    over = base * rule.scale[s, 0]
    scaled = events * rule.scale[s, 1] * MICRO
    ratio = scaled // over
    rest = 2 * (scaled - ratio * over)
    if rest > over or (rest == over and ratio % 2):
        ratio += 1
    return int(ratio)
