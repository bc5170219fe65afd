"""Open interest and funding of every contract as packed arrays, and the figures of an asset from them.

The time of a record is its append time in its own topic; the figures stand for the later of T and the newest such time,
in steps of 10 s. They are a function of what was let in and of that step, so they may be computed whenever needed."""

import math
from typing import Annotated, Final, NamedTuple

import numpy as np
from numba import from_dtype, types

from processors.jit import jit, owning
from processors.metrics import funding, open_interest
from processors.metrics.funding import course, weighted_rate
from processors.metrics.open_interest import SPANS, STEP_MS, change_pct, ends_of
from processors.windows.layout import CONTEXT_FIGURES, LONG_AGO, Array, Row

SOURCES_MAX: Final = 32  # contracts of one asset: 7 exchanges with 4 each, and some dated ones
USD_STEPS: Final = 16  # the velocity needs 1 min and half a minute before it
RATE_SLACK_MS: Final = 300_000  # a settled rate stands until the next one, which lists show within minutes
TOTAL_AGE_MS_MAX: Final = 300_000  # an older value is not in the totals
NOBODY: Final = -1

# figures of an asset, NaN where there are no data: changes in %, USD/s, rate per 8 h, then as `funding.course` fills
CHANGES: Final = 0
CHANGE_1M, CHANGE_5M, CHANGE_1H, USD_PER_S, RATE, RATE_TREND, RATE_MAX, RATE_VELOCITY, RATE_ACCELERATION = range(9)
assert RATE_ACCELERATION + 1 == CONTEXT_FIGURES

SOURCE: Final = np.dtype(
    [
        ("slot", np.int64),
        ("market", np.int64),
        ("heard_ms", np.int64),  # newest append time
        ("head", np.int64),  # newest step of open interest
        ("interest_ms", np.int64),  # append time of the newest open interest
        ("coins", np.float64),  # newest, NaN: not known
        ("usd", np.float64),
        ("rate_8h", np.float64),
        ("rate_ms", np.int64),  # event time of the newest rate
        ("rate_until_ms", np.int64),  # it counts no longer than that
    ]
)


class Context(NamedTuple):
    """`of_asset` [asset, SOURCES_MAX] names the rows of the others, NOBODY where there is none."""

    of_asset: Annotated[Array, types.int32[:, ::1]]
    totals: Annotated[Array, types.float64[:, :, ::1]]  # [asset, COINS and TOTAL_USD and TOTAL_RATE, 5 min step]
    sources: Annotated[Array, from_dtype(SOURCE)[::1]]  # [source]
    coins: Annotated[Array, types.float64[:, ::1]]  # [source, 10 s step]
    usd: Annotated[Array, types.float64[:, ::1]]  # [source, 10 s step]


COINS, TOTAL_USD, TOTAL_RATE = range(3)


def new_context(assets: int, sources: int) -> Context:
    """Empty arrays."""
    rows = np.zeros(sources, SOURCE)
    for name in ("heard_ms", "head", "interest_ms", "rate_ms", "rate_until_ms"):
        rows[name] = LONG_AGO
    for name in ("coins", "usd", "rate_8h"):
        rows[name] = np.nan
    return Context(
        np.full((assets, SOURCES_MAX), NOBODY, np.int32),
        np.full((assets, 3, funding.STEPS), np.nan),
        rows,
        np.full((sources, open_interest.STEPS), np.nan),
        np.full((sources, USD_STEPS), np.nan),
    )


@jit
def put_interest(a: int, s: int, time_ms: int, coins: float, usd: float, assets: Array, context: Context) -> None:
    """Take open interest of source `s` of asset `a`; NaN: not known. The last of a step counts."""
    source = context.sources[s]
    step = time_ms // STEP_MS
    _put(context.coins[s], source.head, step, coins)
    _put(context.usd[s], source.head, step, usd)
    source.head = max(source.head, step)
    if time_ms >= source.interest_ms:
        source.interest_ms, source.coins, source.usd = time_ms, coins, usd
    _heard(a, source, time_ms, assets[a], context)


@jit
def put_rate(
    a: int, s: int, time_ms: int, rate_8h: float, event_ms: int, until_ms: int, assets: Array, context: Context
) -> None:
    """Take a funding rate; one that the exchange stated earlier than the one known changes nothing."""
    source = context.sources[s]
    if event_ms >= source.rate_ms:
        source.rate_8h, source.rate_ms, source.rate_until_ms = rate_8h, event_ms, until_ms
    _heard(a, source, time_ms, assets[a], context)


