"""The compiled fold of a run of signals.state: it goes on until something is to be published or needs help."""

from typing import Final, NamedTuple

from processors.cascade.level import NONE
from processors.jit import inlined, jit, part
from processors.market.layout import (
    EXCEPTIONAL,
    NOBODY,
    SECONDS,
    TABLE,
    WATCHED,
    Assets,
    State,
)
from processors.market.reader import READ, read
from processors.windows.layout import LONG_AGO, Array
from schemas.words import LEVEL_RANKS, StateKind

# why `advance` stops, besides LEFT of the reader
DONE, NEW_ASSET, FELL, SECOND_PASSES, RAISED, UPDATED = range(2, 8)
NEXT, _FALL, _SECOND, _HEAR, _HEARD = range(5)  # phases of a record
_ASSET: Final = tuple(StateKind).index(StateKind.ASSET)
_WATCH: Final = LEVEL_RANKS["WATCH"]
_MARKET: Final = ord("*")
_FNV_START, _FNV_FACTOR = 0x811C9DC5, 0x01000193


class Run(NamedTuple):
    """Records in the order of their offsets."""

    data: Array  # uint8: the values one behind the other, and PADDING
    ends: Array  # int64 [record]
    offsets: Array  # int64 [record]


@jit
def advance(run: Run, header: int, state: State) -> int:
    """Go on with the run at `clock.at` until DONE or anything that Python is to do, then call it again."""
    time, told = state.clock[0], state.told.numbers[0]
    while time.at < run.ends.shape[0]:
        if time.phase == NEXT:
            begin = run.ends[time.at - 1] if time.at else 0
            how = read(run.data, begin, run.ends[time.at], header, state.sizes, state.told)
            if how != READ:
                return how
            own = told.name_end - told.name_begin == 1 and run.data[told.name_begin] == _MARKET
            if own or told.append_ms < state.progress_ms[told.partition]:
                time.at += 1  # its own, or told again
                continue
            _take_time(run, state)
            time.phase = _FALL
        if time.phase == _FALL:
            time.phase = _SECOND
            if _falls(state):
                return FELL
        if time.phase == _SECOND:
            time.phase = _HEAR
            if time.passes:
                _forget(state)
                _justify(state)
                return SECOND_PASSES
        if time.phase == _HEAR:
            if told.kind == _ASSET:
                time.row = row_of(run.data, told.name_begin, told.name_end, state.assets)
                if time.row == NOBODY:
                    return NEW_ASSET
                time.phase = _HEARD
                if _hear(state):
                    due = _judge(state)
                    if due != DONE:
                        return due
            else:
                time.row = NOBODY
        if time.row != NOBODY and not time.watched:  # its level was held for as long as it should be
            state.assets.last_ms[time.row, WATCHED] = LONG_AGO
        time.at += 1
        time.phase = NEXT
    return DONE


@inlined
def _take_time(run: Run, state: State) -> None:
    time, told = state.clock[0], state.told.numbers[0]
    time.offset = run.offsets[time.at]
    state.progress_ms[told.partition] = told.append_ms
    before_s = time.now_ms // 1_000
    time.now_ms = max(time.now_ms, told.append_ms)
    time.passes = time.now_ms // 1_000 > before_s


@inlined
def _falls(state: State) -> bool:
    """Whether the level falls now."""
    time = state.clock[0]
    rank = time.level
    while rank > NONE and state.justified_ms[rank] + time.hold_ms <= time.now_ms:
        rank -= 1
    time.previous, time.level = time.level, rank
    return bool(time.level < time.previous)


@inlined
def _forget(state: State) -> None:
    """Whoever was not heard for breadth_ms counts no more, and begins anew when it is."""
    time = state.clock[0]
    gone_ms = time.now_ms - time.breadth_ms
    for row in range(time.rows):
        for which in (WATCHED, EXCEPTIONAL):
            if state.assets.last_ms[row, which] <= gone_ms:
                state.assets.last_ms[row, which] = LONG_AGO


