"""What happens at the exchanges in a scenario: a seeded stream of liquidations over simulated time. No clock.

A cascade is waves some seconds apart that build, peak and ebb, as in the crash of 2025-10-10, where liquidations came
in blocks about 6 s apart and the rate rose two orders of magnitude within a minute or two. All figures are our own.
Binance shows one order a symbol and second, so what can be seen of the density is at Bybit and OKX."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.errors import SettingsError
from schemas.words import Side
from stack.simulator.instruments import ASSETS, COIN_MARGINED_ASSETS

Floats = NDArray[np.float64]


class SimulatedLiquidation(NamedTuple):
    """A position of `side` and `coins` that is liquidated at `price` USD a coin, `at_ms` after the scenario began."""

    at_ms: int
    exchange: str
    asset: str
    side: Side
    coins: float
    price: float
    coin_margined: bool


class Burst(NamedTuple):
    """A bell of liquidations, BTC's of all exchanges together, around `at_s`."""

    at_s: float
    peak_per_s: float
    width_s: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """One cycle: calm, with bursts that spread. `spread`: 1 = seconds between exchanges and assets, 0 = all at once.
    `rebound`: of the fall that is won back at the end; 1 where another cycle follows, so that no price jumps.
    `bounce_s`: a long goes at the lower of the prices of now and so long ago, a short at the higher one."""

    length_s: int
    bursts: tuple[Burst, ...] = ()
    spread: float = 1.0
    rebound: float = 0.35
    bounce_s: float = 0.0
    endless: bool = False


_WAVES: Final = (
    Burst(7.0, 8.0, 1.2), Burst(11.5, 35.0, 1.2), Burst(16.0, 120.0, 1.3), Burst(20.5, 400.0, 1.5),
    Burst(25.0, 160.0, 1.4), Burst(29.5, 50.0, 1.3), Burst(34.0, 12.0, 1.2),
)  # fmt: skip
SCENARIOS: Final = {
    "calm": Scenario(60),
    "cascade": Scenario(60, _WAVES),
    "flash": Scenario(20, (Burst(6.0, 900.0, 0.18),), spread=0.05),
    "soak": Scenario(150, _WAVES, rebound=1.0, bounce_s=8.0, endless=True),
}
EXCHANGES: Final = ("binance", "bybit", "okx", "gate", "bitget", "hyperliquid")
# Of the rates above, which are those of the three large ones: the others come on top.
_EXCHANGE_SHARES: Final = {
    "binance": 0.3, "bybit": 0.4, "okx": 0.3, "gate": 0.12, "bitget": 0.15, "hyperliquid": 0.12,
}  # fmt: skip
_CALM_PER_S: Final = 4.0  # all assets and exchanges together
_CALM_LONG_SHARE: Final = 0.5
_BURST_LONG_SHARE: Final = 0.96  # prices fall, so longs go
_ASSET_DELAY_S_MAX: Final = 4.0  # a cascade reaches the last asset that much after BTC
_EXCHANGE_DELAYS_S: Final = (0.0, 0.9, 1.6, 1.9, 2.2, 2.5)  # of the exchanges, as the cascade reaches them
_COIN_MARGINED_SHARE: Final = 0.08
_FALL_MAX: Final = 0.07  # BTC's fall from calm to the end of the cascade; others up to twice that
_NOTIONAL_USD_SIGMA: Final = 1.5  # lognormal: the mean is exp(sigma²/2) = 3.1 medians
_NOTIONAL_USD_MEDIAN_BTC: Final = 40_000.0
_NOTIONAL_USD_MAX: Final = 8_000_000.0
_SLAB_MS: Final = 1_000  # liquidations are drawn slab by slab, so a stream takes no more memory the longer it runs
_STEP_MS: Final = 10


def liquidations(name: str, *, seed: int, repeat: bool = False) -> Iterator[SimulatedLiquidation]:
    """The scenario's liquidations in order of time; equal arguments give an equal stream.

    repeat: begin again, with other dice, when the cycle is over. Raises SettingsError for an unknown name."""
    if name not in SCENARIOS:
        raise SettingsError(f"scenario: {name!r} is unknown; choose one of {', '.join(SCENARIOS)}")
    return _stream(SCENARIOS[name], seed, repeat)


def _stream(scenario: Scenario, seed: int, repeat: bool) -> Iterator[SimulatedLiquidation]:
    for cycle in count():
        yield from _Cycle(scenario, seed, cycle).play(start_ms=cycle * scenario.length_s * 1000)
        if not (repeat or scenario.endless):
            return


