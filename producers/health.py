"""State of one channel of one exchange, over all its connections. Pure: time is an argument."""

from typing import Final

from schemas.records import FeedHealth
from schemas.words import Exchange, FeedState

REPEAT_MS: Final = 60_000  # a channel states itself at least this often
# The channel is as well as its worst connection; once all are subscribed, data on one of them makes it live.
_WORST_FIRST: Final = (FeedState.RECONNECTING, FeedState.CONNECTED, FeedState.LIVE, FeedState.SUBSCRIBED)
READY: Final = frozenset({FeedState.SUBSCRIBED, FeedState.LIVE})


class ChannelHealth:
    """`update` takes what a connection reports and gives the records to publish."""

    def __init__(self, exchange: Exchange, channel: str, *, now_ms: int) -> None:
        self.exchange, self.channel = exchange, channel
        self.state = FeedState.RECONNECTING
        self._since_ms = now_ms
        self._detail = "starting"
        self._states: dict[int, FeedState] = {}
        self._lost_ms: dict[int, int] = {}

    def update(self, connection: int, state: FeedState, detail: str, *, now_ms: int) -> list[FeedHealth]:
        """A connection changed its state: nothing, the channel's new state, or a GAP and that.

        GAP: a connection that had been lost is subscribed again; what happened in between is not known."""
        records = []
        was = self._states.get(connection)
        self._states[connection] = state
        if state is FeedState.RECONNECTING and was in READY:
            self._lost_ms[connection] = now_ms
        if state is FeedState.SUBSCRIBED and connection in self._lost_ms:
            lost_ms = self._lost_ms.pop(connection)
            gap = f"nothing was received for {now_ms - lost_ms} ms, from {lost_ms} to {now_ms}"
            records.append(self._record(FeedState.GAP, lost_ms, gap, now_ms))
        worst = next(each for each in _WORST_FIRST if each in self._states.values())
        if worst is not self.state:
            self.state, self._since_ms, self._detail = worst, now_ms, detail
            records.append(self.now(now_ms))
        return records

    def now(self, now_ms: int) -> FeedHealth:
        """The state as it is, to repeat it."""
        return self._record(self.state, self._since_ms, self._detail, now_ms)

    def _record(self, state: FeedState, since_ms: int, detail: str, now_ms: int) -> FeedHealth:
        return FeedHealth(
            exchange=self.exchange, channel=self.channel, state=state, since_ms=since_ms, detail=detail,
            event_time_ms=now_ms,
        )  # fmt: skip
