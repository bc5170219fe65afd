"""Which contract of an asset has which row of the context, and what it may hold."""

from math import isfinite, nan
from typing import Final, NamedTuple

from processors.metrics.open_interest import SPANS, STEP_MS, change_pct
from processors.windows.context import (
    NOBODY,
    RATE_SLACK_MS,
    SOURCES_MAX,
    Context,
    interest_sums,
    new_context,
    put_interest,
    put_rate,
)
from processors.windows.layout import Array
from schemas.records import Funding, OpenInterest
from schemas.words import EXCHANGE_SLOTS, Exchange, Market

ROWS_FIRST: Final = 16  # made at once in the beginning; then doubled
GONE_MS: Final = 86_400_000  # a source that was silent for so long gives its place to a new one
COINS_MAX: Final = 1e18  # of one contract; the coin with most has 1e15 in all
USD_MAX: Final = 1e13
RATE_MAX: Final = 1.0  # 100 % in 8 h; the highest cap of an exchange is 4 % an interval
INTERVAL_HOURS_MAX: Final = 24.0
MARKETS: Final = {market: number for number, market in enumerate(Market)}
Name = tuple[str, str]  # exchange and instrument


class InterestFigures(NamedTuple):
    """Change of open interest over 1 min, 5 min and 1 h in % of coins, and over 1 min in USD/s; None without data."""

    change_1m_pct: float | None
    change_5m_pct: float | None
    change_1h_pct: float | None
    usd_per_s: float | None


class Sources:
    """Context of the assets of one partition, by row of the asset."""

    def __init__(self) -> None:
        self.context: Context = new_context(0, ROWS_FIRST)
        self.count = 0  # rows in use
        self._names: list[list[Name]] = []  # by asset, in the order of `of_asset`

    def grow(self, assets: int) -> None:
        """Make room for so many assets."""
        new, kept = new_context(assets, 0), len(self.context.of_asset)
        new.of_asset[:kept], new.totals[:kept] = self.context.of_asset, self.context.totals
        self.context = Context(new.of_asset, new.totals, *self.context[2:])
        self._names += [[] for _ in range(assets - kept)]

    def names(self, asset: int) -> list[Name]:
        """Sources of an asset, in their order."""
        return self._names[asset]

    def rows(self, asset: int) -> Array:
        """Their rows."""
        rows: Array = self.context.of_asset[asset][: len(self._names[asset])]
        return rows

    def add(self, asset: int, name: Name, now_ms: int) -> int:
        """Row of a source, made when it is new; NOBODY when the asset has too many that are still heard."""
        names = self._names[asset]
        if name in names:
            return int(self.context.of_asset[asset, names.index(name)])
        if len(names) == SOURCES_MAX:
            rows = self.context.of_asset[asset]
            place = int(self.context.sources["heard_ms"][rows].argmin())
            if now_ms - self.context.sources["heard_ms"][rows[place]] <= GONE_MS:
                return NOBODY
            row = int(rows[place])
            names[place] = name
            for array, empty in zip(self.context[2:], new_context(0, 1)[2:], strict=True):
                array[row] = empty[0]
        else:
            row = self._new_row()
            self.context.of_asset[asset, len(names)] = row
            names.append(name)
        self.context.sources[row]["slot"] = EXCHANGE_SLOTS[name[0]]
        return row

    def hear(self, asset: int, assets: Array, record: OpenInterest | Funding, append_ms: int) -> bool:
        """Take a record that was appended to its topic at `append_ms`; False when it is refused: nothing changed."""
        if record.exchange is Exchange.UNKNOWN or append_ms < 0:
            return False
        if not (_interest_fits(record) if isinstance(record, OpenInterest) else _rate_fits(record)):
            return False
        row = self.add(asset, (record.exchange.value, record.instrument), append_ms)
        if row == NOBODY:
            return False
        self.context.sources[row]["market"] = MARKETS[record.market]
        if isinstance(record, OpenInterest):
            coins, usd = (
                nan if value is None else float(value) for value in (record.open_interest, record.open_interest_usd)
            )
            put_interest(asset, row, append_ms, coins, usd, assets, self.context)
        else:
            until_ms = record.event_time_ms + round(record.interval_hours * 3_600_000) + RATE_SLACK_MS
            put_rate(asset, row, append_ms, record.rate_8h, record.event_time_ms, until_ms, assets, self.context)
        return True

    def interest(self, asset: int, now_ms: int) -> dict[tuple[Exchange, Market], InterestFigures]:
        """Figures by exchange and market as they stand at `now_ms`."""
        places = sorted(
            {(int(row["slot"]), int(row["market"])) for row in self.context.sources[self.rows(asset)]},
        )
        exchanges, markets = tuple(Exchange), tuple(Market)
        return {
            (exchanges[slot], markets[market]): self._interest(asset, now_ms // STEP_MS, slot, market)
            for slot, market in places
        }

    def nbytes(self, assets: int) -> int:
        """Bytes of the rows in use."""
        of_assets = sum(array[:assets].nbytes for array in self.context[:2])
        return of_assets + sum(array[: self.count].nbytes for array in self.context[2:])

    def _interest(self, asset: int, step: int, slot: int, market: int) -> InterestFigures:
        context = self.context
        changes = [
            change_pct(*interest_sums(asset, step, span, context.coins, slot, market, context)) for span in SPANS
        ]
        before, after = interest_sums(asset, step, SPANS[0], context.usd, slot, market, context)
        usd_per_s = (after - before) / (SPANS[0] * STEP_MS / 1_000)
        one, five, hour, velocity = (None if value != value else round(value, 6) for value in (*changes, usd_per_s))
        return InterestFigures(one, five, hour, velocity)

    def _new_row(self) -> int:
        row = self.count
        if row == len(self.context.sources):
            new = new_context(0, 2 * row)
            for array, old in zip(new[2:], self.context[2:], strict=True):
                array[:row] = old
            self.context = Context(*self.context[:2], *new[2:])
        self.count += 1
        return row


def _interest_fits(record: OpenInterest) -> bool:
    coins, usd = record.open_interest, record.open_interest_usd
    return (coins is not None or usd is not None) and all(
        value is None or (isfinite(value) and 0 <= value <= most)
        for value, most in ((coins, COINS_MAX), (usd, USD_MAX))
    )


def _rate_fits(record: Funding) -> bool:
    return (
        isfinite(record.rate_8h)
        and abs(record.rate_8h) <= RATE_MAX
        and 0 < record.interval_hours <= INTERVAL_HOURS_MAX
        and record.event_time_ms >= 0
    )
