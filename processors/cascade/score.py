"""Probability of a cascade: six terms of the judged window, in billionths, so that levels compare whole numbers.

Each term is its weight times its share of full marks. Context (correlation, funding, open interest) never raises a
level alone: its terms are multiplied by g = min(1, max(velocity / 10 a second, USD/s / $10M/s))."""

import math

from processors.jit import jit
from processors.windows.layout import NANO, Row

Terms = tuple[int, int, int, int, int, int]


@jit
def terms_nano(
    events: int, before: int, micro_usd: int, balance: int, correlation: float, funding: float, change_pct: float,
    rule: Row,
) -> Terms:  # fmt: skip
    """Velocity, acceleration, volume, correlation, funding and open interest, in billionths of probability.

    `events`, `before`: in the judged window and in the one before it; of the judged one `micro_usd` of both sides and
    `balance`, longs - shorts. `correlation` 0 to 1; `funding` as a fraction per 8 h, counts when the side that is being
    liquidated pays it; `change_pct` of open interest in coins over 5 min, counts when it falls. Each of the three NaN
    without data. `rule`: a RULES row."""
    velocity = rule.weight_velocity * min(1.0, events / rule.full_events)
    acceleration = rule.weight_acceleration * min(1.0, max(0, events - before) / rule.full_rise)
    volume = rule.weight_volume * min(1.0, micro_usd / rule.full_micro_usd)
    context = min(1.0, max(events / rule.warning_events, micro_usd / rule.warning_micro_usd))
    correlated = 0.0 if math.isnan(correlation) else rule.weight_correlation * context * correlation
    paid, fallen = 0.0, 0.0
    if (funding > 0 and balance > 0) or (funding < 0 and balance < 0):
        paid = rule.weight_funding * context * min(1.0, abs(funding) / rule.full_rate_8h)
    if change_pct < 0:
        fallen = rule.weight_open_interest * context * min(1.0, -change_pct / rule.full_drop_pct)
    return round(velocity), round(acceleration), round(volume), round(correlated), round(paid), round(fallen)


@jit
def boosted(events: int, before: int, rule: Row) -> bool:
    """Whether the acceleration is twice the critical one or more."""
    return bool(events - before >= rule.boost_rise)


@jit
def probability_nano(terms: Terms, boost: bool, rule: Row) -> int:
    """Probability in billionths: the sum of the terms, boosted, at most 1."""
    total = terms[0] + terms[1] + terms[2] + terms[3] + terms[4] + terms[5]
    if boost:
        total = round(total * rule.boost)
    return min(NANO, total)


def published_terms(terms: Terms) -> list[float]:
    """Terms rounded to 6 decimals so that they add up exactly to their rounded sum.

    Plain rounding of each may miss the sum by three millionths; the largest rests are rounded up instead.

    >>> published_terms((250_000_000, 333_333_400, 200_000_400, 100, 100, 0))
    [0.25, 0.333334, 0.2, 0.0, 0.0, 0.0]"""
    floors = [term // 1_000 for term in terms]
    missing = _half_even(sum(terms)) - sum(floors)
    by_rest = sorted(range(len(terms)), key=lambda i: (-(terms[i] % 1_000), i))
    for i in by_rest[:missing]:
        floors[i] += 1
    return [whole / 1_000_000 for whole in floors]


def _half_even(nano: int) -> int:
    return round(nano / 1_000)  # below 2**53: the quotient's half is exact
