"""The market written plainly: over records, dicts and lists, with no array and nothing compiled. Takes its time."""

from collections.abc import Iterable, Mapping, Sequence
from operator import mul
from typing import Any, Final, NamedTuple

from processors.cascade.coverage import told
from processors.cascade.level import NONE
from processors.market.contagion import Follower
from processors.market.fold import MarketOutput
from processors.market.settings import LEVELS as MARKET_LEVELS
from processors.market.settings import MarketSettings
from processors.metrics.correlation import pearson
from processors.metrics.metric import ratio
from processors.metrics.velocity import velocity
from processors.metrics.volume import volume
from schemas.records import (
    AssetState,
    CascadeAlert,
    Contributions,
    ExchangeCoverage,
    ExchangeFigures,
    WindowFigures,
)
from schemas.topics import ALERTS, MARKET, PROGRESS_KEY, STATE
from schemas.words import LEVEL_RANKS, LEVELS, AlertKind, Exchange, Level, Profile, Side, StateKind
from tests.processors.market.states import Heard

SPAN_S: Final = 60
FOLLOWERS_MAX: Final = 8  # of one leader: those with most USD
KUSD_MAX: Final = 1_000_000  # a billion USD/s; its square times 60 bins fits an int64
EVENT_BINS_MIN: Final = 3  # with fewer seconds in which anything happened every pair looks alike


class Bins:
    """USD/s of many assets, by second."""

    def __init__(self, lag_s_max: int) -> None:
        self._lag_s_max = lag_s_max
        self._kept = SPAN_S + 2 * lag_s_max + 2
        self._bins: dict[str, dict[int, int]] = {}

    def put(self, asset: str, second: int, usd_per_s: float) -> None:
        """Take a figure; the largest of a second counts."""
        bins = self._bins.setdefault(asset, {})
        bins[second] = max(bins.get(second, 0), min(KUSD_MAX, round(usd_per_s / 1_000)))

    def forget_before(self, second: int) -> None:
        """Drop what is older than can be asked for at `second`."""
        oldest = second - self._kept
        for asset in list(self._bins):
            bins = self._bins[asset]
            for gone in [at for at in bins if at < oldest]:
                del bins[gone]
            if not bins:
                del self._bins[asset]

    def followers(self, leader: str, second: int, correlation_min: float) -> list[Follower]:
        """Assets that follow `leader` in the minute before `second`, by falling correlation."""
        last = self._bins.get(leader, {})
        others = [asset for asset in self._bins if asset != leader]
        heaviest = sorted(others, key=lambda asset: (-self._total(asset, second), asset))[:FOLLOWERS_MAX]
        found = []
        for asset in heaviest:
            lag_s, correlation = follows(last, self._bins[asset], second, self._lag_s_max)
            if correlation >= correlation_min:
                found.append(Follower(asset, lag_s, correlation))
        return sorted(found, key=lambda one: (-one.correlation, one.asset))

    def _total(self, asset: str, second: int) -> int:
        return sum(value for at, value in self._bins[asset].items() if second - SPAN_S <= at < second)


def follows(leader: Mapping[int, int], other: Mapping[int, int], second: int, lag_s_max: int) -> tuple[int, float]:
    """Lag of 0 … lag_s_max seconds at which `other` follows `leader` best in the minute before `second`, and r there.

    The nearest of equal ones; r is 0 where either has too few seconds with any USD.

    >>> follows({10: 5, 20: 9, 31: 4}, {12: 5, 22: 9, 33: 4}, 60, 5)
    (2, 1.0)"""
    y = _series(other, second, SPAN_S)
    best_lag_s, best = 0, 0.0
    if sum(value > 0 for value in y) < EVENT_BINS_MIN:
        return 0, 0.0
    sum_y, sum_yy = sum(y), sum(map(mul, y, y))
    ahead = _series(leader, second, SPAN_S + lag_s_max)
    for lag_s in range(lag_s_max + 1):
        x = ahead[lag_s_max - lag_s : len(ahead) - lag_s]
        if sum(value > 0 for value in x) < EVENT_BINS_MIN:
            continue
        r = round(pearson(SPAN_S, sum(x), sum_y, sum(map(mul, x, x)), sum_yy, sum(map(mul, x, y))), 6)
        if r > best:
            best_lag_s, best = lag_s, r
    return best_lag_s, best


