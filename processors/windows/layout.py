"""How the state of the detector lies in memory: packed arrays, one row an asset, so that one compiled loop folds runs.

Times in ms since 1970 UTC, sums of money in micro-USD. Ranks of levels as in `schemas.words.LEVEL_RANKS`."""

from fractions import Fraction
from math import ceil, floor
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from processors.settings import PANES_A_WINDOW, WINDOWS_MAX, DetectorSettings, panes_kept
from schemas.words import EXCHANGES_MAX, LEVELS, Exchange

Array: TypeAlias = npt.NDArray[Any]
Row: TypeAlias = Any  # one row of a structured array; fields by attribute in compiled code, by name elsewhere

SIDES: Final = 2  # LONG 0, SHORT 1; cell = exchange slot * SIDES + side
SLOTS: Final = len(Exchange)
CELLS: Final = SLOTS * SIDES
MICRO: Final = 1_000_000  # micro-USD a USD
NANO: Final = 1_000_000_000  # probability 1
LONG_AGO: Final = -(1 << 60)
NEVER: Final = 1 << 60

LAST_EVENTS: Final = 1_000  # kept of each asset, for inspection
CONTEXT_FIGURES: Final = 9

SIZE: Final = np.dtype(
    [
        ("size_ms", np.int64),
        ("pane_ms", np.int64),
        ("panes_a_ms", np.float64),  # about: for what may be one pane off
        ("grace_ms", np.int64),
        ("panes", np.int64),  # in a ring, a power of two
        ("kept", np.int64),  # of these, that count
        ("base", np.int64),  # of that ring in an asset's row
        ("windows", np.int64),  # tumbling ones kept in a ring, a power of two
        ("windows_base", np.int64),
        ("feeder", np.int64),  # size whose windows are added to those of this one when they close, or NO_FEEDER
    ]
)

NO_FEEDER: Final = -1

RULES: Final = np.dtype(
    [
        ("judged", np.int64),  # index of the size that is judged
        ("grace_ms_max", np.int64),
        ("flag_events", np.int64, (WINDOWS_MAX,)),  # by size
        ("hold_ms", np.int64),
        ("tick_lag_ms", np.int64),
        ("update_interval_ms", np.int64),
        ("state_interval_ms", np.int64),
        # the score, all in one window of the judged size: full marks, and from where context counts in full
        ("full_events", np.float64),
        ("full_rise", np.float64),  # events more than in the window before
        ("full_micro_usd", np.float64),
        ("warning_events", np.float64),
        ("warning_micro_usd", np.float64),
        ("boost_rise", np.int64),
        ("boost", np.float64),
        ("weight_velocity", np.float64),  # weights in billionths
        ("weight_acceleration", np.float64),
        ("weight_volume", np.float64),
        ("weight_correlation", np.float64),
        ("weight_funding", np.float64),
        ("weight_open_interest", np.float64),
        ("full_rate_8h", np.float64),  # funding as a fraction
        ("full_drop_pct", np.float64),  # of open interest over 5 min
        # levels: justified above these, by rank
        ("level_nano", np.int64, (len(LEVELS),)),
        ("level_events", np.int64, (len(LEVELS),)),
        ("critical_rise", np.int64),
        # correlation
        ("span_ms", np.int64),
        ("bin_ms", np.int64),
        ("lag_bin_ms", np.int64),
        ("lag_bins_max", np.int64),
        ("events_min", np.int64),  # of an exchange, to take part
        ("profile", np.int64),  # ordinal of the Profile: 1 absolute, 2 relative, 3 either
        ("mute", np.int64),
        ("custom", np.int64),  # custom rules
    ]
)

CLOCK: Final = np.dtype(
    [
        ("now_ms", np.int64),  # T: running maximum of append time and ticks
        ("alarm_ms", np.int64),  # nothing falls due before
        ("progress_s", np.int64),  # second of T of the last progress record
        ("offset", np.int64),  # of the liquidation that is being folded, or was last
        ("partition", np.int64),  # or NO_PARTITION
        ("count", np.int64),  # assets
        ("checks", np.int64),  # assets whose custom rules are to be checked
        ("stale_ms", np.int64),  # what is known of an exchange grows old then
        ("room", np.int64),  # bytes that one event's outputs may take, clock and late copy aside
        ("tapes", np.int64, (EXCHANGES_MAX,)),  # completeness last seen of each exchange, its ordinal
        ("known", np.uint8, (EXCHANGES_MAX,)),  # exchanges of which something is known
        ("told", np.float64),  # share of the market that they show
    ]
)
NO_PARTITION: Final = -1  # of a fold over a file
PROFILES: Final = {"absolute": 1, "relative": 2, "either": 3}

