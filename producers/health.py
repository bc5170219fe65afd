"""State of the channels of one exchange, each over all its connections or REST calls. Pure: time is an argument.

A method gives the records to publish: none, the channel's new state, or a GAP and that."""

from dataclasses import dataclass, field
from typing import Final

from producers.clock import ClockOffset, Lags
from producers.gaps import GapLearner
from schemas.records import FeedHealth
from schemas.words import Exchange, FeedState

REPEAT_MS: Final = 60_000  # a channel states itself at least this often
DRIFT_MS: Final = 600_000  # a sign of drift counts for so long; one that goes on is seen again
DRIFT_TOLD_MS_MIN: Final = 1_000
DOWN_MS: Final = 60_000  # of trying in vain
INTERVALS_MAX: Final = 3  # of a REST call without an answer, then its data are stale
STALE_MS_MIN: Final = 5_000  # whatever the interval: one slow answer is no failure
QUIET_CONNECTION_FACTOR: Final = 12  # to a connection without any data, while another of its channel has some
DETAIL_CHARACTERS_MAX: Final = 500
STARTING: Final = "starting"
READY: Final = frozenset({FeedState.SUBSCRIBED, FeedState.LIVE, FeedState.SILENT, FeedState.DRIFT})
# The channel is as well as its worst connection; once all are subscribed, data on one of them makes it live.
_WORST_FIRST: Final = (
    FeedState.DOWN,
    FeedState.RECONNECTING,
    FeedState.STALE,
    FeedState.CONNECTED,
    FeedState.SILENT,
    FeedState.LIVE,
    FeedState.SUBSCRIBED,
)

Judged = tuple[FeedState, str]


class ChannelHealth:
    """What all channels share: the state in force, signs of drift, lags. `judge` is the channel's own."""

    def __init__(self, exchange: Exchange, channel: str, *, now_ms: int, clock: ClockOffset | None = None) -> None:
        self.exchange, self.channel = exchange, channel
        self.state = FeedState.RECONNECTING
        self.lags = Lags()
        self._clock = clock
        self._since_ms = now_ms
        self._detail = self._told = STARTING
        self._told_ms = now_ms
        self._drifts: dict[str, tuple[str, int]] = {}  # what -> sentence, last seen

    @property
    def expected_gap_ms(self) -> int | None:
        """The longest usual gap, None until known."""
        return None

    def judge(self, now_ms: int) -> Judged:
        """State and reason, but for drift."""
        return self.state, self._detail

    def drift(self, what: str, sentence: str, *, now_ms: int) -> list[FeedHealth]:
        """A sign that the exchange has changed something. The newest sentence of each `what` counts, and however often
        they change, they are told once a second."""
        self._drifts[what] = (sentence, now_ms)
        return self.review(now_ms)

    def review(self, now_ms: int) -> list[FeedHealth]:
        """Judge anew; to be called after whatever happened, and every second, since silence is no event."""
        state, detail = self.judge(now_ms)
        if self._drifts:
            self._drifts = {what: seen for what, seen in self._drifts.items() if now_ms - seen[1] < DRIFT_MS}
        if self._drifts and state in (FeedState.SUBSCRIBED, FeedState.LIVE):
            state, detail = FeedState.DRIFT, "; ".join(sentence for sentence, _ in self._drifts.values())
        self._detail = detail
        if state is self.state and not self._is_told_anew(now_ms):
            return []
        if state is not self.state:
            self.state, self._since_ms = state, now_ms
        self._told, self._told_ms = detail, now_ms
        return [self.now(now_ms)]

    def _is_told_anew(self, now_ms: int) -> bool:
        """Whether another reason of the same state is to be told: of drift, and of a failure right at the start."""
        if self._detail == self._told:
            return False
        drifts = self.state is FeedState.DRIFT and now_ms - self._told_ms >= DRIFT_TOLD_MS_MIN
        return drifts or self._told == STARTING

    def now(self, now_ms: int) -> FeedHealth:
        """The state as it is, to repeat it."""
        return self._record(self.state, self._since_ms, self._detail, now_ms)

    def note(self, sentence: str, *, now_ms: int) -> FeedHealth:
        """The record of something odd that changes no state."""
        return self._record(self.state, self._since_ms, sentence, now_ms)

    def gap(self, what: str, from_ms: int, now_ms: int) -> FeedHealth:
        """The record of a stretch of which nothing is known."""
        detail = f"{what}: nothing was received for {now_ms - from_ms} ms, from {from_ms} to {now_ms}"
        return self._record(FeedState.GAP, from_ms, detail, now_ms)

    def _record(self, state: FeedState, since_ms: int, detail: str, now_ms: int) -> FeedHealth:
        return FeedHealth(
            exchange=self.exchange,
            channel=self.channel,
            state=state,
            since_ms=since_ms,
            expected_gap_ms=self.expected_gap_ms,
            lag_p50_ms=self.lags.quantile(0.5),
            lag_p99_ms=self.lags.quantile(0.99),
            clock_offset_ms=self._clock.get() if self._clock else None,
            detail=detail[:DETAIL_CHARACTERS_MAX],
            event_time_ms=now_ms,
        )


