"""Contagion: how the USD/s of one asset follows that of another. Pure.

USD/s of an asset stand in bins of a second, in whole thousands of USD, over the last minute and the longest lag."""

from collections.abc import Mapping, Sequence
from operator import mul
from typing import Final, NamedTuple

from processors.metrics.correlation import pearson

SPAN_S: Final = 60
FOLLOWERS_MAX: Final = 8  # of one leader: those with most USD
KUSD_MAX: Final = 1_000_000  # a billion USD/s; its square times 60 bins fits an int64
EVENT_BINS_MIN: Final = 3  # with fewer seconds in which anything happened every pair looks alike


class Follower(NamedTuple):
    """An asset whose USD/s follow the leader's, and by how much."""

    asset: str
    lag_s: int
    correlation: float


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