def _series(bins: Mapping[int, int], second: int, span_s: int) -> Sequence[int]:
    return [bins.get(at, 0) for at in range(second - span_s, second)]


PARTITION: Final = 0  # of signals.state
MICRO: Final = 1_000_000
FOLLOWERS_NAMED_MAX: Final = 5
BLIND_NAMED_MAX: Final = 10
NO_CONTRIBUTIONS: Final = Contributions(
    velocity=0.0, acceleration=0.0, volume=0.0, correlation=0.0, funding=0.0, open_interest=0.0
)
SLOTS: Final = {exchange.value: slot for slot, exchange in enumerate(Exchange)}


class Market(NamedTuple):
    """What is known of the market where a record is published; `rank`: level that the breadth justifies now."""

    states: Sequence[AssetState]
    coverage: dict[str, ExchangeCoverage]
    breadth: int
    rank: int
    level: int
    peak: int
    episode_ms: int
    leader: str | None
    followers: Sequence[Follower]
    blind: Sequence[int]
    partitions: int
    judged_size_ms: int
    offset: int
    now_ms: int


def alert_of(market: Market, kind: AlertKind, *, sequence: int, previous: int) -> CascadeAlert:
    """Alert `sequence` of the market's episode; `previous`: rank before it."""
    episode = f"{MARKET}:{market.episode_ms}"
    common = _common(market) | {"episode_id": episode, "previous_level": LEVELS[previous]}
    return CascadeAlert(alert_id=f"{episode}:{sequence}", sequence=sequence, kind=kind, **common)


def state_of(market: Market) -> AssetState:
    """The state of the market."""
    return AssetState(kind=StateKind.ASSET, **_common(market))


def progress_of(now_ms: int, offset: int) -> AssetState:
    """How far the market has been folded."""
    nothing = Market((), {}, 0, NONE, NONE, NONE, 0, None, (), (), 1, 0, offset, now_ms)
    return AssetState(kind=StateKind.PROGRESS, **_common(nothing))


def _common(market: Market) -> dict[str, Any]:
    level = LEVELS[market.level]
    longs, shorts = _by_side(market.states, market.judged_size_ms)
    exchanges = _exchanges(market.states, market.coverage)
    leader = next((state for state in market.states if state.asset == market.leader), None)
    seen = market.partitions - len(market.blind)
    return {
        "asset": MARKET,
        "episode_id": f"{MARKET}:{market.episode_ms}" if market.level > NONE else None,
        "profile": Profile.RELATIVE,
        "level": level,
        "previous_level": level,
        "peak_level": LEVELS[market.peak],
        "absolute_level": Level.UNKNOWN,
        "relative_level": LEVELS[market.rank],
        "side": Side.UNKNOWN if longs == shorts else Side.LONG if longs > shorts else Side.SHORT,
        "probability": 0.0,
        "boost": 1.0,
        "contributions": NO_CONTRIBUTIONS,
        "windows": _windows(market.states),
        "exchanges": exchanges,
        "leading_exchange": _leading(exchanges),
        "first_mover": None if leader is None else leader.first_mover,
        "flags": _flags(market),
        "coverage": market.coverage,
        "confidence": round(told(market.coverage) * seen / market.partitions, 6),
        "market_breadth": market.breadth,
        "source_partition": PARTITION,
        "source_offset": market.offset,
        "event_time_ms": max((state.event_time_ms for state in market.states), default=market.now_ms),
        "append_time_ms": market.now_ms,
    }