@dataclass(slots=True)
class _Connection:
    """`pulse`: its topic that is never quiet. `lost_ms`: when the last frame came before it was lost."""

    name: str
    pulse: str | None
    state: FeedState = FeedState.RECONNECTING
    detail: str = ""
    since_ms: int = 0
    tried_since_ms: int | None = None
    lost_ms: int | None = None
    gaps: GapLearner = field(default_factory=GapLearner)


class StreamHealth(ChannelHealth):
    """A channel of websocket connections.

    `silent_ms_min`: no silence shorter than this is told. `silent_ms_unlearned`: how long a channel may be without any
    data while its usual gap is not known."""

    def __init__(
        self,
        exchange: Exchange,
        channel: str,
        *,
        now_ms: int,
        clock: ClockOffset | None = None,
        silent_ms_min: int = 60_000,
        silent_ms_unlearned: int = 1_800_000,
    ) -> None:
        super().__init__(exchange, channel, now_ms=now_ms, clock=clock)
        self._silent_ms_min, self._silent_ms_unlearned = silent_ms_min, silent_ms_unlearned
        self._connections: dict[int, _Connection] = {}

    @property
    def expected_gap_ms(self) -> int | None:
        """The longest learned one of the connections, at least the floor; None until one is learned."""
        usual = [each.gaps.usual_ms for each in self._connections.values() if each.gaps.usual_ms is not None]
        return max(self._silent_ms_min, *usual) if usual else None

    def open(self, connection: int, name: str, pulse: str | None, *, now_ms: int) -> None:
        """A connection is going to be tried; `name` tells people which."""
        self._connections[connection] = _Connection(name, pulse, detail=STARTING, tried_since_ms=now_ms)

    def update(
        self, connection: int, state: FeedState, detail: str, *, now_ms: int, last_frame_ms: int | None = None
    ) -> list[FeedHealth]:
        """A connection changed its state: CONNECTED, SUBSCRIBED, STALE or RECONNECTING.

        `last_frame_ms`: when the last frame came; what was lost with the connection begins there."""
        records = []
        this = self._connections[connection]
        if this.state in READY and state not in READY:
            this.lost_ms = now_ms if last_frame_ms is None else last_frame_ms
            this.gaps.restart()
        if state is FeedState.SUBSCRIBED and this.lost_ms is not None:
            records.append(self.gap(this.name, this.lost_ms, now_ms))
            this.lost_ms = None
        if state in READY:
            this.tried_since_ms = None
        elif this.tried_since_ms is None:
            this.tried_since_ms = now_ms
        this.state, this.detail, this.since_ms = state, detail, now_ms
        return records + self.review(now_ms)

    def data(self, connection: int, now_ms: int) -> list[FeedHealth]:
        """Data of this channel arrived, not of a pulse."""
        this = self._connections[connection]
        this.gaps.add(now_ms)
        if this.state is FeedState.LIVE and self.state is not FeedState.SILENT:
            return []
        if this.state is FeedState.SUBSCRIBED:
            this.state, this.detail = FeedState.LIVE, ""
        return self.review(now_ms)

    def silent(self, now_ms: int) -> list[int]:
        """The connections that are silent for longer than usual."""
        return [number for number, this in self._connections.items() if self._silence(this, now_ms) is not None]

    def judge(self, now_ms: int) -> Judged:
        """The worst connection, and why."""
        judged = [self._judge_one(this, now_ms) for this in self._connections.values()]
        return min(judged, key=lambda each: _WORST_FIRST.index(each[0])) if judged else (self.state, self._detail)

    def _judge_one(self, this: _Connection, now_ms: int) -> Judged:
        if this.state is FeedState.RECONNECTING:
            tried_ms = now_ms - (this.tried_since_ms if this.tried_since_ms is not None else now_ms)
            down = tried_ms >= DOWN_MS
            return (FeedState.DOWN, f"tried for {tried_ms // 1_000} s: {this.detail}") if down else (
                this.state, this.detail
            )  # fmt: skip
        silence = self._silence(this, now_ms)
        if silence is not None:
            return FeedState.SILENT, silence
        if this.state is FeedState.SUBSCRIBED and this.pulse is not None:
            return this.state, f"{this.detail}; quiet so far, but watched by {this.pulse}"
        return this.state, this.detail

    def _silence(self, this: _Connection, now_ms: int) -> str | None:
        """Why a connection is taken for silent. One without a pulse that is alive ends as stale before it gets here."""
        if this.state not in (FeedState.SUBSCRIBED, FeedState.LIVE):
            return None
        last_ms = this.gaps.last_ms
        quiet_ms = now_ms - (this.since_ms if last_ms is None else last_ms)
        usual_ms = this.gaps.usual_ms
        if usual_ms is None:
            others = any(each.gaps.last_ms is not None for each in self._connections.values() if each is not this)
            limit_ms = self._silent_ms_unlearned * (QUIET_CONNECTION_FACTOR if others else 1)
        else:
            limit_ms = max(usual_ms, self._silent_ms_min)
        if quiet_ms <= limit_ms:
            return None
        never = "subscribed and nothing ever came" if last_ms is None else "silent"
        pulse = f"{this.pulse} is alive" if this.pulse else "no second topic tells whether the connection lives"
        return f"{this.name}: {never} for more than {limit_ms // 1_000} s; {pulse}"


