"""States and alerts of an asset, and progress records, as Avro: what `AssetState` and `CascadeAlert` say, in the order
of their fields. Floats are rounded half-even to 6 decimals."""

from typing import Final

import numpy as np

from processors.cascade.level import NONE
from processors.jit import inlined, part
from processors.metrics.metric import NOBODY
from processors.outputs.avro import (
    NULL,
    SOME,
    put_byte,
    put_bytes,
    put_double,
    put_id,
    put_long,
    put_name,
    put_piece,
    put_some_double,
    put_some_long,
    ratio,
    rounded,
)
from processors.outputs.words import ALERTS, COVERAGE_MAX, FLAG_MAX, NAME_MAX, PROGRESS, STATES
from processors.settings import RULES_MAX
from processors.windows.avro import HEADER, LONG_MAX
from processors.windows.context import RATE_ACCELERATION
from processors.windows.figures import (
    BEFORE,
    BEFORE_MICRO_USD,
    BOOSTED,
    CORRELATION,
    COUNT,
    EVENTS,
    FLAGS,
    JUDGED,
    LAG,
    LEADER,
    LONG_MICRO_USD,
    MICRO_USD,
    MOVER,
    NO_DATA,
    NUMBERS,
    PROBABILITY,
    RANK,
    RATIO,
    RELATIVE,
    TERMS,
    WINDOW,
    WINDOW_MICRO_USD,
)
from processors.windows.layout import LONG_AGO, MICRO, NANO, NO_PARTITION, Array
from processors.windows.memory import unsigned
from processors.windows.state import Out, State
from schemas.words import EXCHANGES_MAX, Level, Profile, Side, StateKind

# an alert, names and flags aside: 4 words of 1 byte, 3 longs, 8 + 7 doubles, its windows (at most 8), exchanges,
# 5 optional values of 1 + 8 bytes, 9 figures of context, coverage, 6 longs at the end, flags of custom rules
ALERT_MAX: Final = (
    16 + 5 * LONG_MAX + 16 * 9 + 8 * (2 * LONG_MAX + 5 * 9) + EXCHANGES_MAX * (NAME_MAX + 25) + 14 * 9 + COVERAGE_MAX
    + 8 * LONG_MAX + FLAG_MAX * (RULES_MAX + 1)
)  # fmt: skip
_ASSET, _PROGRESS = tuple(StateKind).index(StateKind.ASSET), tuple(StateKind).index(StateKind.PROGRESS)
_ABSOLUTE: Final = tuple(Profile).index(Profile.ABSOLUTE)
_LONG, _SHORT = tuple(Side).index(Side.LONG), tuple(Side).index(Side.SHORT)
_LEVEL_NONE, _UNKNOWN = tuple(Level).index(Level.NONE), 0


@part
def begin(kind: int, state: State) -> int:
    """Begin an output: the place behind its header."""
    at = state.out.counts[1]
    return put_bytes(state.out.data, at, state.words.headers[kind], 0, HEADER)


@part
def finish(kind: int, a: int, at: int, out: Out) -> None:
    """End an output at data[at]; `a` NOBODY for one of no asset."""
    number = out.counts[0]
    out.places[number, 0], out.places[number, 1], out.places[number, 2] = kind, a, at
    out.counts[0], out.counts[1] = number + 1, at


@part
def put_state(a: int, state: State) -> None:
    """State of an asset from `state.numbers`."""
    asset, data = state.assets[a], state.out.data
    at = put_long(data, begin(STATES, state), _ASSET)
    at = put_name(data, at, a, state.names)
    if asset.level > NONE:
        at = put_id(data, put_byte(data, at, SOME), a, state.names, asset.episode_ms, NOBODY)
    else:
        at = put_byte(data, at, NULL)
    finish(STATES, a, _put_common(at, a, asset.level, state), state.out)


@part
def put_alert(a: int, kind: int, previous: int, state: State) -> None:
    """The next alert of an asset's episode from `state.numbers`; `previous`: rank before it."""
    asset, data = state.assets[a], state.out.data
    at = put_id(data, begin(ALERTS, state), a, state.names, asset.episode_ms, asset.sequence)
    at = put_id(data, at, a, state.names, asset.episode_ms, NOBODY)
    at = put_long(data, at, asset.sequence)
    at = put_name(data, at, a, state.names)
    at = put_long(data, at, kind)
    finish(ALERTS, a, _put_common(at, a, previous, state), state.out)


