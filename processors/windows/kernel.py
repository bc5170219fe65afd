"""The compiled loop over a run of liquidations, and over all assets on a tick.

The functions that the detector calls take RULES as an array of one row: Numba needs 5 µs to recognise a bare row.
The loop stops wherever something must be published and says why; the detector publishes and calls it again. What it
does depends on the records and the state alone, never on where a run was cut."""

import math

from processors.cascade.episode import falls_at_ms, rank_in_force
from processors.cascade.level import NONE, level_rank
from processors.cascade.score import boosted, probability_nano, terms_nano
from processors.jit import jit
from processors.metrics.correlation import mean_pearson
from processors.windows.context import CHANGE_5M, RATE, Context, refresh_context
from processors.windows.layout import LONG_AGO, NEVER, SIDES, Array, Row
from processors.windows.panes import TEN, Panes, add, add_bin, binned, highest_count, place_of, window_sum
from processors.windows.seen import Seen, note

RUN_ENDS, CLOCK_IS_DUE, EVENT_IS_LATE, ASSET_IS_DUE = range(4)
RAISE, UPDATE, STATE = 1, 2, 4  # what an asset is due for, as bits


@jit
def fold_run(
    run: Array, start: int, seen: Seen, clock: Array, assets: Array, panes: Panes, bins: Array, context: Context,
    sizes: Array, rules: Array, ends: Array,
) -> tuple[int, int, int]:  # fmt: skip
    """Fold records from `start` on until one makes something due: (index, why, what).

    CLOCK_IS_DUE: the clock reached the alarm before record `index`, which is not folded yet. EVENT_IS_LATE and
    ASSET_IS_DUE: record `index` is folded; `ends` then has the judged window of each size by its newest pane, or
    LONG_AGO where the event was too late for the size; `what` are the bits that the asset is due for."""
    time, rule = clock[0], rules[0]
    for i in range(start, run.shape[0]):
        event = run[i]
        time.now_ms = max(time.now_ms, event.append_ms)
        if time.now_ms >= time.alarm_ms:
            return i, CLOCK_IS_DUE, 0
        time.tapes[event.slot] = event.tape
        if note(event.id, event.append_ms, seen) or event.seen:
            continue
        if event.backlog or time.now_ms - event.event_ms > rule.grace_ms_max:
            return i, EVENT_IS_LATE, 0
        asset = assets[event.asset]
        refresh_correlation(asset, bins[event.asset], time.now_ms, rule)
        refresh_context(event.asset, time.now_ms, asset, context)
        event_ms = min(event.event_ms, time.now_ms)
        place(event, event_ms, time, asset, panes, bins, sizes, rule)
        rank = judge_event(event.asset, event_ms, time.now_ms, asset, panes, sizes, rule, ends)
        what = due(asset, rank, time.now_ms, rule)
        if what:
            return i, ASSET_IS_DUE, what
    return run.shape[0], RUN_ENDS, 0