def _flags(market: Market) -> tuple[str, ...]:
    """Who led, who follows whom by how much, and which partitions are not seen."""
    flags = [] if market.leader is None else [f"led_by:{market.leader}"]
    flags += [f"contagion:{market.leader}>{one.asset}:{one.lag_s}s" for one in market.followers[:FOLLOWERS_NAMED_MAX]]
    if market.blind:
        named = ",".join(map(str, market.blind[:BLIND_NAMED_MAX]))
        flags.append(f"blind:{named}" + (",…" if len(market.blind) > BLIND_NAMED_MAX else ""))
    return tuple(flags)


def _windows(states: Sequence[AssetState]) -> tuple[WindowFigures, ...]:
    """Each size added up over the assets, in whole micro-USD."""
    sizes_ms = sorted({window.size_ms for state in states for window in state.windows})
    found = []
    for size_ms in sizes_ms:
        parts = [window for state in states for window in state.windows if window.size_ms == size_ms]
        micro_usd = sum(_micro(one.notional_usd_per_s) for one in parts) * size_ms // 1_000
        long_micro_usd = (
            sum(_micro(one.notional_usd_per_s * (one.long_share or 0.0)) for one in parts) * size_ms // 1_000
        )
        events = sum(one.events for one in parts)
        found.append(
            WindowFigures(
                size_ms=size_ms,
                events=events,
                events_per_s=velocity(events, size_ms),
                notional_usd_per_s=volume(micro_usd, size_ms),
                acceleration_events_per_s2=sum(_micro(one.acceleration_events_per_s2) for one in parts) / MICRO,
                acceleration_usd_per_s2=sum(_micro(one.acceleration_usd_per_s2) for one in parts) / MICRO,
                long_share=ratio(min(long_micro_usd, micro_usd), micro_usd) if micro_usd else None,
            )
        )
    return tuple(found)


def _exchanges(states: Sequence[AssetState], coverage: dict[str, ExchangeCoverage]) -> dict[str, ExchangeFigures]:
    events, micro_usd = dict.fromkeys(coverage, 0), dict.fromkeys(coverage, 0)
    for state in states:
        for name, figures in state.exchanges.items():
            if figures.active and name in events:
                events[name] += _micro(figures.events_per_s)
                micro_usd[name] += _micro(figures.notional_usd_per_s)
    total = sum(micro_usd.values())
    return {
        name: ExchangeFigures(
            events_per_s=events[name] / MICRO,
            notional_usd_per_s=micro_usd[name] / MICRO,
            share=ratio(micro_usd[name], total) if total else 0.0,
            active=events[name] > 0,
        )
        for name in coverage
    }


def _leading(exchanges: dict[str, ExchangeFigures]) -> Exchange | None:
    """The exchange with most USD/s, of equal ones that with more events, then the first."""
    active = [name for name, figures in exchanges.items() if figures.active]
    if not active:
        return None
    return Exchange(
        min(active, key=lambda one: (-exchanges[one].notional_usd_per_s, -exchanges[one].events_per_s, SLOTS[one]))
    )


def _by_side(states: Sequence[AssetState], judged_size_ms: int) -> tuple[int, int]:
    """Micro-USD/s of liquidated longs and shorts in the judged windows."""
    longs = shorts = 0
    for state in states:
        for window in state.windows:
            if window.size_ms == judged_size_ms and window.long_share is not None:
                total = _micro(window.notional_usd_per_s)
                of_longs = round(total * window.long_share)
                longs, shorts = longs + of_longs, shorts + total - of_longs
    return longs, shorts


def _micro(number: float) -> int:
    return round(number * MICRO)


COVERAGE_MS_MAX: Final = 120_000
FIGURES_MS_MAX: Final = 5_000  # an asset that is not quiet tells its state every 200 ms; older ones are not added up
ASSETS_MAX: Final = 2_000  # four times what the exchanges list; the one heard of longest ago goes
WATCH: Final = LEVEL_RANKS["WATCH"]


