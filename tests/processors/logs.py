"""Logs for tests of the detector: liquidations and ticks in the order in which they are folded."""

import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from processors.detector import Delivered, Detector, Output
from processors.settings import DetectorSettings
from processors.windows.run import LogRun
from processors.windows.store import NOTIONAL_USD_MAX
from schemas.codec import Codec, to_json
from schemas.records import Funding, JournalContext, JournalEntry, Liquidation, OpenInterest
from schemas.topics import FUNDING, LIQUIDATIONS, OPEN_INTEREST
from schemas.words import Completeness, Exchange, JournalKind, Market, PriceKind, Side

START_MS = 1_760_000_000_000
EXCHANGES = tuple(Exchange)[1:]
TICK_MS = 200
CODEC = Codec()
Entry = Delivered | JournalEntry


def liquidation(
    event_time_ms: int,
    *,
    asset: str = "BTC",
    exchange: Exchange = Exchange.BYBIT,
    side: Side = Side.LONG,
    notional_usd: float = 1_000.0,
    backlog: bool = False,
    completeness: Completeness = Completeness.ALL,
    name: object = 0,
) -> Liquidation:
    """One liquidation; times from START_MS."""
    return Liquidation(
        event_id=f"{exchange}:{asset}:{event_time_ms}:{name}",
        exchange=exchange,
        asset=asset,
        instrument=f"{asset}USDT",
        market=Market.USDT,
        side=side,
        price=100.0,
        quantity=notional_usd / 100,
        notional_usd=notional_usd,
        price_kind=PriceKind.BANKRUPTCY,
        completeness=completeness,
        event_time_ms=START_MS + event_time_ms,
        received_time_us=(START_MS + event_time_ms) * 1_000,
        backlog=backlog,
    )


def at(offset: int, append_time_ms: int, event: Liquidation) -> Delivered:
    """A liquidation in the log; time from START_MS."""
    return Delivered(offset, START_MS + append_time_ms, event)


def tick(sequence: int, time_ms: int, *, after_offset: int = -1, epoch: int = 1) -> JournalEntry:
    """A tick; time from START_MS."""
    return JournalEntry(
        partition=0,
        epoch=epoch,
        sequence=sequence,
        after_offset=after_offset,
        kind=JournalKind.TICK,
        append_time_ms=START_MS + time_ms,
    )


def open_interest(
    *,
    asset: str = "BTC",
    exchange: Exchange = Exchange.BYBIT,
    instrument: str = "BTCUSDT",
    coins: float | None = 100.0,
    usd: float | None = 10_000.0,
    market: Market = Market.USDT,
) -> OpenInterest:
    """Open interest of one contract."""
    return OpenInterest(
        event_id="",
        exchange=exchange,
        asset=asset,
        instrument=instrument,
        market=market,
        open_interest=coins,
        open_interest_usd=usd,
        event_time_ms=START_MS,
        received_time_us=0,
    )


def funding(
    event_time_ms: int,
    rate_8h: float,
    *,
    asset: str = "BTC",
    exchange: Exchange = Exchange.BYBIT,
    instrument: str = "BTCUSDT",
    interval_hours: float = 8.0,
    settled: bool = False,
) -> Funding:
    """Funding of one contract; time from START_MS."""
    return Funding(
        event_id="",
        exchange=exchange,
        asset=asset,
        instrument=instrument,
        market=Market.USDT,
        rate=rate_8h * interval_hours / 8,
        interval_hours=interval_hours,
        rate_8h=rate_8h,
        settled=settled,
        event_time_ms=START_MS + event_time_ms,
        received_time_us=0,
    )


def context(
    sequence: int, append_time_ms: int, record: OpenInterest | Funding, *, after_offset: int = -1
) -> JournalEntry:
    """A record of another topic as it is let in; time from START_MS."""
    topic = OPEN_INTEREST if isinstance(record, OpenInterest) else FUNDING
    return JournalEntry(
        partition=0,
        epoch=1,
        sequence=sequence,
        after_offset=after_offset,
        kind=JournalKind.CONTEXT,
        context=JournalContext(
            topic=topic.name,
            partition=0,
            offset=sequence,
            append_time_ms=START_MS + append_time_ms,
            key=record.asset.encode(),
            value=CODEC.encode(topic, record),
        ),
    )


