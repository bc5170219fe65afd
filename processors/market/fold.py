"""The market (`*`): a pure fold over signals.state, which has one partition, so its order is the log's.

Its time is the newest T that any partition has told: with a state, or with its progress of every second. What a
partition tells a second time after a restart is older than its own T and is passed over. Breadth = assets that are in
WATCH or above, whose hold is over when they leave it, and assets whose R was `ratio` or more within `breadth_ms`."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from processors.cascade.level import NONE
from processors.market.contagion import Bins, Follower
from processors.market.records import MARKET, Market, alert_of, progress_of, state_of
from processors.market.settings import LEVELS, MarketSettings
from schemas.records import AssetState, ExchangeCoverage, Record
from schemas.topics import ALERTS, PROGRESS_KEY, STATE, Topic
from schemas.words import LEVEL_RANKS, AlertKind, StateKind

FIGURES_MS_MAX: Final = 5_000  # an asset that is not quiet tells its state every 200 ms; older ones are not added up
ASSETS_MAX: Final = 2_000  # four times what the exchanges list; the one heard of longest ago goes
MEMORY_MS: Final = 300_000  # what was said before does not matter any more but for an episode: 60 + 10 + 60 s, doubled
WATCH: Final = LEVEL_RANKS["WATCH"]


class Heard(NamedTuple):
    """One record of signals.state."""

    offset: int
    state: AssetState


class MarketOutput(NamedTuple):
    """One record to publish. `id`: of an alert; "" for others, which may come twice."""

    topic: Topic
    key: str
    record: Record
    id: str


class MarketFold:
    """Folds signals.state. A new one that begins MEMORY_MS before an episode, or before where another one ended, goes
    on as that one would have."""

    def __init__(self, settings: MarketSettings, *, partitions: int, judged_size_ms: int) -> None:
        self._settings, self._partitions, self._judged_size_ms = settings, partitions, judged_size_ms
        self._least = [0, 0, *(getattr(settings, f"{level}_assets") for level in LEVELS)]  # assets, by rank
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
            outputs.append(MarketOutput(STATE, MARKET, state_of(self._market()), ""))
        progress = progress_of(self.now_ms, self._offset)
        outputs.append(MarketOutput(STATE, f"{PROGRESS_KEY}/{MARKET}", progress, ""))

    def _alert(self, kind: AlertKind, before: int, outputs: list[MarketOutput]) -> None:
        record = alert_of(self._market(), kind, sequence=self._sequence, previous=before)
        outputs.append(MarketOutput(ALERTS, MARKET, record, record.alert_id))
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
            coverage={exchange: coverage for exchange, (_, coverage) in sorted(self._coverage.items())},
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