EVENT: Final = np.dtype(
    [
        ("offset", np.int64),
        ("append_ms", np.int64),
        ("begin", np.int64),  # of its value in the run's bytes
        ("end", np.int64),
        ("id", np.int64),
        ("event_ms", np.int64),
        ("micro_usd", np.int64),
        ("price", np.float64),
        ("notional_usd", np.float64),
        ("asset", np.int64),
        ("slot", np.int64),
        ("side", np.int64),
        ("tape", np.int64),
        ("backlog", np.int64),
        ("double", np.int64),  # its id was heard within ten minutes
    ]
)

# one of the last events of an asset, 18 bytes
LAST: Final = np.dtype(
    [
        ("event_time_ms", np.int64),
        ("price", np.float32),
        ("notional_usd", np.float32),
        ("exchange", np.uint8),  # slot
        ("side", np.uint8),  # 0 long, 1 short
    ]
)
assert LAST.itemsize == 18

# one asset; by size: as many sizes as there may be
ASSET: Final = np.dtype(
    [
        ("rule", np.int64),  # row of its RULES
        ("events", np.int64),  # that counted
        ("heads", np.int64, (WINDOWS_MAX,)),  # newest pane that holds an event
        ("closes_ms", np.int64, (WINDOWS_MAX,)),  # when the oldest open tumbling window is final, or NEVER
        ("flagged_ms", np.int64, (WINDOWS_MAX,)),  # T at which the flag's count was last reached
        ("newest_ms", np.int64),  # newest event time
        ("bin_head", np.int64),  # newest bin of the correlation
        ("bin_events", np.int64, (EXCHANGES_MAX,)),  # in the bins kept, by exchange
        ("correlation", np.float64),  # NaN: no data
        ("correlation_s", np.int64),  # second of T that it stands for
        ("lag_ms", np.int64),  # LONG_AGO: no data
        ("lag_s", np.int64),
        ("lag_leader", np.int64),
        ("context", np.float64, (CONTEXT_FIGURES,)),  # as `context` names them; NaN: no data
        ("context_step", np.int64),  # step of 10 s that they stand for
        ("context_ms", np.int64),  # newest append time of what was let in
        ("totals_head", np.int64),  # newest step of 5 min
        ("level", np.int64),  # in force
        ("peak", np.int64),
        ("justified_ms", np.int64, (len(LEVELS),)),  # T at which a rank was last justified
        ("episode_ms", np.int64),  # T at which the episode began
        ("episode_from_ms", np.int64),  # start of the window that raised it
        ("first_ms", np.int64, (EXCHANGES_MAX,)),  # first event of each exchange since then, or NEVER
        ("sequence", np.int64),  # of the next alert
        ("alert_ms", np.int64),  # T of the last alert
        ("state_ms", np.int64),  # T of the last state
        ("fresh", np.bool_),  # there were events since the last alert
        ("quiet", np.bool_),  # the last state said that nothing goes on
        ("dirty", np.bool_),  # changed since the last snapshot
        ("next_offset", np.int64),
        ("next_sequence", np.int64),
    ]
)


def new_assets(count: int) -> Array:
    """Rows of assets without any event."""
    rows = np.zeros(count, ASSET)
    for name in ("heads", "flagged_ms", "newest_ms", "bin_head", "correlation_s", "lag_ms", "lag_s", "justified_ms"):
        rows[name] = LONG_AGO
    for name in ("alert_ms", "state_ms", "episode_ms", "episode_from_ms", "context_step", "context_ms", "totals_head"):
        rows[name] = LONG_AGO
    rows["context"] = np.nan
    rows["closes_ms"] = rows["first_ms"] = NEVER
    rows["correlation"] = np.nan
    rows["level"] = rows["peak"] = 1  # NONE
    rows["quiet"] = True
    return rows


