"""What lies in Redis, for programs that look: price levels of the last hour, the latest state of an asset.

One round trip a call. Levels that have not changed since the last call are not read again, so that a call takes well
under a millisecond on the same machine; `make bench NAME=sink` measures it."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from itertools import count
from typing import Any, Final

import msgspec

from runtime.clock import wall_clock_ms
from runtime.settings import RedisSettings
from schemas.errors import StoreUnavailable
from schemas.records import AssetState
from schemas.words import Side
from sinks.levels import ends, homes, widened
from sinks.redis import address, connect, errors
from sinks.redis_sums import EVENTS, LEVELS_MS, TTL_MS

LEVELS_MAX: Final = 300  # what a screen shows
# KEYS: the hashes of an asset; ARGV: how many events each had when it was read. Returns those that have others now.
READ_LEVELS: Final = """
local found = {}
for i, key in ipairs(KEYS) do
  found[i] = (redis.call('HGET', key, 'events') or '0') ~= ARGV[i] and redis.call('HGETALL', key)
end
return found
"""

Sums = dict[str, int]  # micro-USD by level


class PriceLevel(msgspec.Struct, frozen=True, gc=False):
    """Liquidations at prices within [low, high), micro-USD by the side of the position that was liquidated.

    Those of a side that is not known stand in Redis alone."""

    low: float
    high: float
    long_notional_uusd: int
    short_notional_uusd: int


class RedisView:
    """A connection to look through, for one thread. Everything raises StoreUnavailable, and goes on by itself later."""

    def __init__(self, settings: RedisSettings) -> None:
        """Connects with the first question. Raises SettingsError for an URL that is none."""
        self._settings, self._client = settings, connect(settings)
        self._read_levels = self._client.register_script(READ_LEVELS)
        self._hours: dict[str, _Hour] = defaultdict(_Hour)

    def levels(self, asset: str, *, now_ms: int | None = None) -> list[PriceLevel]:
        """Where an asset was liquidated within the last 60 to 70 minutes, lowest price first; at most 300 levels.

        Neighbours are joined where there would be more. `now_ms`: the present, unless given."""
        last = (wall_clock_ms() if now_ms is None else now_ms) // LEVELS_MS
        keys = [f"liq:levels:{asset}:{last - back}" for back in range(TTL_MS // LEVELS_MS + 1)]
        hour = self._hours[asset]
        with errors(self._settings, f"reading the levels of {asset}"):
            found = self._read_levels(keys=keys, args=[hour.events(key) for key in keys])
        hour.update(dict(zip(keys, found, strict=True)))
        return list(hour.levels)

    def state(self, asset: str) -> AssetState | None:
        """Its latest state, `*` for the market's; None where there was none within the last hour."""
        with errors(self._settings, f"reading the state of {asset}"):
            found: Any = self._client.get(f"state:{asset}")
        try:
            return None if found is None else msgspec.json.decode(found, type=AssetState)
        except msgspec.MsgspecError as exc:
            raise StoreUnavailable(f"reading state:{asset} at {address(self._settings)}: {exc}") from exc

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


class _Hour:
    """Hashes of an asset as they were read, and what they come to."""

    def __init__(self) -> None:
        self.levels: list[PriceLevel] = []
        self._hashes: dict[str, dict[str, int]] = {}
        self._sums: dict[str, Sums] = {side: defaultdict(int) for side in (Side.LONG, Side.SHORT)}
        self._shown: dict[str, str] = {}

    def events(self, key: str) -> int:
        """How many a hash had when it was read."""
        return self._hashes.get(key, {}).get(EVENTS, 0)

    def update(self, found: Mapping[str, list[str] | None]) -> None:
        """`found`: by key, field and value by turns; None for what is as it was. Other keys are no more."""
        changed = {key: parts for key, parts in found.items() if parts is not None}
        changed |= {key: [] for key in self._hashes if key not in found}
        for key, parts in changed.items():
            self._replace(key, dict(zip(parts[::2], map(int, parts[1::2]), strict=True)))
        if changed:
            longs, shorts = self._sums[Side.LONG], self._sums[Side.SHORT]
            if self._shown.keys() != longs.keys() | shorts.keys():
                self._shown = few(longs.keys() | shorts.keys())
            self.levels = joined(longs, shorts, self._shown)

    def _replace(self, key: str, hash_: dict[str, int]) -> None:
        before = self._hashes.pop(key, {})
        gone = {field: 0 for field in before.keys() - hash_.keys()}
        for field, uusd in (hash_ | gone).items():
            more = uusd - before.get(field, 0)
            side, _, level = field.partition(":") if more else ("", "", "")
            if side in self._sums:
                sums = self._sums[side]
                sums[level] += more
                if not sums[level]:
                    del sums[level]
        if hash_:
            self._hashes[key] = hash_


def joined(longs: Sums, shorts: Sums, shown: Mapping[str, str]) -> list[PriceLevel]:
    """Both sides in order. `shown`: where each level is."""
    sums = {level: [0, 0] for level in shown.values()}
    for level, home in shown.items():
        sides = sums[home]
        sides[0] += longs.get(level, 0)
        sides[1] += shorts.get(level, 0)
    return [PriceLevel(*ends(level), *sides) for level, sides in sums.items()]


def few(levels: Collection[str]) -> dict[str, str]:
    """At which of at most LEVELS_MAX levels each is shown, in order: as they are, or 2, 5, 10, 20, … times as wide."""
    for factor in (step * 10**power for power in count() for step in (1, 2, 5)):
        wide = {level: widened(level, factor) if factor > 1 else level for level in levels}
        shown = homes(set(wide.values()))
        if len(set(shown.values())) <= LEVELS_MAX:
            break
    found = {level: shown[one] for level, one in wide.items()}
    return dict(sorted(found.items(), key=lambda item: ends(item[1])))
