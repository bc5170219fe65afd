"""Records -> what to do in Redis, as one plan that a script applies at once. No connection, no clock.

The keys are described in docs/redis.md."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from schemas.codec import to_json
from schemas.errors import RecordRefused
from schemas.records import AssetState, CascadeAlert, Liquidation, Record
from schemas.words import StateKind
from sinks.connector import Position, SinkRecord
from sinks.levels import price_level

BUCKET_MS: Final = 60_000
TTL_MS: Final = 3_600_000
# Redis publishes to who listens now. An alert that waited out an outage is history by then: it is in the stream only.
PUBLISH_AGE_MS_MAX: Final = 60_000
STREAM_ALERTS_MAX: Final = 10_000  # about 2 kB each: 20 MB
# The script hands numbers to Redis as text; 2^53 micro-USD are nine billion USD, and 1,024 of them fit a counter.
NOTIONAL_UUSD_MAX: Final = 2**53

# ARGV[1]: the plan in MessagePack. KEYS: offsets, then hashes, sets and streams with their types in the plan.
# Everything that could refuse is asked before the first write, since Redis does not undo what a script wrote.
# Returns "" or the key that stands in the way.
APPLY: Final = """
local plan = cmsgpack.unpack(ARGV[1])
for i, step in ipairs(plan.offsets) do
  if (redis.call('GET', KEYS[i]) or '') ~= step[1] then return 'moved ' .. KEYS[i] end
end
local base = #plan.offsets
for i, kind in ipairs(plan.types) do
  local found = redis.call('TYPE', KEYS[base + i]).ok
  if found ~= 'none' and found ~= kind then return 'type ' .. KEYS[base + i] end
end
for i, step in ipairs(plan.offsets) do redis.call('SET', KEYS[i], step[2]) end
for i, bucket in ipairs(plan.buckets) do
  local counts, levels, seen = KEYS[base + 3 * i - 2], KEYS[base + 3 * i - 1], KEYS[base + 3 * i]
  for _, event in ipairs(bucket.events) do
    if redis.call('SADD', seen, event[1]) == 1 then
      redis.call('HINCRBY', counts, event[2] .. ':events', 1)
      redis.call('HINCRBY', counts, event[2] .. ':notional_uusd', event[4])
      redis.call('HINCRBY', levels, event[3], event[4])
    end
  end
  for _, key in ipairs({counts, levels, seen}) do redis.call('PEXPIREAT', key, bucket.expire_ms) end
end
for _, state in ipairs(plan.states) do redis.call('SET', state[1], state[2], 'PXAT', state[3]) end
for _, alert in ipairs(plan.alerts) do
  if alert.expire_ms == '' or redis.call('SET', 'alert:seen:' .. alert.id, 1, 'NX', 'PXAT', alert.expire_ms) then
    redis.call('XADD', 'alerts', 'MAXLEN', '~', plan.stream_alerts_max, '*', 'alert_id', alert.id, 'asset', alert.asset,
      'kind', alert.kind, 'level', alert.level, 'record', alert.record)
    if alert.expire_ms ~= '' then redis.call('SET', 'alert:' .. alert.asset, alert.record, 'PXAT', alert.expire_ms) end
    if alert.publish then redis.call('PUBLISH', 'alerts', alert.record) end
  end
end
return ''
"""


def plan(
    records: Sequence[SinkRecord], offsets: Mapping[str, tuple[int | None, int]], *, now_ms: int
) -> tuple[list[str], bytes]:
    """KEYS and the plan of one batch; `offsets`: by key, the expected and the next one.

    Raises RecordRefused when a value of a record has no place in Redis."""
    buckets: dict[tuple[str, int], list[tuple[str, str, str, str]]] = {}
    states: dict[str, tuple[str, str, str]] = {}
    alerts: list[dict[str, Any]] = []
    for record in records:
        match record.record:
            case Liquidation() as event:
                _count(buckets, event, record.append_time_ms, now_ms)
            case AssetState(kind=StateKind.ASSET) as state:
                expire_ms = record.append_time_ms + TTL_MS
                if expire_ms > now_ms:
                    states[state.asset] = (f"state:{state.asset}", _text(state), str(expire_ms))
            case CascadeAlert() as alert:
                alerts.append(_alert(alert, record.append_time_ms, now_ms))
    keys, types = list(offsets), []
    for asset, start_ms in buckets:
        keys += [f"liq:{what}:{asset}:{start_ms // BUCKET_MS}" for what in ("bucket", "levels", "seen")]
        types += ["hash", "hash", "set"]
    if alerts:
        keys, types = [*keys, "alerts"], [*types, "stream"]
    body = {
        "offsets": [("" if expected is None else str(expected), str(after)) for expected, after in offsets.values()],
        "types": types,
        "buckets": [
            {"expire_ms": str(start_ms + BUCKET_MS + TTL_MS), "events": events}
            for (_, start_ms), events in buckets.items()
        ],
        "states": list(states.values()),
        "alerts": alerts,
        "stream_alerts_max": str(STREAM_ALERTS_MAX),
    }
    return keys, msgspec.msgpack.encode(body)


def offset_key(sink: str, position: Position) -> str:
    """Where the next offset of a partition stands."""
    return f"offset:{sink}:{position[0]}:{position[1]}"


def _count(
    buckets: dict[tuple[str, int], list[tuple[str, str, str, str]]],
    event: Liquidation,
    append_time_ms: int,
    now_ms: int,
) -> None:
    """Put the event into its minute, unless that one has expired. A time after the log's own is an exchange's clock."""
    time_ms = min(event.event_time_ms, append_time_ms)
    start_ms = time_ms - time_ms % BUCKET_MS
    if not 0 <= event.notional_usd * 1e6 < NOTIONAL_UUSD_MAX:
        raise RecordRefused(f"counting {event.event_id}: notional_usd {event.notional_usd} is not within 0 and 9e9 USD")
    try:
        level = f"{event.side}:{price_level(event.price)}"
    except ValueError as exc:
        raise RecordRefused(f"counting {event.event_id}: {exc}") from exc
    if start_ms + BUCKET_MS + TTL_MS > now_ms:
        row = (event.event_id, f"{event.exchange}:{event.side}", level, str(round(event.notional_usd * 1e6)))
        buckets.setdefault((event.asset, start_ms), []).append(row)


def _alert(alert: CascadeAlert, append_time_ms: int, now_ms: int) -> dict[str, Any]:
    expire_ms = append_time_ms + TTL_MS
    return {
        "id": alert.alert_id,
        "asset": alert.asset,
        "kind": alert.kind,
        "level": alert.level,
        "record": _text(alert),
        "expire_ms": str(expire_ms) if expire_ms > now_ms else "",
        "publish": now_ms - append_time_ms <= PUBLISH_AGE_MS_MAX,
    }


def _text(record: Record) -> str:
    """JSON as text, since Redis' MessagePack does not know binary strings."""
    return to_json(record).decode()
