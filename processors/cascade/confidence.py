"""Coverage and confidence: how much of the market the figures rest on."""

from collections.abc import Mapping
from typing import Final

from schemas.records import ExchangeCoverage
from schemas.words import Completeness, FeedState

# SUBSCRIBED: the exchange accepted the subscription, but nothing has come yet, as on a quiet day or on a dead address
SEEN: Final = {FeedState.LIVE: 1.0, FeedState.SUBSCRIBED: 0.5, FeedState.UNKNOWN: 0.5}
TOLD: Final = {Completeness.ALL: 1.0}  # all other tapes leave out an unknown part
TOLD_OTHERS: Final = 0.5


def confidence(coverage: Mapping[str, ExchangeCoverage], *, correlated: bool, correlation_weight: float) -> float:
    """Mean over the known exchanges of (how well it is seen) x (how complete its tape is), 0 to 1.

    A live exchange counts 1, one of unknown state or without events yet a half, any other 0; a tape that shows all
    counts 1, any other a half. Without a correlation its weight of the score is missing, and so it is here.

    >>> live = ExchangeCoverage(state=FeedState.LIVE, completeness=Completeness.ALL)
    >>> dead = ExchangeCoverage(state=FeedState.DOWN, completeness=Completeness.ALL)
    >>> confidence({"a": live, "b": dead}, correlated=True, correlation_weight=0.15)
    0.5
    >>> confidence({"a": live}, correlated=False, correlation_weight=0.15)
    0.85"""
    if not coverage:
        return 0.0
    told = sum(
        SEEN.get(exchange.state, 0.0) * TOLD.get(exchange.completeness, TOLD_OTHERS) for exchange in coverage.values()
    )
    return told / len(coverage) * (1.0 if correlated else 1.0 - correlation_weight)