class _Cycle:
    """One cycle of a scenario with its dice. A cell is an exchange and an asset: cell = exchange x assets + asset."""

    def __init__(self, scenario: Scenario, seed: int, cycle: int) -> None:
        self._scenario = scenario
        self._dice = np.random.default_rng([seed, cycle])
        leader = "bybit" if self._dice.random() < 0.5 else "okx"
        order = [leader, *(exchange for exchange in EXCHANGES if exchange != leader)]
        exchange_delays = np.array([_EXCHANGE_DELAYS_S[order.index(exchange)] for exchange in EXCHANGES])
        asset_delays = self._dice.uniform(0.5, _ASSET_DELAY_S_MAX, len(ASSETS))
        asset_delays[0] = 0.0
        shares = np.array([_EXCHANGE_SHARES[exchange] for exchange in EXCHANGES])
        weights = np.array([asset.weight for asset in ASSETS])
        self._delays_s: Floats = (np.add.outer(exchange_delays, asset_delays) * scenario.spread).ravel()
        self._calm: Floats = np.outer(shares, weights / weights.sum()).ravel() * _CALM_PER_S
        self._burst_shares: Floats = np.outer(shares, (weights / weights[0]) ** 1.6).ravel()
        self._falls: Floats = _FALL_MAX * np.concatenate([[1.0], self._dice.uniform(0.8, 2.0, len(ASSETS) - 1)])
        self._total = sum(burst.peak_per_s * burst.width_s for burst in scenario.bursts)

    def play(self, start_ms: int) -> Iterator[SimulatedLiquidation]:
        """All of one play, in the order of time; `start_ms` is when it begins."""
        for slab_ms in range(0, self._scenario.length_s * 1000, _SLAB_MS):
            times_ms = np.arange(slab_ms, slab_ms + _SLAB_MS, _STEP_MS)
            bursts = self._burst_rates(times_ms / 1000)
            counts = self._dice.poisson((self._calm + bursts) * (_STEP_MS / 1000))
            steps, cells = np.nonzero(counts)
            numbers = counts[steps, cells]
            steps, cells = np.repeat(steps, numbers), np.repeat(cells, numbers)
            at_ms = times_ms[steps] + self._dice.integers(0, _STEP_MS, len(steps))
            for index in np.argsort(at_ms, kind="stable"):
                cell = int(cells[index])
                rate = float(bursts[steps[index], cell])
                yield self._draw(int(at_ms[index]), start_ms, cell, rate / (rate + float(self._calm[cell])))

    def _burst_rates(self, times_s: Floats) -> Floats:
        """Liquidations/s in bursts: a row a time, a column a cell."""
        rates = np.zeros((len(times_s), len(self._delays_s)))
        local_s = times_s[:, None] - self._delays_s[None, :]
        for burst in self._scenario.bursts:
            rates += burst.peak_per_s * np.exp(-0.5 * ((local_s - burst.at_s) / burst.width_s) ** 2)
        return np.asarray(rates * self._burst_shares)

    def _draw(self, at_ms: int, start_ms: int, cell: int, burst_share: float) -> SimulatedLiquidation:
        exchange, asset_index = EXCHANGES[cell // len(ASSETS)], cell % len(ASSETS)
        asset = ASSETS[asset_index]
        long_share = _CALM_LONG_SHARE + (_BURST_LONG_SHARE - _CALM_LONG_SHARE) * burst_share
        side = Side.LONG if self._dice.random() < long_share else Side.SHORT
        median_usd = _NOTIONAL_USD_MEDIAN_BTC * math.sqrt(asset.weight / ASSETS[0].weight)
        notional_usd = min(median_usd * float(self._dice.lognormal(0.0, _NOTIONAL_USD_SIGMA)), _NOTIONAL_USD_MAX)
        price = asset.price_usd * self._price_level(at_ms / 1000 - float(self._delays_s[cell]), asset_index, side)
        coin_margined = asset.name in COIN_MARGINED_ASSETS[exchange] and self._dice.random() < _COIN_MARGINED_SHARE
        return SimulatedLiquidation(
            start_ms + at_ms, exchange, asset.name, side, notional_usd / price, price, coin_margined
        )

    def _price_level(self, at_s: float, asset_index: int, side: Side) -> float:
        """Price as a part of the price at the start. Longs go in dips, shorts in bounces, whichever way prices move."""
        noise = 1.0 + 0.0004 * float(self._dice.standard_normal())
        if not self._scenario.bursts:
            return noise
        levels = self._trend(at_s, asset_index), self._trend(at_s - self._scenario.bounce_s, asset_index)
        return noise * (min(levels) if side is Side.LONG else max(levels))

    def _trend(self, at_s: float, asset_index: int) -> float:
        """It falls as bursts pass, and wins back a part near the end."""
        passed = sum(
            burst.peak_per_s * burst.width_s * _bell_passed((at_s - burst.at_s) / burst.width_s)
            for burst in self._scenario.bursts
        )
        rebound = self._scenario.rebound * _bell_passed((at_s - 0.8 * self._scenario.length_s) / 3.0)
        return 1.0 - float(self._falls[asset_index]) * (passed / self._total - rebound)


def _bell_passed(deviations: float) -> float:
    """Part of a normal bell that lies below."""
    return 0.5 * (1.0 + math.erf(deviations / math.sqrt(2.0)))