@jit
def place(event: Row, event_ms: int, time: Row, asset: Row, panes: Panes, bins: Array, sizes: Array, rule: Row) -> None:
    """Put an event into every size that it is not too late for, and into the bins of the correlation."""
    cell = event.slot * SIDES + event.side
    lag_ms = time.now_ms - event_ms
    for s in range(sizes.shape[0]):
        size = sizes[s]
        if lag_ms > size.grace_ms:
            continue
        pane = event_ms // size.pane_ms
        add(panes, event.asset, size, asset.heads[s], pane, cell, event.micro_usd)
        asset.heads[s] = max(asset.heads[s], pane)
        closes_ms = (event_ms // size.size_ms + 1) * size.size_ms + size.grace_ms
        asset.closes_ms[s] = min(asset.closes_ms[s], closes_ms)
        time.alarm_ms = min(time.alarm_ms, closes_ms)
    add_bin(bins[event.asset], asset, event.slot, event_ms // rule.lag_bin_ms)
    asset.newest_ms = max(asset.newest_ms, event_ms)
    if asset.level > NONE and event_ms >= asset.episode_from_ms:
        pane_ms = sizes[0].pane_ms
        asset.first_ms[event.slot] = min(asset.first_ms[event.slot], event_ms // pane_ms * pane_ms)
    asset.fresh = True
    asset.dirty = True
    asset.quiet = False


@jit
def judge_event(
    a: int, event_ms: int, now_ms: int, asset: Row, panes: Panes, sizes: Array, rule: Row, ends: Array
) -> int:
    """Judge every window that holds the event and is there already, size by size; the highest counts.

    Fills `ends`, sets flags, and returns the rank that the judged size justifies."""
    rank = NONE
    for s in range(sizes.shape[0]):
        size = sizes[s]
        if now_ms - event_ms > size.grace_ms:
            ends[s] = LONG_AGO
            continue
        pane = event_ms // size.pane_ms
        count, ends[s] = highest_count(panes.events[a], size, asset.heads[s], pane)
        if count >= size.flag_events:
            asset.flagged_ms[s] = now_ms
        if s == rule.judged:
            rank, ends[s] = highest_level(a, pane, asset, panes, size, asset.heads[s], rule)
            justify(asset, rank, now_ms)
    return rank


@jit
def highest_level(a: int, pane: int, asset: Row, panes: Panes, size: Row, head: int, rule: Row) -> tuple[int, int]:
    """Highest level of the windows that hold `pane` and are there, and that window: of equal levels the more probable,
    of equal ones the newest."""
    best_rank, best_nano, best_end = NONE, -1, pane
    counts, micro, sides = panes.events[a], panes.micro_usd[a], panes.balance[a]
    events = window_sum(counts, size, head, pane)
    before = window_sum(counts, size, head, pane - TEN)
    micro_usd = window_sum(micro, size, head, pane)
    balance = window_sum(sides, size, head, pane)
    last = min(pane + TEN - 1, head)
    for end in range(pane, last + 1):
        rank, nano = judge(events, before, micro_usd, balance, asset, rule)
        if rank > best_rank or (rank == best_rank and nano >= best_nano):
            best_rank, best_nano, best_end = rank, nano, end
        if end < last:
            joins, leaves = place_of(size, end + 1), place_of(size, end - TEN + 1)
            events += counts[joins] - counts[leaves]
            before += counts[leaves] - counts[place_of(size, end - 2 * TEN + 1)]
            micro_usd += micro[joins] - micro[leaves]
            balance += sides[joins] - sides[leaves]
    return best_rank, best_end


@jit
def judge(events: int, before: int, micro_usd: int, balance: int, asset: Row, rule: Row) -> tuple[int, int]:
    """Rank and probability in billionths of a window of the judged size."""
    funding, change_pct = asset.context[RATE], asset.context[CHANGE_5M]
    terms = terms_nano(events, before, micro_usd, balance, asset.correlation, funding, change_pct, rule)
    nano = probability_nano(terms, boosted(events, before, rule), rule)
    return level_rank(nano, events, before, rule), nano


@jit
def justify(asset: Row, rank: int, now_ms: int) -> None:
    """Note that a rank, and so every lower one above NONE, is justified now."""
    for lower in range(NONE + 1, rank + 1):
        asset.justified_ms[lower] = now_ms


@jit
def due(asset: Row, rank: int, now_ms: int, rule: Row) -> int:
    """What an asset is due for after it was judged, as bits."""
    what = 0
    if rank > asset.level:
        what |= RAISE
    elif asset.level > NONE and asset.fresh and now_ms - asset.alert_ms >= rule.update_interval_ms:
        what |= UPDATE
    if not asset.quiet and now_ms - asset.state_ms >= rule.state_interval_ms:
        what |= STATE
    return what


@jit
def refresh_correlation(asset: Row, bins: Array, now_ms: int, rule: Row) -> None:
    """Recompute the correlation once a second of T, over the span that ends at the whole second."""
    second = now_ms // 1_000
    if asset.correlation_s == second:
        return
    asset.correlation_s = second
    asset.correlation = math.nan
    if asset.bin_events >= 2 * rule.events_min:
        counts = binned(bins, asset, second * 1_000, rule, rule.bin_ms // rule.lag_bin_ms)
        asset.correlation = mean_pearson(counts, rule.events_min)


@jit
def judge_tick(
    now_ms: int, sequence: int, count: int, assets: Array, panes: Panes, bins: Array, context: Context, sizes: Array,
    rules: Array, due_of: Array,
) -> int:  # fmt: skip
    """Judge the window that ends at T - tick_lag_ms in every asset that is not quiet; returns how many are due.

    Only the judged size is. An asset whose snapshot has seen entry `sequence` is passed over. Fills `due_of`."""
    rule = rules[0]
    judged = rule.judged
    size = sizes[judged]
    end = (now_ms - rule.tick_lag_ms) // size.pane_ms - 1
    n = 0
    for a in range(count):
        due_of[a] = 0
        asset = assets[a]
        if asset.next_sequence > sequence or (asset.quiet and asset.level == NONE):
            continue
        rank = NONE
        if end - TEN < asset.heads[judged]:
            refresh_correlation(asset, bins[a], now_ms, rule)
            refresh_context(a, now_ms, asset, context)
            head = asset.heads[judged]
            events = window_sum(panes.events[a], size, head, end)
            before = window_sum(panes.events[a], size, head, end - TEN)
            micro_usd = window_sum(panes.micro_usd[a], size, head, end)
            balance = window_sum(panes.balance[a], size, head, end)
            rank, _ = judge(events, before, micro_usd, balance, asset, rule)
            justify(asset, rank, now_ms)
        asset.dirty = True
        due_of[a] = due(asset, rank, now_ms, rule)
        if due_of[a]:
            n += 1
    return n


@jit
def find_falls(now_ms: int, assets: Array, count: int, rules: Array, ranks: Array) -> int:
    """How many assets' levels fall at `now_ms`; fills `ranks` with the rank of each asset that is in force then."""
    n = 0
    for a in range(count):
        ranks[a] = rank_in_force(assets[a], now_ms, rules[0].hold_ms)
        n += ranks[a] < assets[a].level
    return n


@jit
def next_due_ms(assets: Array, count: int, rules: Array) -> int:
    """When the next window is final or the next level falls, or NEVER."""
    due_ms = NEVER
    for a in range(count):
        due_ms = min(due_ms, falls_at_ms(assets[a], rules[0].hold_ms))
        for closes_ms in assets[a].closes_ms:
            due_ms = min(due_ms, closes_ms)
    return due_ms