@inlined
def _hear(state: State) -> bool:
    """Take the state that was read; whether its asset is exceptional or watched now."""
    time, told, assets, row = state.clock[0], state.told.numbers[0], state.assets, state.clock[0].row
    time.watched = told.level >= _WATCH
    heard_ms = told.append_ms
    if assets.heard_ms[row] >= heard_ms:  # an asset has at most one state at one T: told again
        time.row = NOBODY
        return False
    assets.heard_ms[row], assets.event_ms[row], assets.mover[row] = heard_ms, told.event_ms, told.mover
    for s in range(state.sizes.shape[0]):
        assets.there[row, s] = state.told.there[s]
        if state.told.there[s]:
            for k in range(state.told.windows.shape[1]):
                assets.windows[row, s, k] = state.told.windows[s, k]
    for slot in range(state.covered_ms.shape[0]):
        assets.exchanges[row, slot, 0] = state.told.exchanges[slot, 0]
        assets.exchanges[row, slot, 1] = state.told.exchanges[slot, 1]
        if state.told.coverage[slot, 0] != NOBODY and heard_ms >= state.covered_ms[slot]:
            state.covered_ms[slot] = heard_ms
            state.coverage[slot, 0] = state.told.coverage[slot, 0]
            state.coverage[slot, 1] = state.told.coverage[slot, 1]
    _put_bin(assets, row, heard_ms // 1_000, told.kusd)
    exceptional = told.ratio >= time.ratio  # NaN is not
    if time.watched:
        _note(assets, row, WATCHED, heard_ms, time.breadth_ms)
    if exceptional:
        _note(assets, row, EXCEPTIONAL, heard_ms, time.breadth_ms)
    return bool(time.watched or exceptional)


@part
def _note(assets: Assets, row: int, which: int, heard_ms: int, breadth_ms: int) -> None:
    if assets.last_ms[row, which] <= heard_ms - breadth_ms:
        assets.since_ms[row, which] = heard_ms
    assets.last_ms[row, which] = heard_ms


@part
def _put_bin(assets: Assets, row: int, second: int, kusd: int) -> None:
    """The largest figure of a second counts."""
    place = second % SECONDS
    if assets.seconds[row, place] < second:
        assets.seconds[row, place], assets.kusd[row, place] = second, 0
    if assets.seconds[row, place] == second:
        assets.kusd[row, place] = max(assets.kusd[row, place], kusd)


@inlined
def _judge(state: State) -> int:
    """After an asset was exceptional: RAISED, UPDATED or DONE."""
    time = state.clock[0]
    rank = _justify(state)
    time.previous = time.level
    if rank > time.level:
        if time.level == NONE:
            time.episode_ms, time.sequence, time.peak, time.leader = time.now_ms, 0, NONE, NOBODY
        time.level, time.peak = rank, max(rank, time.peak)
        return RAISED
    updates = time.level > NONE and time.now_ms - time.alert_ms >= time.update_interval_ms
    return UPDATED if updates else DONE


@part
def _justify(state: State) -> int:
    """The rank that the breadth justifies now; it is noted."""
    rank = rank_of(breadth(state), state.least)
    for lower in range(NONE + 1, rank + 1):
        state.justified_ms[lower] = state.clock[0].now_ms
    return rank


@jit
def breadth(state: State) -> int:
    """How many assets are in WATCH or above now, or were exceptional within the last breadth_ms."""
    time, last_ms = state.clock[0], state.assets.last_ms
    gone_ms = time.now_ms - time.breadth_ms
    count = 0
    for row in range(time.rows):
        count += last_ms[row, WATCHED] > gone_ms or last_ms[row, EXCEPTIONAL] > gone_ms
    return count


@jit
def rank_of(count: int, least: Array) -> int:
    """The highest rank that so many assets justify."""
    rank = NONE
    for higher in range(NONE + 1, least.shape[0]):
        if count >= least[higher]:
            rank = higher
    return rank


@jit
def enter(row: int, assets: Assets) -> None:
    """Put the name of a row into the table."""
    slot = _hash(assets.names[row], 0, assets.lengths[row])
    while assets.table[slot]:
        slot = (slot + 1) % TABLE
    assets.table[slot] = row + 1


@jit
def row_of(data: Array, begin: int, end: int, assets: Assets) -> int:
    """Row of the asset whose name is data[begin:end], or NOBODY."""
    slot = _hash(data, begin, end)
    while assets.table[slot]:
        row = assets.table[slot] - 1
        if assets.lengths[row] == end - begin:
            same = True
            for k in range(end - begin):
                same = same and assets.names[row, k] == data[begin + k]
            if same:
                return int(row)
        slot = (slot + 1) % TABLE
    return NOBODY


@part
def _hash(data: Array, begin: int, end: int) -> int:
    """FNV-1a of 32 bits, folded to a slot of the table (isthe.com/chongo/tech/comp/fnv)."""
    value = _FNV_START
    for at in range(begin, end):
        value = ((value ^ int(data[at])) * _FNV_FACTOR) & 0xFFFFFFFF
    return (value ^ value >> 16) % TABLE
