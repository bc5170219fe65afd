"""What falls due when T moves: windows that are final, levels whose hold is over, the progress of the partition.

Each asset has a time before which nothing of it falls due; the alarm is the first of them all, or the next second."""

import numpy as np

from processors.cascade import episode
from processors.cascade.level import NONE
from processors.cascade.relative import note_window
from processors.jit import inlined, owning, part
from processors.metrics.metric import NOBODY
from processors.outputs.aggregates import AGGREGATE_MAX, put_aggregate
from processors.outputs.states import put_alert, put_progress
from processors.outputs.words import OUTPUT_MIN, WORD
from processors.windows.figures import measure
from processors.windows.layout import LONG_AGO, Array
from processors.windows.memory import unsigned
from processors.windows.panes import TEN, next_close_ms, window_sums
from processors.windows.state import State
from processors.windows.tumbling import empty, feed, window_place
from schemas.words import AlertKind

_LOWERED, _ENDED = tuple(AlertKind).index(AlertKind.LOWERED), tuple(AlertKind).index(AlertKind.ENDED)


@part
def has_room(size: int, state: State) -> bool:
    """Whether outputs of so many bytes fit."""
    out = state.out
    return bool(
        out.counts[1] + size + WORD <= out.data.shape[0] and out.counts[0] + size // OUTPUT_MIN < out.places.shape[0]
    )


@part
def clock_is_due(state: State) -> bool:
    """T passed the alarm: close windows (by end, size, asset), let levels fall (by asset), say how far the partition
    is, and set the next alarm. False, and nothing was done, without room for it."""
    time = state.clock[0]
    closing, falling = _count_due(state)
    longest = state.names.data.shape[0] if closing else 0
    if not has_room(closing * (AGGREGATE_MAX + longest) + (falling + 1) * time.room, state):
        return False
    if closing:
        _close_windows(closing, state)
    if falling:
        _let_fall(state)
    if time.now_ms // 1_000 > time.progress_s:
        time.progress_s = time.now_ms // 1_000
        put_progress(state)
    alarm_ms = (time.progress_s + 1) * 1_000
    for a in range(time.count):
        if state.due_ms[a] <= time.now_ms:
            _set_due(unsigned(a), state)
        alarm_ms = min(alarm_ms, state.due_ms[a])
    time.alarm_ms = alarm_ms
    return True


@inlined
def _set_due(a: int, state: State) -> None:
    asset = state.assets[a]
    due_ms = episode.falls_at_ms(
        asset, state.weeks[a], state.rules[unsigned(asset.rule)], state.relative[unsigned(asset.rule)]
    )
    for closes_ms in asset.closes_ms:
        due_ms = min(due_ms, closes_ms)
    state.due_ms[a] = due_ms


