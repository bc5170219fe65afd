"""The market of one exchange: mark prices, open interest and funding of its contracts. No clock.

Liquidations move it: the price of the last one in an asset is the asset's mark, and what was liquidated is no longer
open. Open interest is one side's here; what an exchange reports of it, and in which unit, its own file knows."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple
from zlib import crc32

from stack.simulator.instruments import ASSETS, Instrument, price_usd

HOUR_MS: Final = 3_600_000
_OPEN_INTEREST_USD_BTC: Final = 1.5e9  # others by their part of the liquidations; coin-margined: a tenth
_COIN_MARGINED_SHARE: Final = 0.1
_FLOOR: Final = 0.2  # of the first open interest: it never falls below
_RATE_STEP: Final = Decimal("0.000005")
_RATE_STEPS_MIN, _RATE_STEPS_MAX = -20, 60  # -0.01 % to 0.03 % a settlement
_WEIGHTS: Final = {asset.name: asset.weight for asset in ASSETS}


class Settlement(NamedTuple):
    """Funding that is charged, or was, at a time."""

    time_ms: int
    rate: Decimal


class Market:
    """`liquidated` moves it, the rest asks. Quantities are coins of one side, prices USD a coin."""

    def __init__(self, *, hourly: bool = False) -> None:
        """hourly: this exchange settles funding every hour, whatever the contract."""
        self._hourly = hourly
        self._prices: dict[str, float] = {}  # by asset
        self._open: dict[str, float] = {}  # coins, by symbol

    def liquidated(self, instrument: Instrument, *, coins: float, price: float) -> None:
        """A position is gone, at that price."""
        self._prices[instrument.asset] = price
        first = self._first_coins(instrument)
        self._open[instrument.symbol] = max(self._open.get(instrument.symbol, first) - coins, first * _FLOOR)

    def price(self, instrument: Instrument) -> float:
        """Mark price, USD a coin."""
        return self._prices.get(instrument.asset, price_usd(instrument.asset))

    def open_coins(self, instrument: Instrument) -> float:
        """Open interest of one side, coins."""
        return self._open.get(instrument.symbol, self._first_coins(instrument))

    def open_usd(self, instrument: Instrument) -> float:
        """Open interest of one side, USD at the mark price."""
        return self.open_coins(instrument) * self.price(instrument)

    def interval_hours(self, instrument: Instrument) -> int:
        """Between two settlements: 8, 4 for some of the smaller assets; 1 where all settle hourly."""
        if self._hourly:
            return 1
        return 4 if _WEIGHTS.get(instrument.asset, 0.0) < 2 and crc32(instrument.asset.encode()) % 2 else 8

    def next_funding(self, instrument: Instrument, now_ms: int) -> Settlement:
        """The settlement after now, with the rate that is predicted (and will be) charged."""
        interval_ms = self.interval_hours(instrument) * HOUR_MS
        return self._settlement(instrument, now_ms - now_ms % interval_ms + interval_ms)

    def settled(self, instrument: Instrument, start_ms: int, end_ms: int) -> list[Settlement]:
        """Settlements within [start, end], oldest first."""
        interval_ms = self.interval_hours(instrument) * HOUR_MS
        first_ms = -(-start_ms // interval_ms) * interval_ms
        return [self._settlement(instrument, time_ms) for time_ms in range(first_ms, end_ms + 1, interval_ms)]

    def _settlement(self, instrument: Instrument, time_ms: int) -> Settlement:
        spread = _RATE_STEPS_MAX - _RATE_STEPS_MIN + 1
        steps = crc32(f"{instrument.symbol}:{time_ms}".encode()) % spread + _RATE_STEPS_MIN
        return Settlement(time_ms, steps * _RATE_STEP)

    def _first_coins(self, instrument: Instrument) -> float:
        usd = _OPEN_INTEREST_USD_BTC * _WEIGHTS.get(instrument.asset, 0.5) / _WEIGHTS["BTC"]
        share = _COIN_MARGINED_SHARE if instrument.coin_margined else 1.0
        return usd * share / price_usd(instrument.asset)


def window(query: Mapping[str, str], start: str, end: str, now_ms: int, *, default_ms: int) -> tuple[int, int]:
    """From and to in ms, of a query that may lack either; `default_ms` before the end."""
    end_ms = int(query[end]) if query.get(end, "").isdigit() else now_ms
    start_ms = int(query[start]) if query.get(start, "").isdigit() else end_ms - default_ms
    return start_ms, min(end_ms, now_ms)
