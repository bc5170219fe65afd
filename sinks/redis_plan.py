"""Records -> what to do in Redis, as one plan that a script applies at once. No connection, no clock.

The keys are described in docs/redis.md."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from schemas.codec import to_json
from schemas.records import AssetState, CascadeAlert, Liquidation, Record
from schemas.words import StateKind
from sinks.connector import Position, SinkRecord
from sinks.levels import Levels
from sinks.redis_sums import TTL_MS, Sums

# Redis publishes to who listens now. An alert that waited out an outage is history by then: it is in the stream only.
PUBLISH_AGE_MS_MAX: Final = 60_000
STREAM_ALERTS_MAX: Final = 10_000  # about 2 kB each: 20 MB
IDS_MAX: Final = 4_000  # of one command; Lua hands over at most 8,000 arguments

# ARGV[1]: the plan in MessagePack. KEYS: offsets, then sets, hashes and streams with their types in the plan.
# Everything that could refuse is asked before the first write, since Redis does not undo what a script wrote; only a
# counter that is full cannot be known then, and stays as it is. Returns what stands in the way, or {}:
# {"moved" or "type", key} or {"repeated", event_id, …}, and nothing was written; {"full", key} and the rest was.
APPLY: Final = """
local plan = cmsgpack.unpack(ARGV[1])
local base = #plan.offsets
for i, step in ipairs(plan.offsets) do
  if (redis.call('GET', KEYS[i]) or '') ~= step[1] then return {'moved', KEYS[i]} end
end
local new = {}
for i, kind in ipairs(plan.types) do
  local found = redis.call('TYPE', KEYS[base + i]).ok
  if found == 'none' then new[i] = true elseif found ~= kind then return {'type', KEYS[base + i]} end
end
local repeated = {'repeated'}
for _, seen in ipairs(plan.seen) do
  if not new[seen[1]] then
    for i, there in ipairs(redis.call('SMISMEMBER', KEYS[base + seen[1]], unpack(seen[2]))) do
      if there == 1 then repeated[#repeated + 1] = seen[2][i] end
    end
  end
end
if #repeated > 1 then return repeated end
local answer = {}
for i, step in ipairs(plan.offsets) do redis.call('SET', KEYS[i], step[2]) end
for _, seen in ipairs(plan.seen) do redis.call('SADD', KEYS[base + seen[1]], unpack(seen[2])) end
for _, counts in ipairs(plan.counts) do
  local key, fields = KEYS[base + counts[1]], counts[2]
  for i = 1, #fields, 2 do
    if type(redis.pcall('HINCRBY', key, fields[i], fields[i + 1])) == 'table' then answer = {'full', key} end
  end
end
for i, expire_ms in ipairs(plan.expire_ms) do
  if new[i] then redis.call('PEXPIREAT', KEYS[base + i], expire_ms) end
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
return answer
"""


def plan(
    records: Sequence[SinkRecord],
    offsets: Mapping[str, tuple[int | None, int]],
    levels: Levels,
    *,
    now_ms: int,
    without: Collection[str] = (),
) -> tuple[list[str], bytes]:
    """KEYS and the plan of one batch. `offsets`: by key, the expected and the next one; `without`: as in `Sums`.

    Raises RecordRefused when a value of a record has no place in Redis."""
    sums = Sums(levels, now_ms=now_ms, without=without)
    states: dict[str, tuple[AssetState, int]] = {}
    alerts: list[dict[str, Any]] = []
    for record in records:
        match record.record:
            case Liquidation() as event:
                sums.add(event, record.append_time_ms)
            case AssetState(kind=StateKind.ASSET) as state:
                states[state.asset] = (state, record.append_time_ms + TTL_MS)
            case CascadeAlert() as alert:
                alerts.append(_alert(alert, record.append_time_ms, now_ms))
    steps = sums.steps()
    body = {
        "offsets": [("" if expected is None else str(expected), str(after)) for expected, after in offsets.values()],
        "types": ["set" if ids else "hash" for ids, _, _ in steps.values()] + ["stream"] * bool(alerts),
        "seen": [
            (place, ids[first : first + IDS_MAX])
            for place, (ids, _, _) in enumerate(steps.values(), 1)
            for first in range(0, len(ids), IDS_MAX)
        ],
        "counts": [(place, fields) for place, (_, fields, _) in enumerate(steps.values(), 1) if fields],
        "expire_ms": [str(expire_ms) for _, _, expire_ms in steps.values()],
        "states": [
            (f"state:{asset}", _text(state), str(expire_ms))
            for asset, (state, expire_ms) in states.items()
            if expire_ms > now_ms
        ],
        "alerts": alerts,
        "stream_alerts_max": str(STREAM_ALERTS_MAX),
    }
    return [*offsets, *steps, *["alerts"] * bool(alerts)], msgspec.msgpack.encode(body)


def offset_key(sink: str, position: Position) -> str:
    """Where the next offset of a partition stands."""
    return f"offset:{sink}:{position[0]}:{position[1]}"


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