def with_context(log: Iterable[Entry], seed: int, *, assets: Sequence[str], every_ms: int = 4_000) -> list[Entry]:
    """The log with open interest and funding of several contracts let in between, and its entries numbered anew."""
    rng = random.Random(seed)
    merged: list[Entry] = []
    told_ms = sequence = 0
    coins = {asset: 1_000.0 for asset in assets}
    for entry in log:
        time_ms = entry.append_time_ms
        assert time_ms is not None
        offset = entry.offset - 1 if isinstance(entry, Delivered) else entry.after_offset
        while told_ms <= time_ms - START_MS and len(merged) < 20_000:
            told_ms += rng.choice((0, every_ms // 4, every_ms, every_ms, 3 * every_ms))
            told_ms = max(told_ms, time_ms - START_MS - 400_000)
            asset, exchange = rng.choice(assets), rng.choice(EXCHANGES[:2])
            instrument = rng.choice(("A", "B"))
            coins[asset] *= rng.choice((0.99, 0.995, 1.002))
            record: OpenInterest | Funding = open_interest(
                asset=asset,
                exchange=exchange,
                instrument=instrument,
                coins=rng.choice((coins[asset], coins[asset], None)),
                usd=round(coins[asset] * rng.uniform(90, 110), 2),
            )
            if rng.random() < 0.4:
                record = funding(
                    told_ms - rng.choice((0, 0, 7_000_000)),
                    rng.choice((-1, 1, 1, 2)) * rng.random() / 800,
                    asset=asset,
                    exchange=exchange,
                    instrument=instrument,
                    interval_hours=rng.choice((0.05, 1.0, 8.0)),
                )
            merged.append(context(sequence, told_ms + rng.choice((0, -15_000)), record, after_offset=offset))
            sequence += 1
        if isinstance(entry, JournalEntry):
            entry = msgspec.structs.replace(entry, sequence=sequence)
            sequence += 1
        merged.append(entry)
    return merged


def new_detector(settings: DetectorSettings | None = None) -> Detector:
    """A detector of partition 0."""
    return Detector(settings or DetectorSettings(), partition=0)


def fold_all(detector: Detector, log: Iterable[Entry]) -> list[Output]:
    """Fold entries one by one."""
    outputs: list[Output] = []
    for entry in log:
        outputs += detector.apply(entry) if isinstance(entry, JournalEntry) else detector.fold([entry])
    return outputs


def silence(detector: Detector, first_ms: int, *, sequence: int = 0) -> list[Output]:
    """Ticks from `first_ms` on until nothing is open."""
    outputs: list[Output] = []
    while detector.wants_ticks:
        outputs += detector.apply(tick(sequence, first_ms, after_offset=detector.next_offset - 1))
        sequence, first_ms = sequence + 1, first_ms + TICK_MS
    return outputs


def random_log(
    seed: int, events: int, *, assets: Sequence[str] = ("BTC", "ETH", "SOL"), ticks: bool = True
) -> list[Entry]:
    """Bursts and silences, lags from none to beyond every grace, backlogs, times ahead of the log, ticks in between."""
    return list(random_entries(seed, events, assets=assets, ticks=ticks))


def random_entries(seed: int, events: int, *, assets: Sequence[str], ticks: bool = True) -> Iterator[Entry]:
    """The same, one by one."""
    rng = random.Random(seed)
    now, sequence, offset = 0, 0, 0
    gap_ms = 5.0
    events_before: deque[Liquidation] = deque(maxlen=300)
    while offset < events:
        if rng.random() < 0.03:
            gap_ms = rng.choice((0.5, 2.0, 5.0, 20.0, 100.0, 1_000.0))
        now += int(rng.expovariate(1 / gap_ms))
        if rng.random() < 0.002:
            silent_ms = rng.choice((3_000, 15_000, 90_000, 700_000))
            for _ in range(min(silent_ms // TICK_MS, 120) if ticks else 0):
                now += TICK_MS
                yield tick(sequence, now, after_offset=offset - 1)
                sequence += 1
            now += silent_ms
        elif ticks and rng.random() < 0.05:
            yield tick(sequence, now - rng.choice((0, 0, 50)), after_offset=offset - 1)
            sequence += 1
        lag_ms = rng.choice((0, 3, 100, 300, 1_000, 1_000, 3_300, rng.randrange(6_000), rng.randrange(40_000), -200))
        event = liquidation(
            now - lag_ms,
            asset=rng.choice(assets),
            exchange=rng.choice(EXCHANGES[:3]) if rng.random() < 0.9 else rng.choice(EXCHANGES),
            side=rng.choice((Side.LONG, Side.LONG, Side.SHORT)),
            notional_usd=min(round(rng.lognormvariate(9, 2.5), 6), NOTIONAL_USD_MAX),
            backlog=rng.random() < 0.01,
            name=offset,
        )
        if rng.random() < 0.05 and events_before:
            event = rng.choice(events_before)  # comes again
        events_before.append(event)
        yield at(offset, now - rng.choice((0, 0, 0, 7)), event)
        offset += 1


def cascade_log(seed: int, *, assets: Sequence[str] = ("BTC",), peak_per_s: int = 160) -> list[Entry]:
    """40 s: calm, growth over several exchanges to `peak_per_s` an asset, ebb; ticks in between and for 60 s after."""
    rng = random.Random(seed)
    log: list[Entry] = []
    offset = sequence = 0
    for now in range(0, 40_000, 10):
        phase_s = now / 1_000
        rate_per_s = 0.3 if phase_s < 8 else peak_per_s * max(0.0, 1 - abs(phase_s - 18) / 10) + 0.3
        if now % TICK_MS == 0:
            log.append(tick(sequence, now, after_offset=offset - 1))
            sequence += 1
        for asset in assets:
            while rng.random() < rate_per_s / 100 / (1 + rate_per_s / 100):
                event = liquidation(
                    now - rng.choice((20, 100, 300, 1_000)),
                    asset=asset,
                    exchange=rng.choice(EXCHANGES[: 1 + min(4, now // 9_000)]),
                    side=Side.LONG if rng.random() < 0.95 else Side.SHORT,
                    notional_usd=round(rng.lognormvariate(11, 1.5), 6),
                    name=offset,
                )
                log.append(at(offset, now, event))
                offset += 1
    for now in range(40_000, 100_000, TICK_MS):
        log.append(tick(sequence, now, after_offset=offset - 1))
        sequence += 1
    return log


def heard(log: Iterable[Entry]) -> LogRun:
    """What a new owner reads of the log before its place."""
    told = [one for one in log if isinstance(one, Delivered)]
    return LogRun(
        [one.offset for one in told],
        [one.append_time_ms for one in told],
        [CODEC.encode(LIQUIDATIONS, one.liquidation) for one in told],
    )


def as_lines(outputs: Iterable[Output]) -> list[bytes]:
    """Outputs as bytes, to compare them to the last one."""
    return [b"%s %s %s" % (one.topic.name.encode(), one.key.encode(), to_json(one.record)) for one in outputs]