@inlined
def _count_due(state: State) -> tuple[int, int]:
    """Upper bound of the tumbling windows that are final (every grid place from the first due one on), and the
    levels that fall."""
    now_ms, closing, falling = state.clock[0].now_ms, 0, 0
    for a in range(state.clock[0].count):
        if state.due_ms[a] > now_ms:
            continue
        asset = state.assets[a]
        rule, relative = state.rules[unsigned(asset.rule)], state.relative[unsigned(asset.rule)]
        falling += episode.falls_at_ms(asset, state.weeks[a], rule, relative) <= now_ms
        for s in range(state.sizes.shape[0]):
            size, closes_ms = state.sizes[s], asset.closes_ms[s]
            if closes_ms <= now_ms:
                last = min((now_ms - size.grace_ms) // size.size_ms - 1, asset.heads[s] // TEN)
                closing += last - ((closes_ms - size.grace_ms) // size.size_ms - 1) + 1
    return closing, falling


@owning
def _close_windows(places: int, state: State) -> None:
    """Close the tumbling windows that are final and hold an event; `places`: at most so many."""
    now_ms, n, in_order = state.clock[0].now_ms, 0, True
    windows = np.zeros((places, 3), np.int64)  # end_ms, size, rank by name
    due, many = np.zeros(state.clock[0].count, np.int64), 0
    for rank in range(due.shape[0]):
        if state.due_ms[state.names.by_name[rank]] <= now_ms:
            due[many] = rank
            many += 1
    for s in range(state.sizes.shape[0]):
        size = state.sizes[s]
        for rank in due[:many]:
            a = unsigned(state.names.by_name[rank])
            asset = state.assets[a]
            while asset.closes_ms[s] <= now_ms:
                end_ms = asset.closes_ms[s] - size.grace_ms
                windows[n, 0], windows[n, 1], windows[n, 2] = end_ms, s, rank
                in_order = in_order and (n == 0 or _less(windows, n - 1, n))
                n += 1
                _note(a, s, end_ms, state)
                asset.closes_ms[s] = next_close_ms(state.panes.events[a], size, asset.heads[s], end_ms // size.pane_ms)
                asset.dirty = True
    if not in_order:
        _sort(windows, n)
    for i in range(n):
        end_ms, s, a = windows[i, 0], unsigned(windows[i, 1]), unsigned(state.names.by_name[windows[i, 2]])
        start_ms = end_ms - state.sizes[s].size_ms
        cells = state.tumbling[a, window_place(state.sizes[s], start_ms // state.sizes[s].size_ms)]
        put_aggregate(a, s, end_ms, cells, state)
        feed(state.tumbling[a], s, start_ms, state.sizes)
        empty(cells)


@part
def _note(a: int, s: int, end_ms: int, state: State) -> None:
    """Let the relative profile know of a final window."""
    of, size = state.relative_of[s], state.sizes[s]
    if of != NOBODY:
        last = end_ms // size.pane_ms - 1
        events, micro_usd, _ = window_sums(state.panes, a, size, state.assets[a].heads[s], last)
        note_window(state.weeks[a], of, end_ms + size.grace_ms, events, micro_usd)


@inlined
def _sort(rows: Array, count: int) -> None:
    """Heap sort of the first rows, which differ."""
    for start in range(count // 2 - 1, -1, -1):
        _sift(rows, start, count)
    for end in range(count - 1, 0, -1):
        _swap(rows, 0, end)
        _sift(rows, 0, end)


@part
def _sift(rows: Array, root: int, count: int) -> None:
    while 2 * root + 1 < count:
        child = 2 * root + 1
        if child + 1 < count and _less(rows, child, child + 1):
            child += 1
        if not _less(rows, root, child):
            return
        _swap(rows, root, child)
        root = child


@part
def _less(rows: Array, i: int, k: int) -> bool:
    for column in range(3):
        if rows[i, column] != rows[k, column]:
            return bool(rows[i, column] < rows[k, column])
    return False


@part
def _swap(rows: Array, i: int, k: int) -> None:
    for column in range(rows.shape[1]):
        rows[i, column], rows[k, column] = rows[k, column], rows[i, column]


@inlined
def _let_fall(state: State) -> None:
    now_ms = state.clock[0].now_ms
    for row in state.names.by_name:
        a = unsigned(row)
        asset = state.assets[a]
        rule, relative = state.rules[unsigned(asset.rule)], state.relative[unsigned(asset.rule)]
        rank = episode.rank_in_force(asset, state.weeks[a], now_ms, rule, relative)
        if rank == asset.level:
            continue
        previous, asset.level = asset.level, rank
        state.ends[:] = LONG_AGO
        measure(a, state)
        put_alert(a, _LOWERED if rank > NONE else _ENDED, previous, state)
        alerted(a, state)
        if rank == NONE:
            episode.end(asset)


@part
def alerted(a: int, state: State) -> None:
    """An alert of the asset was published."""
    asset = state.assets[a]
    asset.sequence += 1
    asset.alert_ms = state.clock[0].now_ms
    asset.fresh = False
    asset.dirty = True


@part
def note_due(a: int, due_ms: int, state: State) -> None:
    """Something of an asset falls due at `due_ms`."""
    state.due_ms[a] = min(state.due_ms[a], due_ms)
    state.clock[0].alarm_ms = min(state.clock[0].alarm_ms, due_ms)
