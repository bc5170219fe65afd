"""The market (`*`): a pure fold over signals.state, which has one partition, so its order is the log's.

Its time is the newest T that any partition has told: with a state, or with its progress of every second. What a
partition tells a second time after a restart is older than its own T and is passed over. Breadth = assets that are in
WATCH or above, whose hold is over when they leave it, and assets whose R was `ratio` or more within `breadth_ms`."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from processors.cascade.level import NONE
from processors.market import kernel
from processors.market.contagion import Follower, followers
from processors.market.figures import Figures
from processors.market.layout import ASSETS_MAX, NOBODY, SIZES_MAX, new_state
from processors.market.reader import LEFT
from processors.market.records import Market, alert_of, progress_of, state_of
from processors.market.settings import MarketSettings
from processors.windows.layout import LONG_AGO
from processors.windows.memory import PADDING
from schemas.codec import Codec
from schemas.errors import RecordRefused, SchemaError
from schemas.records import AssetState, Record
from schemas.topics import ALERTS, MARKET, PROGRESS_KEY, STATE, Topic
from schemas.words import AlertKind

MEMORY_MS: Final = 300_000  # what was said before does not matter any more but for an episode: 60 + 10 + 60 s, doubled


class MarketOutput(NamedTuple):
    """One record to publish. `id`: of an alert; "" for others, which may come twice. `offset`: of what it came of."""

    topic: Topic
    key: str
    record: Record
    id: str
    offset: int


class Refused(NamedTuple):
    """A record that is passed over."""

    offset: int
    reason: SchemaError | RecordRefused


class MarketFold:
    """Folds signals.state. A new one that begins MEMORY_MS before an episode, or before where another one ended, goes
    on as that one would have. `codec`: of the values; None: with the ids of the repository."""

    def __init__(
        self, settings: MarketSettings, *, partitions: int, judged_size_ms: int, codec: Codec | None = None
    ) -> None:
        self._settings, self._partitions, self._judged_size_ms = settings, partitions, judged_size_ms
        self._codec = codec or Codec()
        self._header = int.from_bytes(self._codec.header(STATE), "little")
        self._state = new_state(settings)
        self._clock = self._state.clock[0]
        self._names: list[str] = []  # by row
        self._followed = (-1, "")  # second and leader that `_follow` is of
        self._follow: list[Follower] = []

    @property
    def now_ms(self) -> int:
        """Its time: the newest T that any partition has told."""
        return int(self._clock["now_ms"])

    def fold(self, offsets: Sequence[int], values: Sequence[bytes]) -> tuple[list[MarketOutput], list[Refused]]:
        """Fold values in the order of their offsets; what is no state is passed over."""
        assert len(offsets) == len(values)
        outputs: list[MarketOutput] = []
        refused: list[Refused] = []
        run, at = _run(offsets, values), 0
        while not self._advance(run, at, outputs):
            at = int(self._clock["at"])
            try:
                value = self._codec.encode(STATE, self._codec.decode(AssetState, values[at]))
                if not self._advance(_run(offsets[at : at + 1], [value]), 0, outputs):
                    raise RecordRefused(
                        f"folding the market at offset {offsets[at]}: no time, figures that are none, or more than "
                        f"{SIZES_MAX} sizes of window"
                    )
            except (SchemaError, RecordRefused) as exc:
                refused.append(Refused(offsets[at], exc))
            at += 1
        return outputs, refused

    def _advance(self, run: kernel.Run, at: int, outputs: list[MarketOutput]) -> bool:
        """Go on with a run at record `at`, to its end or to a record that the codec is to look at: then False."""
        self._clock["at"], self._clock["phase"] = at, kernel.NEXT
        while True:
            what = kernel.advance(run, self._header, self._state)
            if what == LEFT or (what == kernel.NEW_ASSET and not self._new_asset(run)):
                return False
            if what == kernel.DONE:
                return True
            if what != kernel.NEW_ASSET:
                self._publish(what, outputs)

    def _new_asset(self, run: kernel.Run) -> bool:
        """Give the asset of the record at hand a row: a new one, or that of the asset heard of longest ago.

        False when its name is no UTF-8."""
        assets, told = self._state.assets, self._state.told.numbers[0]
        name = run.data[told["name_begin"] : told["name_end"]]
        try:
            text = name.tobytes().decode()
        except UnicodeDecodeError:
            return False
        row = len(self._names)
        if row == ASSETS_MAX:
            row = int(assets.heard_ms.argmin())
            self._empty(row)
        else:
            self._names.append("")
            self._clock["rows"] = row + 1
        self._names[row] = text
        assets.names[row, : len(name)], assets.lengths[row] = name, len(name)
        kernel.enter(row, assets)
        return True

    def _empty(self, row: int) -> None:
        assets = self._state.assets
        assets.heard_ms[row] = 0
        assets.last_ms[row] = LONG_AGO
        assets.seconds[row] = 0
        assets.table[:] = 0
        for other in range(len(self._names)):
            if other != row:
                kernel.enter(other, assets)
        if self._clock["leader"] == row:
            self._clock["leader"] = NOBODY

    def _publish(self, what: int, outputs: list[MarketOutput]) -> None:
        clock = self._clock
        if what == kernel.SECOND_PASSES:
            if clock["level"] > NONE or kernel.breadth(self._state):
                self._put(outputs, STATE, MARKET, state_of(self._market()))
            progress = progress_of(self.now_ms, int(clock["offset"]))
            self._put(outputs, STATE, f"{PROGRESS_KEY}/{MARKET}", progress)
            return
        if what == kernel.RAISED and clock["previous"] == NONE:
            clock["leader"] = self._first()
        kind = AlertKind.RAISED if what == kernel.RAISED else AlertKind.UPDATED
        if what == kernel.FELL:
            kind = AlertKind.LOWERED if clock["level"] > NONE else AlertKind.ENDED
        record = alert_of(self._market(), kind, sequence=int(clock["sequence"]), previous=int(clock["previous"]))
        self._put(outputs, ALERTS, MARKET, record, record.alert_id)
        clock["sequence"] += 1
        clock["alert_ms"] = clock["now_ms"]
        if kind is AlertKind.ENDED:
            clock["peak"], clock["leader"] = NONE, NOBODY

    def _put(self, outputs: list[MarketOutput], topic: Topic, key: str, record: Record, alert_id: str = "") -> None:
        outputs.append(MarketOutput(topic, key, record, alert_id, int(self._clock["offset"])))

    def _first(self) -> int:
        """Row of the asset that has counted for longest, of equal ones the first by name."""
        count, assets = len(self._names), self._state.assets
        gone_ms = self._clock["now_ms"] - self._settings.breadth_ms
        there = assets.last_ms[:count] > gone_ms
        since_ms = np.maximum(np.where(there, assets.since_ms[:count], 1 << 62).min(axis=1), gone_ms)
        return min(np.flatnonzero(there.any(axis=1)).tolist(), key=lambda row: (since_ms[row], self._names[row]))

    def _blind(self) -> list[int]:
        gone_ms = self._clock["now_ms"] - self._settings.blind_ms
        return np.flatnonzero(self._state.progress_ms[: self._partitions] <= gone_ms).tolist()

    def _leader(self) -> str | None:
        leader = int(self._clock["leader"])
        return None if leader == NOBODY else self._names[leader]

    def _followers(self) -> list[Follower]:
        """Those of the leader, computed once a second."""
        second, leader = self.now_ms // 1_000, self._leader()
        if leader is None:
            return []
        if self._followed != (second, leader):
            self._followed = second, leader
            self._follow = followers(
                self._state.assets,
                self._names,
                int(self._clock["leader"]),
                second,
                lag_s_max=self._settings.lag_s_max,
                correlation_min=self._settings.correlation_min,
            )
        return self._follow

    def _market(self) -> Market:
        clock, breadth = self._clock, kernel.breadth(self._state)
        return Market(
            figures=Figures(self._state),
            breadth=breadth,
            rank=kernel.rank_of(breadth, self._state.least),
            level=int(clock["level"]),
            peak=int(clock["peak"]),
            episode_ms=int(clock["episode_ms"]),
            leader=self._leader(),
            followers=self._followers(),
            blind=self._blind(),
            partitions=self._partitions,
            judged_size_ms=self._judged_size_ms,
            offset=int(clock["offset"]),
            now_ms=self.now_ms,
        )


def _run(offsets: Sequence[int], values: Sequence[bytes]) -> kernel.Run:
    data = np.frombuffer(b"".join([*values, bytes(PADDING)]), np.uint8)
    ends = np.fromiter(map(len, values), np.int64, len(values)).cumsum()
    return kernel.Run(data, ends, np.array(offsets, np.int64))
