"""Logs of signals.state, and folds of the market over them."""

import random
from collections.abc import Sequence
from typing import NamedTuple

from processors.market.fold import MarketFold, MarketOutput
from processors.market.records import NO_CONTRIBUTIONS
from processors.market.settings import MarketSettings
from schemas.codec import Codec
from schemas.records import AssetState, CascadeAlert, ExchangeCoverage, ExchangeFigures, WindowFigures
from schemas.topics import STATE
from schemas.words import Completeness, Exchange, FeedState, Level, Profile, Side, StateKind

CODEC = Codec()
START_MS = 1_760_000_000_000
SETTINGS = MarketSettings(watch_assets=3, alert_assets=5, critical_assets=8, extreme_assets=12)
PARTITIONS = 3


def state(
    time_ms: int, asset: str = "", *, partition: int = 0, ratio: float | None = 0.0, usd_per_s: float = 0.0,
    long_share: float = 1.0, level: Level = Level.NONE, exchange: Exchange = Exchange.BYBIT,
) -> AssetState:  # fmt: skip
    """State of an asset, or progress of a partition; time from START_MS."""
    kind = StateKind.ASSET if asset else StateKind.PROGRESS
    figures = ExchangeFigures(events_per_s=2.0, notional_usd_per_s=usd_per_s, share=1.0, active=usd_per_s > 0)
    window = WindowFigures(
        size_ms=2_000, events=4, events_per_s=2.0, notional_usd_per_s=usd_per_s, acceleration_events_per_s2=0.5,
        acceleration_usd_per_s2=1.5, long_share=long_share if usd_per_s else None,
    )  # fmt: skip
    coverage = ExchangeCoverage(state=FeedState.LIVE, completeness=Completeness.ALL)
    return AssetState(
        kind=kind,
        asset=asset,
        profile=Profile.ABSOLUTE,
        level=level,
        previous_level=level,
        peak_level=level,
        absolute_level=level,
        relative_level=Level.UNKNOWN,
        relative_ratio=ratio,
        side=Side.LONG,
        probability=0.0,
        boost=1.0,
        contributions=NO_CONTRIBUTIONS,
        windows=(window,) if asset else (),
        exchanges={exchange.value: figures} if asset else {},
        flags=(),
        coverage={exchange.value: coverage} if asset else {},
        confidence=1.0,
        source_partition=partition,
        source_offset=0,
        event_time_ms=START_MS + time_ms,
        append_time_ms=START_MS + time_ms,
    )


class Heard(NamedTuple):
    """One record of signals.state."""

    offset: int
    state: AssetState


class Fold:
    """A fold over records instead of their bytes."""

    def __init__(self) -> None:
        self.fold_values = new_fold().fold

    def fold(self, run: Sequence[Heard]) -> list[MarketOutput]:
        outputs, refused = self.fold_values([one.offset for one in run], [encoded(one.state) for one in run])
        assert refused == []
        return outputs


def new_fold(settings: MarketSettings = SETTINGS) -> MarketFold:
    return MarketFold(settings, partitions=PARTITIONS, judged_size_ms=2_000)


def encoded(state: AssetState) -> bytes:
    return CODEC.encode(STATE, state)


def fold(log: Sequence[Heard]) -> list[MarketOutput]:
    """What a fold of its own gives over a log."""
    return Fold().fold(log)


def log_of(states: Sequence[AssetState], *, first: int = 0) -> list[Heard]:
    return [Heard(first + i, one) for i, one in enumerate(states)]


def random_log(seed: int, seconds: int = 400) -> list[Heard]:
    """Waves in which more and fewer assets are exceptional, over three partitions whose times differ a little."""
    rng = random.Random(seed)
    states, wave = [], 0.0
    for tenth in range(seconds * 10):
        now = tenth * 100
        if rng.random() < 0.006:
            wave = rng.choice((0.0, 0.0, 0.1, 0.4, 0.9))
        for partition in range(PARTITIONS):
            at = now - 37 * partition
            if tenth % 10 == partition:
                states.append(state(at, partition=partition))
            if rng.random() < wave:
                asset = f"A{3 * rng.randrange(6) + partition}"
                states.append(
                    state(
                        at, asset, partition=partition, ratio=rng.choice((None, 0.4, 1.499999, 1.5, 1.5, 7.0)),
                        usd_per_s=round(rng.lognormvariate(9, 2), 6), long_share=rng.choice((0.0, 0.5, 1.0)),
                        level=rng.choice((Level.NONE, Level.NONE, Level.NONE, Level.WATCH)),
                    )
                )  # fmt: skip
    return log_of(states)


def alerts(outputs: Sequence[MarketOutput]) -> list[CascadeAlert]:
    return [one.record for one in outputs if isinstance(one.record, CascadeAlert)]
