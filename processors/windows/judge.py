"""Judging windows: which level an event or a tick justifies."""

from processors.cascade.level import NONE, level_rank
from processors.cascade.relative import ratio_micro, relative_rank
from processors.cascade.score import boosted, probability_nano, terms_nano
from processors.jit import part
from processors.metrics.metric import NOBODY
from processors.windows.context import CHANGE_5M, RATE
from processors.windows.layout import Row
from processors.windows.panes import BALANCE, MICRO_USD, TEN, Panes, count_at, place_of, window_sums


@part
def judge(events: int, earlier: int, micro_usd: int, balance: int, asset: Row, rule: Row) -> tuple[int, int]:
    """Rank and probability in billionths of a window of the judged size; `earlier`: events in the one before it."""
    funding, change_pct = asset.context[RATE], asset.context[CHANGE_5M]
    terms = terms_nano(events, earlier, micro_usd, balance, asset.correlation, funding, change_pct, rule)
    nano = probability_nano(terms, boosted(events, earlier, rule), rule)
    return level_rank(nano, events, earlier, rule), nano


@part
def highest_rank(panes: Panes, a: int, pane: int, head: int, size: Row, asset: Row, rule: Row) -> int:
    """Highest rank of the windows that hold `pane` and are there: those that end at pane ... min(pane + 9, head).

    First one is judged that has the most of everything that any of them has, which no window exceeds, because every
    term only rises with its figure, then the one with most events. Mostly both give one rank, and that is it."""
    sums, counts, last = panes.sums[a], panes.counts[a], min(pane + TEN - 1, head)
    _, micro_usd, balance = window_sums(panes, a, size, head, pane)
    events, earlier = count_at(counts, place_of(size, pane)), count_at(counts, place_of(size, pane - TEN))
    if pane == last:
        return judge(events, earlier, micro_usd, balance, asset, rule)[0]
    top_events, top_earlier, top_micro_usd, top_balance = events, earlier, micro_usd, balance
    rise, micro_usd_max = events - earlier, micro_usd
    for end in range(pane + 1, last + 1):
        place, leaves = place_of(size, end), place_of(size, end - TEN)
        micro_usd += sums[place, MICRO_USD] - sums[leaves, MICRO_USD]
        balance += sums[place, BALANCE] - sums[leaves, BALANCE]
        events, earlier = count_at(counts, place), count_at(counts, leaves)
        rise, micro_usd_max = max(rise, events - earlier), max(micro_usd_max, micro_usd)
        if events > top_events:
            top_events, top_earlier, top_micro_usd, top_balance = events, earlier, micro_usd, balance
    paying = 1 if asset.context[RATE] > 0 else -1
    bound, _ = judge(top_events, top_events - rise, micro_usd_max, paying, asset, rule)
    if bound == NONE:
        return NONE
    rank, _ = judge(top_events, top_earlier, top_micro_usd, top_balance, asset, rule)
    return rank if rank == bound else highest_level(panes, a, pane, head, size, asset, rule)[0]


@part
def highest_level(panes: Panes, a: int, pane: int, head: int, size: Row, asset: Row, rule: Row) -> tuple[int, int]:
    """The same rank, and the window that has it: of equal ranks the more probable, of equal ones the newest."""
    sums, counts = panes.sums[a], panes.counts[a]
    best_rank, best_nano, best_end = NONE, -1, pane
    _, micro_usd, balance = window_sums(panes, a, size, head, pane)
    for end in range(pane, min(pane + TEN - 1, head) + 1):
        place, leaves = place_of(size, end), place_of(size, end - TEN)
        if end > pane:
            micro_usd += sums[place, MICRO_USD] - sums[leaves, MICRO_USD]
            balance += sums[place, BALANCE] - sums[leaves, BALANCE]
        events, earlier = count_at(counts, place), count_at(counts, leaves)
        rank, nano = judge(events, earlier, micro_usd, balance, asset, rule)
        if rank > best_rank or (rank == best_rank and nano >= best_nano):
            best_rank, best_nano, best_end = rank, nano, end
    return best_rank, best_end


@part
def judge_at(panes: Panes, a: int, end: int, head: int, size: Row, asset: Row, rule: Row) -> int:
    """Rank of the window that ends with pane `end`, whatever lies behind it."""
    events, micro_usd, balance = window_sums(panes, a, size, head, end)
    earlier, _, _ = window_sums(panes, a, size, head, end - TEN)
    return judge(events, earlier, micro_usd, balance, asset, rule)[0]


@part
def highest_relative(
    panes: Panes, a: int, pane: int, head: int, size: Row, week: Row, of: int, relative: Row
) -> tuple[int, int]:
    """Highest rank by the relative profile, and R in millionths, of the windows of its size `of` that hold `pane` and
    are there."""
    rank, ratio = NONE, 0
    for end in range(pane, min(pane + TEN - 1, head) + 1):
        events, micro_usd, _ = window_sums(panes, a, size, head, end)
        rank = max(rank, relative_rank(week, of, events, micro_usd))
        ratio = max(ratio, ratio_micro(week, of, events, micro_usd, relative))
    return rank, ratio


@part
def relative_at(panes: Panes, a: int, end: int, head: int, size: Row, week: Row, of: int) -> int:
    """Rank by the relative profile of the window that ends with pane `end`, whatever lies behind it."""
    if of == NOBODY:
        return NONE
    events, micro_usd, _ = window_sums(panes, a, size, head, end)
    return relative_rank(week, of, events, micro_usd)