@part
def put_progress(state: State) -> None:
    """How far the partition is."""
    time, data = state.clock[0], state.out.data
    at = put_long(data, begin(STATES, state), _PROGRESS)
    for byte in (0, NULL, _ABSOLUTE << 1, _LEVEL_NONE << 1, _LEVEL_NONE << 1, _LEVEL_NONE << 1, _LEVEL_NONE << 1):
        at = put_byte(data, at, byte)  # no asset, no episode, the profile, four levels
    for byte in (_UNKNOWN, NULL, _UNKNOWN):  # relative level and ratio, side
        at = put_byte(data, at, byte)
    at = put_double(data, put_double(data, at, 0.0), 1.0)  # probability, boost
    for _ in range(6):
        at = put_double(data, at, 0.0)
    for _ in range(2 + 4 + RATE_ACCELERATION + 1 + 2):  # windows and exchanges, figures, flags and coverage
        at = put_byte(data, at, NULL)
    at = put_byte(data, put_double(data, at, 0.0), NULL)  # confidence, breadth
    finish(PROGRESS, NOBODY, _put_position(at, time.now_ms, state), state.out)


@part
def _put_common(at: int, a: int, previous: int, state: State) -> int:
    """The fields from `profile` on, which states and alerts share."""
    asset, numbers, data, words = state.assets[a], state.numbers, state.out.data, state.words
    rule = state.rules[unsigned(asset.rule)]
    at = put_long(data, at, rule.profile)
    at = put_long(data, at, asset.level)
    at = put_long(data, at, previous)
    at = put_long(data, at, asset.peak)
    at = put_long(data, at, numbers[RANK])
    at = put_long(data, at, numbers[RELATIVE])
    at = put_byte(data, at, NULL) if numbers[RATIO] == NO_DATA else put_some_double(data, at, numbers[RATIO] / 1e6)
    at = put_long(data, at, _side(numbers))
    at = put_double(data, at, ratio(numbers[PROBABILITY], NANO))
    at = put_double(data, at, rule.boost if numbers[BOOSTED] else 1.0)
    at = _put_terms(data, at, numbers)
    at = _put_windows(at, state)
    at = _put_exchanges(at, state)
    at = _put_exchange(data, at, numbers[LEADER])
    at = _put_exchange(data, at, numbers[MOVER])
    if numbers[CORRELATION] == NO_DATA:
        at = put_byte(data, at, NULL)
    else:
        at = put_some_double(data, at, numbers[CORRELATION] / 1e6)
    at = put_byte(data, at, NULL) if numbers[LAG] == LONG_AGO else put_some_long(data, at, numbers[LAG])
    for i in range(RATE_ACCELERATION + 1):
        figure = asset.context[i]
        at = put_byte(data, at, NULL) if np.isnan(figure) else put_some_double(data, at, rounded(figure))
    at = _put_flags(at, a, state)
    at = put_piece(data, at, words.coverage, words.coverage_end[0])
    told = state.clock[0].told
    share = 1.0 - rule.weight_correlation / NANO if numbers[CORRELATION] == NO_DATA else 1.0
    at = put_byte(data, put_double(data, at, rounded(told * share)), NULL)  # no breadth
    return _put_position(at, asset.newest_ms, state)


@inlined
def _put_position(at: int, event_ms: int, state: State) -> int:
    """Source, newest event and T."""
    time, data = state.clock[0], state.out.data
    return put_long(data, put_long(data, put_source(at, state), event_ms), time.now_ms)


@part
def put_source(at: int, state: State) -> int:
    """Partition and offset of the liquidations; null in a fold over a file."""
    time, data = state.clock[0], state.out.data
    if time.partition == NO_PARTITION:
        return put_byte(data, put_byte(data, at, NULL), NULL)
    return put_some_long(data, put_some_long(data, at, time.partition), time.offset)


@part
def _side(numbers: Array) -> int:
    window = NUMBERS + numbers[JUDGED] * WINDOW
    balance = 2 * numbers[window + LONG_MICRO_USD] - numbers[window + WINDOW_MICRO_USD]
    if balance == 0:
        return _UNKNOWN
    return _LONG if balance > 0 else _SHORT


