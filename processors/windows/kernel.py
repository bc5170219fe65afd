"""The compiled loop over a run of liquidations, and over all assets on a tick. It writes what is to be published.

What it does depends on the records and the state alone, never on where a run was cut: it stops where it needs help, has
then changed nothing that a second start would change again, and the detector calls it once more."""

import numpy as np

from processors.cascade import episode
from processors.cascade.level import EXTREME, NONE
from processors.jit import inlined, jit, part
from processors.metrics.metric import NOBODY
from processors.outputs.avro import put_bytes
from processors.outputs.states import finish, put_alert, put_state
from processors.outputs.words import LATE
from processors.windows.bins import add_bin
from processors.windows.clock import alerted, clock_is_due, has_room, note_due
from processors.windows.context import refresh_context
from processors.windows.figures import COUNT, JUDGED, NUMBERS, WINDOW, measure, refresh_correlation
from processors.windows.judge import highest_level, highest_rank, highest_relative, judge_at, relative_at
from processors.windows.layout import LAST_EVENTS, LONG_AGO, SIDES, Array, Row
from processors.windows.memory import fetch, fetch_whole, unsigned
from processors.windows.panes import (
    TEN,
    add,
    advance,
    first_times,
    highest_end,
    own_place_of,
    pane_of,
    place_of,
)
from processors.windows.state import State, state_at
from processors.windows.tumbling import is_fed, put_cell, window_place
from schemas.words import AlertKind

RUN_ENDS, NO_ROOM, NEW_TAPE, CHECK = range(4)
RAISE, UPDATE, SHOW = 1, 2, 4  # what an asset is due for, as bits
_RAISED, _UPDATED = tuple(AlertKind).index(AlertKind.RAISED), tuple(AlertKind).index(AlertKind.UPDATED)


@jit
def fold_run(count: int, data: Array, start: int, at: int) -> tuple[int, int]:
    """Fold the first `count` events of the `State` at address `at` from `start` on until one needs help: (its index,
    why). `data` holds their values. Of the duplicates `seen.note_run` has told.

    NO_ROOM: outputs must be taken away, or their buffer is too small. NEW_TAPE: what is known of an exchange changed.
    CHECK: the record before the index is folded, and custom rules of the assets in `state.checks` are to be checked."""
    state = state_at(at)
    time, events = state.clock[0], state.events
    for i in range(start, count):
        if i + 1 < count:
            _fetch(events[i + 1], state)
        event = events[i]
        room = time.room + event.end - event.begin
        if not has_room(room, state):
            return i, NO_ROOM
        time.offset = event.offset
        time.now_ms = max(time.now_ms, event.append_ms)
        if time.now_ms >= time.alarm_ms and not (clock_is_due(state) and has_room(room, state)):
            return i, NO_ROOM
        if time.tapes[event.slot] != event.tape:
            time.tapes[event.slot] = event.tape
            return i, NEW_TAPE
        if time.now_ms >= time.stale_ms:
            return i, NEW_TAPE
        if event.double or event.offset < state.assets[event.asset].next_offset:
            continue
        _fold(event, data, state)
        if time.checks:
            return i + 1, CHECK
    return count, RUN_ENDS


