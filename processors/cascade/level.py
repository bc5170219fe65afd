"""Levels of the absolute profile."""

from processors.jit import jit
from processors.windows.layout import Row

NONE, WATCH, ALERT, CRITICAL, EXTREME = range(1, 6)  # ranks of schemas.words.LEVEL_RANKS


@jit
def level_rank(probability_nano: int, events: int, before: int, rule: Row) -> int:
    """Rank of the level that one window of the judged size justifies.

    EXTREME p > 0.9 or > 100/s; CRITICAL p > 0.7 or (> 50/s and > 20/s²); ALERT p > 0.5 or > 20/s; WATCH p > 0.3 or
    > 10/s, with the thresholds of `rule` (a RULES row)."""
    if probability_nano > rule.level_nano[EXTREME] or events > rule.level_events[EXTREME]:
        return EXTREME
    if probability_nano > rule.level_nano[CRITICAL]:
        return CRITICAL
    if events > rule.level_events[CRITICAL] and events - before > rule.critical_rise:
        return CRITICAL
    if probability_nano > rule.level_nano[ALERT] or events > rule.level_events[ALERT]:
        return ALERT
    if probability_nano > rule.level_nano[WATCH] or events > rule.level_events[WATCH]:
        return WATCH
    return NONE