def sizes_of(settings: DetectorSettings) -> Array:
    """One SIZE row a size, smallest first."""
    rows = np.zeros(len(settings.windows), SIZE)
    base, windows_base = 0, 0
    for i, window in enumerate(settings.windows):
        panes = power_of_two(panes_kept(window))
        # those that hold T or a time within the grace before it, at both ends in part
        windows = power_of_two(-(-window.grace_ms // window.size_ms) + 2)
        pane_ms = window.size_ms // PANES_A_WINDOW
        feeder = NO_FEEDER
        for k, smaller in enumerate(settings.windows[:i]):
            if window.size_ms % smaller.size_ms == 0 and smaller.grace_ms <= window.grace_ms:
                feeder = k
        kept = panes_kept(window)
        rings = panes, kept, base, windows, windows_base
        rows[i] = window.size_ms, pane_ms, 1 / pane_ms, window.grace_ms, *rings, feeder
        base, windows_base = base + panes, windows_base + windows
    return rows


def power_of_two(count: int) -> int:
    """The first power of two that is at least so many.

    >>> power_of_two(47)
    64"""
    return 1 << (count - 1).bit_length()


def rules_of(settings: DetectorSettings) -> Array:
    """The settings as one RULES row: rates become whole numbers of events in a window of the judged size.

    A count is above a rate exactly when it is above the whole part of rate x size, so no float decides a level."""
    rows = np.zeros(1, RULES)
    size_s = Fraction(settings.judged_size_ms, 1_000)
    score, levels, correlation = settings.score, settings.levels, settings.correlation
    full_rise = _exact(score.acceleration_events_per_s2_critical) * size_s**2
    critical_rise = _exact(levels.critical_acceleration_events_per_s2) * size_s**2
    values: dict[str, Any] = {
        "judged": [window.size_ms for window in settings.windows].index(settings.judged_size_ms),
        "flag_events": [*(window.flag_events for window in settings.windows), *[0] * WINDOWS_MAX][:WINDOWS_MAX],
        "grace_ms_max": max(window.grace_ms for window in settings.windows),
        "hold_ms": settings.hold_ms,
        "tick_lag_ms": settings.tick_lag_ms,
        "update_interval_ms": settings.update_interval_ms,
        "state_interval_ms": settings.state_interval_ms,
        "full_events": float(_exact(score.events_per_s_critical) * size_s),
        "full_rise": float(full_rise),
        "full_micro_usd": float(_exact(score.notional_usd_per_s_critical) * size_s * MICRO),
        "warning_events": float(_exact(score.events_per_s_warning) * size_s),
        "warning_micro_usd": float(_exact(score.notional_usd_per_s_warning) * size_s * MICRO),
        "boost_rise": ceil(2 * full_rise),
        "boost": score.boost,
        "full_rate_8h": score.funding_rate_8h_critical,
        "full_drop_pct": score.open_interest_drop_pct_critical,
        "critical_rise": floor(critical_rise),
        "span_ms": correlation.span_ms,
        "bin_ms": correlation.bin_ms,
        "lag_bin_ms": correlation.lag_bin_ms,
        "lag_bins_max": correlation.lag_ms_max // correlation.lag_bin_ms,
        "events_min": correlation.events_min,
        "profile": PROFILES[settings.profile],
        "mute": settings.mute,
        "custom": len(settings.rules),
    }
    for name in type(score.weights).model_fields:
        values[f"weight_{name}"] = float(_exact(getattr(score.weights, name)) * NANO)
    named = ("watch", "alert", "critical", "extreme")
    values["level_nano"] = [0, 0, *(round(_exact(getattr(levels, f"{name}_probability")) * NANO) for name in named)]
    values["level_events"] = [
        0, 0, *(floor(_exact(getattr(levels, f"{name}_events_per_s")) * size_s) for name in named)
    ]  # fmt: skip
    for name, value in values.items():
        rows[name] = value
    return rows


def bins_kept(settings: DetectorSettings) -> int:
    """Bins of the lag that are kept: the span, the second that is not over yet, and one."""
    return (settings.correlation.span_ms + 1_000) // settings.correlation.lag_bin_ms + 1


def _exact(number: float) -> Fraction:
    return Fraction(repr(number))  # 0.1 means a tenth