@jit
def _put(ring: Array, head: int, step: int, value: float) -> None:
    kept = ring.shape[0]
    for gone in range(max(head + 1, step - kept + 1), step + 1):
        ring[gone % kept] = math.nan
    if step > head - kept and not math.isnan(value):
        ring[step % kept] = value


@jit
def _heard(a: int, source: Row, time_ms: int, asset: Row, context: Context) -> None:
    source.heard_ms = max(source.heard_ms, time_ms)
    asset.context_ms = max(asset.context_ms, time_ms)
    asset.context_step = LONG_AGO  # the figures are to be computed again
    asset.dirty = True
    if time_ms < asset.context_ms:
        return  # of what is over, a later record has told
    step = time_ms // funding.STEP_MS
    totals = context.totals[a]
    for k in range(3):
        _put(totals[k], asset.totals_head, step, math.nan)
    asset.totals_head = max(asset.totals_head, step)
    place = step % funding.STEPS
    totals[COINS, place] = _total(a, time_ms, True, context)
    totals[TOTAL_USD, place] = _total(a, time_ms, False, context)
    totals[TOTAL_RATE, place] = _rate(a, time_ms, context)


@jit
def _total(a: int, time_ms: int, coins: bool, context: Context) -> float:
    total, known = 0.0, False
    for s in context.of_asset[a]:
        if s == NOBODY:
            break
        source = context.sources[s]
        value = source.coins if coins else source.usd
        if not math.isnan(value) and time_ms - source.interest_ms <= TOTAL_AGE_MS_MAX:
            total += value
            known = True
    return total if known else math.nan


@owning
def _rate(a: int, time_ms: int, context: Context) -> float:
    """The rate over all sources at a time; where a source states USD alone, its coins are those at the mean price."""
    rates, weights = np.full(SOURCES_MAX, math.nan), np.full(SOURCES_MAX, math.nan)
    coins, usd = 0.0, 0.0
    for i in range(SOURCES_MAX):
        if context.of_asset[a, i] == NOBODY:
            break
        source = context.sources[context.of_asset[a, i]]
        if not math.isnan(source.coins) and not math.isnan(source.usd):
            coins += source.coins
            usd += source.usd
    for i in range(SOURCES_MAX):
        if context.of_asset[a, i] == NOBODY:
            break
        source = context.sources[context.of_asset[a, i]]
        if time_ms <= source.rate_until_ms:
            rates[i] = source.rate_8h
        weights[i] = source.coins
        if math.isnan(source.coins) and usd > 0:
            weights[i] = source.usd * coins / usd
    return weighted_rate(rates, weights)


@jit
def refresh_context(a: int, now_ms: int, asset: Row, context: Context) -> None:
    """Compute the figures of an asset again when a step is over or something was let in."""
    if context.of_asset[a, 0] == NOBODY:
        return
    now_ms = max(now_ms, asset.context_ms)
    step = now_ms // STEP_MS
    if asset.context_step == step:
        return
    asset.context_step = step
    figures = asset.context
    for i in range(len(SPANS)):
        figures[CHANGES + i] = change_pct(*interest_sums(a, step, SPANS[i], context.coins, NOBODY, NOBODY, context))
    before, after = interest_sums(a, step, SPANS[0], context.usd, NOBODY, NOBODY, context)
    figures[USD_PER_S] = (after - before) / (SPANS[0] * STEP_MS / 1_000)
    figures[RATE] = _rate(a, now_ms, context)
    course(context.totals[a, TOTAL_RATE], asset.totals_head, now_ms // funding.STEP_MS, figures[RATE_TREND:])
    if math.isnan(figures[RATE]):
        figures[RATE_TREND] = figures[RATE_VELOCITY] = figures[RATE_ACCELERATION] = math.nan


@jit
def interest_sums(
    a: int, step: int, span: int, rings: Array, slot: int, market: int, context: Context
) -> tuple[float, float]:
    """Open interest of the sources that take part, before and after the span that ends at `step`; NaN without any.

    `slot`, `market`: of these alone, NOBODY for all."""
    before, after, known = 0.0, 0.0, False
    for s in context.of_asset[a]:
        if s == NOBODY:
            break
        source = context.sources[s]
        if (slot != NOBODY and source.slot != slot) or (market != NOBODY and source.market != market):
            continue
        ends = ends_of(rings[s], source.head, step, span)
        if not math.isnan(ends[0]):
            before += ends[0]
            after += ends[1]
            known = True
    return (before, after) if known else (math.nan, math.nan)
