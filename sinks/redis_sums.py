"""Liquidations of a batch as sums by minute and price level: what Redis is told. No connection, no clock."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Final

from schemas.errors import RecordRefused
from schemas.records import Liquidation
from sinks.levels import Levels

BUCKET_MS: Final = 60_000
LEVELS_MS: Final = 600_000  # seven hashes hold the last hour, which a reader gets in half a millisecond
TTL_MS: Final = 3_600_000
EVENTS: Final = "events"  # how many there are, beside the sums
# Redis counts up to 2^63: of such liquidations, nine billion USD each, 512 fit a batch and 1,024 a counter.
NOTIONAL_UUSD_MAX: Final = 2**53
BATCH_UUSD_MAX: Final = 2**62


class Minute:
    """What the events of one minute of an asset come to."""

    def __init__(self, levels: dict[str, int]) -> None:
        """`levels`: of its ten minutes."""
        self.levels = levels
        self.ids: set[str] = set()
        self.events: dict[str, int] = defaultdict(int)
        self.notional_uusd: dict[str, int] = defaultdict(int)


class Sums:
    """Liquidations of one batch, added up, so that Redis is told sums."""

    def __init__(self, levels: Levels, *, now_ms: int, without: Collection[str] = ()) -> None:
        """`without`: ids that Redis has counted already."""
        self._levels, self._now_ms, self._without = levels, now_ms, without
        self._minutes: dict[tuple[str, int], Minute] = {}
        self._periods: dict[tuple[str, int], dict[str, int]] = {}
        self._sum_uusd = 0

    def add(self, event: Liquidation, append_time_ms: int) -> None:
        """Count it in its minute, unless that one has expired. A time after the log's own is an exchange's clock."""
        uusd = _uusd(event)
        try:
            level = self._levels.of(event.asset)(event.price)
        except ValueError as exc:
            raise RecordRefused(f"counting {event.event_id}: {exc}") from exc
        if event.event_id in self._without:
            return
        number = min(event.event_time_ms, append_time_ms) // BUCKET_MS
        minute = self._minutes.get((event.asset, number))
        if minute is None:
            if (number + 1) * BUCKET_MS + TTL_MS <= self._now_ms:
                return
            minute = self._new_minute(event.asset, number)
        if event.event_id in minute.ids:
            return
        minute.ids.add(event.event_id)
        source = event.exchange + ":" + event.side
        minute.events[source] += 1
        minute.notional_uusd[source] += uusd
        minute.levels[event.side + ":" + level] += uusd
        minute.levels[EVENTS] += 1
        self._sum_uusd += uusd

    def steps(self) -> dict[str, tuple[list[str], list[str], int]]:
        """By key: ids of a set, field and sum by turns of a hash, and when the key goes.

        Raises RecordRefused when the batch is worth more than Redis adds at once; fewer records are worth less."""
        if self._sum_uusd >= BATCH_UUSD_MAX:
            raise RecordRefused(f"counting a batch of {self._sum_uusd // 10**6} USD: Redis adds less than 4.6e12 USD")
        steps: dict[str, tuple[list[str], list[str], int]] = {}
        for (asset, number), minute in self._minutes.items():
            end_ms = (number + 1) * BUCKET_MS + TTL_MS
            # Ids stay as long as what they were counted in, so that clocks that differ a little double nothing.
            last_ms = (number * BUCKET_MS // LEVELS_MS + 1) * LEVELS_MS + TTL_MS
            steps[f"liq:seen:{asset}:{number}"] = (list(minute.ids), [], last_ms)
            events = ((f"{source}:events", count) for source, count in minute.events.items())
            sums = ((f"{source}:notional_uusd", uusd) for source, uusd in minute.notional_uusd.items())
            steps[f"liq:bucket:{asset}:{number}"] = ([], _flat((*events, *sums)), end_ms)
        for (asset, number), levels in self._periods.items():
            last_ms = (number + 1) * LEVELS_MS + TTL_MS
            steps[f"liq:levels:{asset}:{number}"] = ([], _flat(levels.items()), last_ms)
        return steps

    def _new_minute(self, asset: str, number: int) -> Minute:
        levels = self._periods.setdefault((asset, number * BUCKET_MS // LEVELS_MS), defaultdict(int))
        minute = self._minutes[asset, number] = Minute(levels)
        return minute


def _uusd(event: Liquidation) -> int:
    uusd = event.notional_usd * 1e6
    if not 0 <= uusd < NOTIONAL_UUSD_MAX:
        raise RecordRefused(f"counting {event.event_id}: notional_usd {event.notional_usd} is not within 0 and 9e9 USD")
    return round(uusd)


def _flat(sums: Iterable[tuple[str, int]]) -> list[str]:
    return [part for field, amount in sums for part in (field, str(amount))]