@dataclass(slots=True)
class _Source:
    interval_ms: int
    since_ms: int
    fresh_ms: int | None = None
    reason: str = ""

    @property
    def stale_ms(self) -> int:
        """How old the newest may be: three intervals."""
        return max(STALE_MS_MIN, INTERVALS_MAX * self.interval_ms)


class PollHealth(ChannelHealth):
    """A channel of repeated REST calls (or of a websocket that states the same again and again)."""

    def __init__(self, exchange: Exchange, channel: str, *, now_ms: int, clock: ClockOffset | None = None) -> None:
        super().__init__(exchange, channel, now_ms=now_ms, clock=clock)
        self._sources: dict[str, _Source] = {}

    @property
    def expected_gap_ms(self) -> int | None:
        """The longest interval."""
        return max((each.interval_ms for each in self._sources.values()), default=None)

    def expect(self, source: str, interval_ms: int, *, now_ms: int) -> None:
        """An answer is due every `interval_ms` from now on."""
        known = self._sources.get(source)
        if known is None:
            self._sources[source] = _Source(interval_ms, now_ms)
        else:
            known.interval_ms = interval_ms

    def succeeded(self, source: str, *, now_ms: int, data_ms: int | None = None) -> list[FeedHealth]:
        """An answer came; `data_ms` is how new what it says is, by our clock."""
        this = self._sources.get(source)
        if this is None:
            return []  # a call that is due for another kind, and gives this one as well
        records = []
        fresh_ms = now_ms if data_ms is None else min(now_ms, data_ms)
        if this.fresh_ms is not None and fresh_ms > this.fresh_ms and now_ms - this.fresh_ms > this.stale_ms:
            records.append(self.gap(source, this.fresh_ms, now_ms))
        this.fresh_ms, this.reason = max(fresh_ms, this.fresh_ms or 0), ""
        return records + self.review(now_ms)

    def failed(self, source: str, reason: str, *, now_ms: int) -> list[FeedHealth]:
        """A call was not answered, or refused."""
        self._sources[source].reason = reason
        return self.review(now_ms)

    def judge(self, now_ms: int) -> Judged:
        """The worst source, and why."""
        judged = [self._judge_one(name, this, now_ms) for name, this in self._sources.items()]
        return min(judged, key=lambda each: _WORST_FIRST.index(each[0])) if judged else (self.state, self._detail)

    def _judge_one(self, name: str, this: _Source, now_ms: int) -> Judged:
        why = f": {this.reason}" if this.reason else ""
        age_ms = now_ms - (this.since_ms if this.fresh_ms is None else this.fresh_ms)
        late = age_ms > this.stale_ms
        if this.fresh_ms is None:
            if late and age_ms >= DOWN_MS:
                return FeedState.DOWN, f"{name}: no answer for {age_ms // 1_000} s{why}"
            return FeedState.RECONNECTING if why else FeedState.CONNECTED, f"{name}: no answer yet{why}"
        if late:
            return FeedState.STALE, f"{name}: {age_ms // 1_000} s old, due every {this.interval_ms // 1_000} s{why}"
        return FeedState.LIVE, f"{name}{why}" if why else ""
