"""Episodes: a level rises at once, and falls when nothing higher was justified for the hold, directly to what was.

An episode begins where a level rises above NONE and ends where it is NONE again. Ranks as in `schemas.words`, times
are T in ms; `row` is an asset's row of scalars, `week` that of its relative profile."""

from processors.cascade.level import NONE
from processors.jit import part
from processors.windows.layout import LONG_AGO, NEVER, Row

ABSOLUTE, RELATIVE = 1, 2  # bits of a profile


@part
def rise(row: Row, rank: int, now_ms: int, from_ms: int) -> int:
    """Raise the level to `rank`; returns the level before. `from_ms`: start of the window that raised it."""
    previous = int(row.level)
    if previous == NONE:
        row.episode_ms, row.episode_from_ms = now_ms, from_ms
        row.sequence, row.peak = 0, NONE
    row.level = rank
    row.peak = max(row.peak, rank)
    return previous


@part
def justify(row: Row, rank: int, now_ms: int) -> None:
    """Note that a rank, and so every lower one above NONE, is justified now."""
    for lower in range(NONE + 1, rank + 1):
        row.justified_ms[lower] = now_ms


@part
def level_of(rank: int, relative: int, rule: Row) -> int:
    """The rank that counts for the level, of those that the two profiles justify."""
    if rule.mute:
        return NONE
    absolute = rank if rule.profile & ABSOLUTE else NONE
    return max(absolute, relative if rule.profile & RELATIVE else NONE)


@part
def until_ms(row: Row, week: Row, rank: int, rule: Row, relative: Row) -> int:
    """T until which a rank is in force by what justified it last."""
    ms = week.ruled_ms[rank] + rule.hold_ms
    if rule.profile & ABSOLUTE:
        ms = max(ms, row.justified_ms[rank] + rule.hold_ms)
    if rule.profile & RELATIVE:
        ms = max(ms, week.justified_ms[rank] + relative.hold_ms)
    return LONG_AGO if rule.mute else int(ms)


@part
def rank_in_force(row: Row, week: Row, now_ms: int, rule: Row, relative: Row) -> int:
    """The highest rank that was justified within the hold, at most the level."""
    rank = row.level
    while rank > NONE and until_ms(row, week, rank, rule, relative) <= now_ms:
        rank -= 1
    return int(rank)


@part
def falls_at_ms(row: Row, week: Row, rule: Row, relative: Row) -> int:
    """When the level falls unless it is justified again, or NEVER."""
    return until_ms(row, week, row.level, rule, relative) if row.level > NONE else NEVER


@part
def end(row: Row) -> None:
    """Forget an episode whose end was published."""
    row.peak = NONE
    row.first_ms[:] = NEVER


def episode_id(asset: str, episode_ms: int) -> str:
    """Asset and start of the episode; the fold writes the same by itself."""
    return f"{asset}:{episode_ms}"