class Reference:
    """Folds signals.state."""

    def __init__(self, settings: MarketSettings, *, partitions: int, judged_size_ms: int) -> None:
        self._settings, self._partitions, self._judged_size_ms = settings, partitions, judged_size_ms
        self._least = [0, 0, *(getattr(settings, f"{level}_assets") for level in MARKET_LEVELS)]  # assets, by rank
        self.now_ms = 0
        self._offset = -1
        self._progress_ms: dict[int, int] = {}
        self._states: dict[str, AssetState] = {}
        self._watched: dict[str, tuple[int, int]] = {}  # asset -> T since which, T at which its state last said so
        self._exceptional: dict[str, tuple[int, int]] = {}
        self._coverage: dict[str, tuple[int, ExchangeCoverage]] = {}
        self._bins = Bins(settings.lag_s_max)
        self._justified_ms = [-(1 << 60)] * (LEVEL_RANKS["EXTREME"] + 1)
        self._level = self._peak = NONE
        self._episode_ms = self._sequence = self._alert_ms = 0
        self._leader: str | None = None
        self._followed = (-1, "")  # second and leader that `_follow` is of
        self._follow: list[Follower] = []

    def fold(self, run: Iterable[Heard]) -> list[MarketOutput]:
        """Fold records in the order of their offsets."""
        outputs: list[MarketOutput] = []
        for offset, state in run:
            partition = state.source_partition or 0
            if state.asset == MARKET or state.append_time_ms < self._progress_ms.get(partition, 0):
                continue  # its own, or told again
            self._offset = offset
            self._progress_ms[partition] = state.append_time_ms
            second = self.now_ms // 1_000
            self.now_ms = max(self.now_ms, state.append_time_ms)
            self._let_fall(outputs)
            if self.now_ms // 1_000 > second:
                self._second_passes(outputs)
            if state.kind is StateKind.ASSET:
                self._hear(state, outputs)
        return outputs

    def _hear(self, state: AssetState, outputs: list[MarketOutput]) -> None:
        asset, heard_ms = state.asset, state.append_time_ms
        last = self._states.pop(asset, None)
        if last is not None and last.append_time_ms >= heard_ms:
            self._states[asset] = last
            return  # an asset has at most one state at one T: told again
        self._states[asset] = state
        if len(self._states) > ASSETS_MAX:
            del self._states[next(iter(self._states))]
        for exchange, coverage in state.coverage.items():
            if heard_ms >= self._coverage.get(exchange, (0, coverage))[0]:
                self._coverage[exchange] = heard_ms, coverage
        self._bins.put(asset, heard_ms // 1_000, _usd_per_s(state))
        ratio = state.relative_ratio
        watched, exceptional = LEVEL_RANKS[state.level] >= WATCH, ratio is not None and ratio >= self._settings.ratio
        for one, there in ((self._watched, watched), (self._exceptional, exceptional)):
            if there:
                since_ms, last_ms = one.get(asset, (heard_ms, heard_ms))
                one[asset] = (heard_ms if last_ms <= heard_ms - self._settings.breadth_ms else since_ms), heard_ms
        if watched or exceptional:
            self._judge(outputs)
        if not watched:  # its level was held for as long as it should be
            self._watched.pop(asset, None)

    def _judge(self, outputs: list[MarketOutput]) -> None:
        """After an asset was exceptional: raise, or update."""
        rank = self._justify()
        if rank > self._level:
            before = self._level
            if before == NONE:
                self._episode_ms, self._sequence, self._peak = self.now_ms, 0, NONE
                since = self._broad()
                self._leader = min(since, key=lambda asset: (since[asset], asset))
            self._level, self._peak = rank, max(rank, self._peak)
            self._alert(AlertKind.RAISED, before, outputs)
        elif self._level > NONE and self.now_ms - self._alert_ms >= self._settings.update_interval_ms:
            self._alert(AlertKind.UPDATED, self._level, outputs)

    def _justify(self) -> int:
        """The rank that the breadth justifies now; it is noted."""
        rank = self._rank(len(self._broad()))
        for lower in range(NONE + 1, rank + 1):
            self._justified_ms[lower] = self.now_ms
        return rank

    def _rank(self, breadth: int) -> int:
        return max(rank for rank, least in enumerate(self._least) if rank == NONE or (rank > NONE and breadth >= least))

    def _let_fall(self, outputs: list[MarketOutput]) -> None:
        rank = self._level
        while rank > NONE and self._justified_ms[rank] + self._settings.hold_ms <= self.now_ms:
            rank -= 1
        if rank < self._level:
            before, self._level = self._level, rank
            self._alert(AlertKind.LOWERED if rank > NONE else AlertKind.ENDED, before, outputs)
            if rank == NONE:
                self._peak, self._leader = NONE, None

    def _second_passes(self, outputs: list[MarketOutput]) -> None:
        gone_ms = self.now_ms - self._settings.breadth_ms
        for one in (self._watched, self._exceptional):
            for asset in [asset for asset, (_, last_ms) in one.items() if last_ms <= gone_ms]:
                del one[asset]
        self._bins.forget_before(self.now_ms // 1_000)
        self._justify()
        if self._level > NONE or self._broad():
            outputs.append(MarketOutput(STATE, MARKET, state_of(self._market()), "", self._offset))
        progress = progress_of(self.now_ms, self._offset)
        outputs.append(MarketOutput(STATE, f"{PROGRESS_KEY}/{MARKET}", progress, "", self._offset))

    def _alert(self, kind: AlertKind, before: int, outputs: list[MarketOutput]) -> None:
        record = alert_of(self._market(), kind, sequence=self._sequence, previous=before)
        outputs.append(MarketOutput(ALERTS, MARKET, record, record.alert_id, self._offset))
        self._sequence += 1
        self._alert_ms = self.now_ms

    def _broad(self) -> dict[str, int]:
        """Assets in WATCH or above now, or exceptional within the last breadth_ms, and since when in it."""
        gone_ms = self.now_ms - self._settings.breadth_ms
        broad: dict[str, int] = {}
        for one in (self._watched, self._exceptional):
            for asset, (since_ms, last_ms) in one.items():
                if last_ms > gone_ms:
                    broad[asset] = max(gone_ms, min(since_ms, broad.get(asset, since_ms)))
        return broad

    def _blind(self) -> list[int]:
        gone_ms = self.now_ms - self._settings.blind_ms
        return [one for one in range(self._partitions) if self._progress_ms.get(one, 0) <= gone_ms]

    def _followers(self) -> list[Follower]:
        """Those of the leader, computed once a second."""
        second = self.now_ms // 1_000
        if self._leader is None:
            return []
        if self._followed != (second, self._leader):
            self._followed = second, self._leader
            self._follow = self._bins.followers(self._leader, second, self._settings.correlation_min)
        return self._follow

    def _market(self) -> Market:
        breadth = len(self._broad())
        return Market(
            states=[one for one in self._states.values() if one.append_time_ms > self.now_ms - FIGURES_MS_MAX],
            coverage={
                exchange: coverage
                for exchange, (heard_ms, coverage) in sorted(self._coverage.items())
                if heard_ms > self.now_ms - COVERAGE_MS_MAX
            },
            breadth=breadth,
            rank=self._rank(breadth),
            level=self._level,
            peak=self._peak,
            episode_ms=self._episode_ms,
            leader=self._leader,
            followers=self._followers(),
            blind=self._blind(),
            partitions=self._partitions,
            judged_size_ms=self._judged_size_ms,
            offset=self._offset,
            now_ms=self.now_ms,
        )


def _usd_per_s(state: AssetState) -> float:
    return sum(one.notional_usd_per_s for one in state.exchanges.values())
