"""Coverage and confidence: how much of the market the figures rest on."""

from collections.abc import Mapping, Sequence
from typing import Final

from schemas.records import ExchangeCoverage
from schemas.words import Completeness, Exchange, FeedState

# SUBSCRIBED: the exchange accepted the subscription, but nothing has come yet, as on a quiet day or on a dead address
# DRIFT: data come, but the exchange may have changed what they mean
SEEN: Final = {FeedState.LIVE: 1.0, FeedState.SUBSCRIBED: 0.5, FeedState.DRIFT: 0.5, FeedState.UNKNOWN: 0.5}
FRESH_MS: Final = (
    150_000  # a channel repeats its state every 60 s; what is older stands for nothing, its writer is gone
)
NEVER: Final = 1 << 60
TOLD: Final = {Completeness.ALL: 1.0}  # all other tapes leave out an unknown part
TOLD_OTHERS: Final = 0.5
TAPES: Final = tuple(Completeness)
NOT_SEEN: Final = -1


class Coverage:
    """What is known of each exchange: the state of its liquidation channel, and how complete its tape is."""

    def __init__(self) -> None:
        self.feeds: dict[str, tuple[FeedState, int]] = {}  # state, and append time at which it was last told
        self.exchanges: dict[str, ExchangeCoverage] = {}
        self._told = 0.0

    def hear(self, exchange: Exchange, state: FeedState, told_ms: int) -> None:
        """Take the state of a liquidation channel, told at `told_ms`."""
        self.feeds[exchange.value] = state, told_ms

    def see(self, tapes: Sequence[int], now_ms: int) -> int:
        """Take the completeness last seen of each exchange, by slot; NOT_SEEN for those without a liquidation yet.

        Returns T at which the next state grows stale, or NEVER."""
        states = {
            name: state if now_ms < told_ms + FRESH_MS else FeedState.STALE
            for name, (state, told_ms) in self.feeds.items()
        }
        self.exchanges = {
            exchange.value: ExchangeCoverage(
                state=states.get(exchange.value, FeedState.UNKNOWN),
                completeness=Completeness.UNKNOWN if tape == NOT_SEEN else TAPES[tape],
            )
            for exchange, tape in zip(Exchange, tapes, strict=False)
            if tape != NOT_SEEN or exchange.value in self.feeds
        }
        self._told = told(self.exchanges)
        grow_stale_ms = (told_ms + FRESH_MS for _, told_ms in self.feeds.values())
        return min((at_ms for at_ms in grow_stale_ms if at_ms > now_ms), default=NEVER)

    def confidence(self, *, correlated: bool, correlation_weight: float) -> float:
        """Share of the market told, 0 to 1; without a correlation its weight of the score is missing here too."""
        return self._told * (1.0 if correlated else 1.0 - correlation_weight)


def told(exchanges: Mapping[str, ExchangeCoverage]) -> float:
    """Mean over the known exchanges of (how well it is seen) x (how complete its tape is), 0 to 1.

    A live exchange counts 1, one of unknown state, without events yet or with signs of drift a half, any other 0; a
    tape that shows all counts 1, any other a half.

    >>> live = ExchangeCoverage(state=FeedState.LIVE, completeness=Completeness.ALL)
    >>> down = ExchangeCoverage(state=FeedState.DOWN, completeness=Completeness.ALL)
    >>> told({"a": live, "b": down})
    0.5"""
    if not exchanges:
        return 0.0
    parts = [SEEN.get(one.state, 0.0) * TOLD.get(one.completeness, TOLD_OTHERS) for one in exchanges.values()]
    return sum(parts) / len(parts)