@inlined
def _fetch(event: Row, state: State) -> None:
    """Have what an event will need brought near while the one before it is folded: with many assets it is far away.
    A pane may be one off, which costs nothing but the look."""
    a, panes = unsigned(event.asset), state.panes
    fetch_whole(state.assets, a)
    for s in range(state.sizes.shape[0]):
        size = state.sizes[s]
        pane = int(np.int64(event.event_ms * size.panes_a_ms))
        place = place_of(size, pane)
        fetch(panes.events[a], place)
        fetch(panes.sums[a, place], 0)
        fetch(panes.counts[a], place)
        if s == 0:
            fetch(panes.exchanges[a], place)
            fetch(state.tumbling[a, window_place(size, pane // TEN), unsigned(event.slot * SIDES + event.side)], 0)


@inlined
def _fold(event: Row, data: Array, state: State) -> None:
    """Fold one event that counts."""
    a, now_ms = unsigned(event.asset), state.clock[0].now_ms
    asset = state.assets[a]
    rule = state.rules[unsigned(asset.rule)]
    if event.backlog or now_ms - event.event_ms > rule.grace_ms_max:
        at = put_bytes(state.out.data, state.out.counts[1], data, event.begin, event.end)
        finish(LATE, a, at, state.out)
        return
    refresh_correlation(asset, state.bins[a], now_ms, rule)
    refresh_context(a, now_ms, asset, state.context)
    event_ms = min(event.event_ms, now_ms)
    _keep(event, event_ms, state)
    rank, relative = _place(event, event_ms, state)
    episode.justify(asset, rank, now_ms)
    episode.justify(state.weeks[a], relative, now_ms)
    rank = episode.level_of(rank, relative, rule)
    what = _due(asset, rank, now_ms, rule)
    if what:
        _find_ends(a, event_ms, state)
        _publish(a, what, rank, state)


@inlined
def _keep(event: Row, event_ms: int, state: State) -> None:
    """Keep what lies beside the windows: bins, the last events, the newest time, who moved first."""
    a, slot = unsigned(event.asset), unsigned(event.slot)
    asset = state.assets[a]
    add_bin(state.bins[a], asset, slot, event_ms, state.rules[unsigned(asset.rule)])
    last = state.last[a, unsigned(asset.events % LAST_EVENTS)]
    last.event_time_ms, last.price, last.notional_usd = event_ms, event.price, event.notional_usd
    last.exchange, last.side = event.slot, event.side
    asset.events += 1
    asset.newest_ms = max(asset.newest_ms, event_ms)
    if asset.level > NONE and event_ms >= asset.episode_from_ms:
        size = state.sizes[0]
        asset.first_ms[slot] = min(asset.first_ms[slot], pane_of(event_ms, size) * size.pane_ms)
    asset.fresh = True
    asset.dirty = True
    asset.quiet = False


@inlined
def _place(event: Row, event_ms: int, state: State) -> tuple[int, int]:
    """Put an event into every size that it is not too late for, judge every window that holds it and is there already,
    size by size, and set flags; returns the ranks that the absolute and the relative profile justify."""
    a, now_ms, rank, relative = unsigned(event.asset), state.clock[0].now_ms, NONE, NONE
    asset, cell = state.assets[a], unsigned(event.slot * SIDES + event.side)
    rule, week = state.rules[unsigned(asset.rule)], state.weeks[a]
    micro_usd = event.micro_usd
    balance = -micro_usd if event.side else micro_usd
    panes = state.panes
    for s in range(state.sizes.shape[0]):
        size = state.sizes[s]
        if now_ms - event_ms > size.grace_ms:
            continue
        pane, head = pane_of(event_ms, size), asset.heads[s]
        if pane > head:
            advance(panes, a, size, head, pane, s == 0, s == rule.judged)
            head = asset.heads[s] = pane
        place = place_of(size, pane)
        count = add(panes, a, size, head, pane, place, micro_usd, balance)
        if s == 0:
            panes.exchanges[a, place] |= np.uint32(1) << np.uint32(event.slot)
        if not is_fed(size, state.sizes, now_ms - event_ms):
            put_cell(state.tumbling[a, window_place(size, pane // TEN)], cell, micro_usd)
        asset.flagged_ms[s] = now_ms if count >= rule.flag_events[s] else asset.flagged_ms[s]
        of = state.relative_of[s]
        if of != NOBODY and week.in_force[of, 0] and count >= week.needed_events[of, NONE + 1]:
            relative = max(relative, _judge_relative(a, s, of, pane, state))
        closes_ms = (pane // TEN + 1) * size.size_ms + size.grace_ms
        if closes_ms < asset.closes_ms[s]:
            asset.closes_ms[s] = closes_ms
            note_due(a, closes_ms, state)
        if s == rule.judged:
            put_cell(panes.cells[a, own_place_of(size, pane)], cell, micro_usd)
            if count > rule.level_events[EXTREME]:
                rank = EXTREME  # by count alone
            else:
                rank = highest_rank(panes, a, pane, head, size, asset, rule)
    return rank, relative


@part
def _judge_relative(a: int, s: int, of: int, pane: int, state: State) -> int:
    """Rank that size `of` of the relative profile justifies; R is noted."""
    asset, week, now_ms = state.assets[a], state.weeks[a], state.clock[0].now_ms
    rule = state.relative[unsigned(asset.rule)]
    rank, ratio = highest_relative(state.panes, a, pane, asset.heads[s], state.sizes[s], week, of, rule)
    if week.ratio_ms != now_ms:
        week.ratio_ms, week.ratio_micro, week.rank = now_ms, 0, NONE
    week.ratio_micro, week.rank = max(week.ratio_micro, ratio), max(week.rank, rank)
    return rank


@part
def _find_ends(a: int, event_ms: int, state: State) -> None:
    """Fill `state.ends` with the judged window of each size, or LONG_AGO where the event was too late for it."""
    asset, now_ms = state.assets[a], state.clock[0].now_ms
    rule, panes = state.rules[unsigned(asset.rule)], state.panes
    for s in range(state.sizes.shape[0]):
        size, pane = state.sizes[s], pane_of(event_ms, state.sizes[s])
        if now_ms - event_ms > size.grace_ms:
            state.ends[s] = LONG_AGO
        elif s == rule.judged:
            _, state.ends[s] = highest_level(panes, a, pane, asset.heads[s], size, asset, rule)
        else:
            state.ends[s] = highest_end(panes.counts[a], size, asset.heads[s], pane)


@inlined
def _due(asset: Row, rank: int, now_ms: int, rule: Row) -> int:
    """What an asset is due for after it was judged, as bits."""
    what = 0
    if rank > asset.level:
        what |= RAISE
    elif asset.level > NONE and asset.fresh and now_ms - asset.alert_ms >= rule.update_interval_ms:
        what |= UPDATE
    if not asset.quiet and now_ms - asset.state_ms >= rule.state_interval_ms:
        what |= SHOW
    return what


@part
def _publish(a: int, what: int, rank: int, state: State) -> None:
    """Publish what an asset is due for; `state.ends` says which windows, `rank` what the level rises to."""
    asset, now_ms, numbers = state.assets[a], state.clock[0].now_ms, state.numbers
    measure(a, state)
    if what & RAISE:
        _raise(a, rank, state)
    elif what & UPDATE:
        put_alert(a, _UPDATED, asset.level, state)
        alerted(a, state)
    if what & SHOW:
        put_state(a, state)
        asset.state_ms = now_ms
        asset.quiet = numbers[NUMBERS + numbers[JUDGED] * WINDOW + COUNT] == 0 and asset.level == NONE
        asset.dirty = True
    if state.rules[unsigned(asset.rule)].custom:
        state.checks[state.clock[0].checks] = a
        state.clock[0].checks += 1


@part
def _raise(a: int, rank: int, state: State) -> None:
    """Raise the level to `rank`."""
    asset, now_ms = state.assets[a], state.clock[0].now_ms
    rule = state.rules[unsigned(asset.rule)]
    judged = state.sizes[rule.judged]
    end_ms = (state.ends[rule.judged] + 1) * judged.pane_ms
    from_ms = end_ms - judged.size_ms
    previous = episode.rise(asset, rank, now_ms, from_ms)
    if previous == NONE:
        first_times(state.panes, a, state.sizes[0], asset.heads[0], from_ms, end_ms, asset.first_ms)
    note_due(a, episode.falls_at_ms(asset, state.weeks[a], rule, state.relative[unsigned(asset.rule)]), state)
    measure(a, state)
    put_alert(a, _RAISED, previous, state)
    alerted(a, state)


@jit
def tick(sequence: int, at: int) -> bool:
    """T was moved by a tick: the assets that are not quiet are judged at tick_lag_ms before it, by name.

    Only the judged size is. An asset whose snapshot has seen entry `sequence` is passed over. False, and nothing was
    judged, without room for the outputs. `at`: address of the `State`."""
    state = state_at(at)
    time = state.clock[0]
    if time.now_ms >= time.alarm_ms and not clock_is_due(state):
        return False
    if not has_room(time.count * time.room, state):
        return False
    for row in state.names.by_name:
        a = unsigned(row)
        asset = state.assets[a]
        if asset.next_sequence > sequence or (asset.quiet and asset.level == NONE):
            continue
        rule = state.rules[unsigned(asset.rule)]
        judged, rank, relative = rule.judged, NONE, NONE
        size = state.sizes[judged]
        end = (time.now_ms - rule.tick_lag_ms) // size.pane_ms - 1
        if end - TEN < asset.heads[judged]:
            refresh_correlation(asset, state.bins[a], time.now_ms, rule)
            refresh_context(a, time.now_ms, asset, state.context)
            rank = judge_at(state.panes, a, end, asset.heads[judged], size, asset, rule)
            episode.justify(asset, rank, time.now_ms)
            week, of = state.weeks[a], state.relative_of[judged]
            relative = relative_at(state.panes, a, end, asset.heads[judged], size, week, of)
            episode.justify(week, relative, time.now_ms)
        rank = episode.level_of(rank, relative, rule)
        asset.dirty = True
        what = _due(asset, rank, time.now_ms, rule)
        if what:
            state.ends[:] = LONG_AGO
            if what & RAISE:
                state.ends[judged] = end
            _publish(a, what, rank, state)
    return True


@jit
def meet(row: int, met: int, rank: int, at: int) -> None:
    """Custom rules of an asset are met, as bits; they justify `rank`. `at`: address of the `State`."""
    state = state_at(at)
    a = unsigned(row)
    asset, week, now_ms = state.assets[a], state.weeks[a], state.clock[0].now_ms
    for number in range(week.met_ms.shape[0]):
        if met >> number & 1:
            week.met_ms[number] = now_ms
    for lower in range(NONE + 1, rank + 1):
        week.ruled_ms[lower] = now_ms
    asset.dirty = True
    if rank > asset.level and not state.rules[unsigned(asset.rule)].mute:
        state.ends[:] = LONG_AGO
        measure(a, state)
        _raise(a, rank, state)