@inlined
def _put_terms(data: Array, at: int, numbers: Array) -> int:
    """Terms rounded so that they add up exactly to their rounded sum (`processors.cascade.score.published_terms`)."""
    total, missing = 0, 0
    for i in range(PROBABILITY):
        total += numbers[TERMS + i]
        missing -= numbers[TERMS + i] // 1_000
    half = total % 1_000
    missing += total // 1_000 + (half > 500 or (half == 500 and total // 1_000 & 1 == 1))
    for i in range(PROBABILITY):
        rest, rank = numbers[TERMS + i] % 1_000, 0
        for k in range(PROBABILITY):
            other = numbers[TERMS + k] % 1_000
            rank += other > rest or (other == rest and k < i)
        at = put_double(data, at, (numbers[TERMS + i] // 1_000 + (rank < missing)) / 1e6)
    return at


@inlined
def _put_windows(at: int, state: State) -> int:
    numbers, data = state.numbers, state.out.data
    count = state.sizes.shape[0]
    at = put_long(data, at, count)
    for s in range(count):
        size_ms = state.sizes[s].size_ms
        window = unsigned(NUMBERS + s * WINDOW)
        events, micro_usd = numbers[window + COUNT], numbers[window + WINDOW_MICRO_USD]
        at = put_long(data, put_long(data, at, size_ms), events)
        at = put_double(data, at, ratio(events * 1_000, size_ms))
        at = put_double(data, at, ratio(micro_usd, size_ms * 1_000))
        at = put_double(data, at, ratio((events - numbers[window + BEFORE]) * MICRO, size_ms * size_ms))
        at = put_double(data, at, ratio(micro_usd - numbers[window + BEFORE_MICRO_USD], size_ms * size_ms))
        if micro_usd:
            at = put_some_double(data, at, ratio(numbers[window + LONG_MICRO_USD], micro_usd))
        else:
            at = put_byte(data, at, NULL)
    return put_byte(data, at, 0)


@inlined
def _put_exchanges(at: int, state: State) -> int:
    """Figures of the exchanges that are known."""
    numbers, data, words, known = state.numbers, state.out.data, state.words, state.clock[0].known
    judged = numbers[JUDGED]
    size_ms, total = state.sizes[judged].size_ms, numbers[NUMBERS + judged * WINDOW + WINDOW_MICRO_USD]
    count = 0
    for slot in range(words.exchanges.shape[0]):
        count += known[slot]
    if count:
        at = put_long(data, at, count)
    for slot in range(words.exchanges.shape[0]):
        if not known[slot]:
            continue
        events, micro_usd = numbers[EVENTS + slot], numbers[MICRO_USD + slot]
        at = put_piece(data, at, words.exchanges[slot], words.exchange_ends[slot])
        at = put_double(data, at, ratio(events * 1_000, size_ms))
        at = put_double(data, at, ratio(micro_usd, size_ms * 1_000))
        at = put_double(data, at, ratio(micro_usd, total) if total else 0.0)
        at = put_byte(data, at, 1 if events else 0)
    return put_byte(data, at, 0)


@part
def _put_exchange(data: Array, at: int, slot: int) -> int:
    return put_byte(data, at, NULL) if slot == NOBODY else put_some_long(data, at, slot)


@inlined
def _put_flags(at: int, a: int, state: State) -> int:
    """Flags of the sizes, custom rules that were met within the hold, and whether the asset is muted."""
    flags, data, words = state.numbers[FLAGS], state.out.data, state.words
    rule, ends = state.assets[a].rule, words.rule_ends[state.assets[a].rule]
    count = 0
    for s in range(state.sizes.shape[0]):
        count += flags >> s & 1
    for number in range(ends.shape[0]):
        count += _is_flag(a, number, state)
    if count:
        at = put_long(data, at, count)
    for s in range(state.sizes.shape[0]):
        if flags >> s & 1:
            at = put_piece(data, at, words.flags[s], words.flag_ends[s])
    for number in range(ends.shape[0]):
        if _is_flag(a, number, state):
            at = put_piece(data, at, words.rules[rule, number], ends[number])
    return put_byte(data, at, 0)


@part
def _is_flag(a: int, number: int, state: State) -> bool:
    rule = state.rules[state.assets[a].rule]
    if number == RULES_MAX:
        return bool(rule.mute)
    return bool(number < rule.custom and state.clock[0].now_ms - state.weeks[a].met_ms[number] < rule.hold_ms)
