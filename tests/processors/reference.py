"""The detector once more, as plainly as it can be said: lists of events, no panes, no increments, exact fractions.

It keeps every event and counts again whatever is asked. Slow, and only for tests."""

import math
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations
from typing import Any

from processors.detector import Delivered, Detector, Output
from processors.settings import DetectorSettings
from schemas.records import AssetState, CascadeAlert, Funding, JournalEntry, Liquidation, OpenInterest, WindowAggregate
from schemas.topics import OPEN_INTEREST
from schemas.words import EXCHANGE_SLOTS, LEVEL_RANKS, LEVELS, Exchange, Side
from tests.processors.logs import CODEC
from tests.processors.reference_context import AssetContext

NONE, WATCH, ALERT, CRITICAL, EXTREME = range(1, 6)
EXCHANGES = tuple(Exchange)
Row = tuple[int, int, int, int]  # event_ms, slot, side (0 long), micro-USD
Published = tuple[str, str, dict[str, Any]]


@dataclass
class Asset:
    """What is known of one asset."""

    rows: list[list[Row]]  # by size, ordered by time
    all_ms: list[tuple[int, int]] = field(default_factory=list)  # (event_ms, slot) of every event within a grace
    open: set[tuple[int, int]] = field(default_factory=set)  # (size index, start) of open tumbling windows
    level: int = NONE
    peak: int = NONE
    justified: list[tuple[int, int]] = field(default_factory=list)  # (T, rank)
    flagged: dict[int, int] = field(default_factory=dict)
    episode_ms: int = 0
    episode_from_ms: int = 0
    sequence: int = 0
    alert_ms: int = -(10**15)
    state_ms: int = -(10**15)
    fresh: bool = False
    quiet: bool = True
    correlation: float | None = None
    correlation_s: int = -1
    lag: tuple[int, int | None, int | None] = (-1, None, None)  # second, leader, ms
    episode_rows: list[tuple[int, int]] = field(default_factory=list)  # (pane start, slot)


class Reference:
    """`fold` one record or `tick`; gives (topic, id, fields) in the order of the log."""

    def __init__(self, settings: DetectorSettings) -> None:
        self.s = settings
        self.sizes = settings.windows
        self.judged = [window.size_ms for window in settings.windows].index(settings.judged_size_ms)
        self.now = 0
        self.progress_s = -1
        self.assets: dict[str, Asset] = {}
        self.heard_ms: dict[str, int] = {}
        self.context: defaultdict[str, AssetContext] = defaultdict(AssetContext)
        self.out: list[Published] = []

    def fold(self, delivered: Delivered) -> list[Published]:
        self.out = []
        self.now = max(self.now, delivered.append_time_ms)
        self._clock()
        event = delivered.liquidation
        known = self.heard_ms.get(event.event_id, -(10**15))
        self.heard_ms[event.event_id] = delivered.append_time_ms
        if delivered.append_time_ms - known < 600_000:
            return self.out
        lag = self.now - event.event_time_ms
        asset = self.assets.setdefault(event.asset, Asset([[] for _ in self.sizes]))
        if event.backlog or lag > max(size.grace_ms for size in self.sizes):
            self.out.append(("market.late", event.event_id, {}))
            return self.out
        self._event(event.asset, asset, event, max(0, lag))
        return self.out

    def tick(self, tick_ms: int) -> list[Published]:
        self.out = []
        self.now = max(self.now, tick_ms)
        self._clock()
        pane = self.sizes[self.judged].size_ms // 10
        end = (self.now - self.s.tick_lag_ms) // pane - 1
        for name in sorted(self.assets):
            asset = self.assets[name]
            if asset.quiet and asset.level == NONE:
                continue
            self._correlate(asset)
            rank, _ = self._rank(name, asset, end)
            asset.justified.append((self.now, rank))
            self._publish(name, asset, rank, {self.judged: end} if rank > asset.level else {})
        return self.out

    def let_in(self, append_ms: int, record: OpenInterest | Funding) -> list[Published]:
        self.context[record.asset].hear(append_ms, record)
        return []

    def _event(self, name: str, asset: Asset, event: Liquidation, lag: int) -> None:
        time = self.now - lag
        slot, side = EXCHANGE_SLOTS[event.exchange], 0 if event.side is Side.LONG else 1
        row = (time, slot, side, round(Fraction(repr(event.notional_usd)) * 10**6))
        self._correlate(asset)
        insort(asset.all_ms, (time, slot))
        if asset.level > NONE and time >= asset.episode_from_ms:
            finest = self.sizes[0].size_ms // 10
            asset.episode_rows.append((time // finest * finest, slot))
        ends, rank = {}, NONE
        for index, size in enumerate(self.sizes):
            if lag > size.grace_ms:
                continue
            insort(asset.rows[index], row)
            asset.open.add((index, time // size.size_ms * size.size_ms))
            pane = size.size_ms // 10
            newest = asset.rows[index][-1][0] // pane
            candidates = range(time // pane, min(time // pane + 9, newest) + 1)
            counts = [(len(self._window(asset, index, end)), end) for end in candidates]
            if max(counts)[0] >= size.flag_events:
                asset.flagged[index] = self.now
            if index == self.judged:
                rank, _, ends[index] = max((*self._rank(name, asset, end), end) for end in candidates)
            else:
                ends[index] = max(counts)[1]
        asset.justified.append((self.now, rank))
        asset.fresh, asset.quiet = True, False
        self._publish(name, asset, rank, ends)

    def _publish(self, name: str, asset: Asset, rank: int, ends: dict[int, int]) -> None:
        figures = None
        if rank > asset.level:
            figures = self._figures(name, asset, ends)
            before = asset.level
            if before == NONE:
                asset.episode_ms, asset.sequence, asset.peak = self.now, 0, NONE
                pane = self.sizes[self.judged].size_ms // 10
                to = (figures["_end"] + 1) * pane
                asset.episode_from_ms = to - self.s.judged_size_ms
                finest = self.sizes[0].size_ms // 10
                kept = asset.rows[0][-1][0] // finest - self._finest_kept() + 1 if asset.rows[0] else 0
                asset.episode_rows = [
                    (time // finest * finest, slot)
                    for time, slot, _, _ in asset.rows[0]
                    if asset.episode_from_ms <= time < to and time // finest >= kept
                ]
            asset.level, asset.peak = rank, max(asset.peak, rank)
            self._alert(name, asset, "RAISED", before, figures)
        elif asset.level > NONE and asset.fresh and self.now - asset.alert_ms >= self.s.update_interval_ms:
            figures = self._figures(name, asset, ends)
            self._alert(name, asset, "UPDATED", asset.level, figures)
        if not asset.quiet and self.now - asset.state_ms >= self.s.state_interval_ms:
            figures = figures or self._figures(name, asset, ends)
            asset.state_ms = self.now
            asset.quiet = figures["windows"][self.judged]["events"] == 0 and asset.level == NONE
            self.out.append(("signals.state", "", self._record(name, asset, asset.level, figures)))

    def _finest_kept(self) -> int:
        size = self.sizes[0]
        return 20 + math.ceil(Fraction(size.grace_ms, size.size_ms // 10)) + 2

    def _clock(self) -> None:
        due = []
        for name, asset in self.assets.items():
            for index, start in asset.open:
                size = self.sizes[index]
                if start + size.size_ms + size.grace_ms <= self.now:
                    due.append((start + size.size_ms, index, name, start))
        for end, index, name, start in sorted(due):
            asset, size = self.assets[name], self.sizes[index]
            asset.open.remove((index, start))
            rows = _between(asset.rows[index], start, end)
            fields = {
                "events": len(rows),
                "long_events": sum(row[2] == 0 for row in rows),
                "notional_usd": sum(row[3] for row in rows) / 10**6,
                "long_notional_usd": sum(row[3] for row in rows if row[2] == 0) / 10**6,
                "exchanges": {
                    EXCHANGES[slot].value: (
                        sum(row[1] == slot for row in rows),
                        sum(row[3] for row in rows if row[1] == slot) / 10**6,
                    )
                    for slot in {row[1] for row in rows}
                },
                "append_time_ms": end + size.grace_ms,
            }
            self.out.append(("signals.windows", f"{name}:{size.size_ms}:{start}", fields))
        for name in sorted(self.assets):
            asset = self.assets[name]
            asset.justified = [(at, rank) for at, rank in asset.justified if at + self.s.hold_ms > self.now]
            rank = max((rank for _, rank in asset.justified), default=NONE)
            if rank < asset.level:
                before, asset.level = asset.level, rank
                kind = "ENDED" if rank == NONE else "LOWERED"
                self._alert(name, asset, kind, before, self._figures(name, asset, {}))
                if rank == NONE:
                    asset.peak, asset.episode_rows = NONE, []
        if self.now // 1_000 > self.progress_s:
            self.progress_s = self.now // 1_000
            self.out.append(("signals.state", "", {"kind": "PROGRESS", "append_time_ms": self.now}))

    def _alert(self, name: str, asset: Asset, kind: str, before: int, figures: dict[str, Any]) -> None:
        fields = self._record(name, asset, before, figures) | {"kind": kind, "sequence": asset.sequence}
        self.out.append(("alerts.cascades", f"{name}:{asset.episode_ms}:{asset.sequence}", fields))
        asset.sequence += 1
        asset.alert_ms = self.now
        asset.fresh = False

    def _record(self, name: str, asset: Asset, before: int, figures: dict[str, Any]) -> dict[str, Any]:
        first = min(asset.episode_rows, default=None)
        return {name: value for name, value in figures.items() if name[0] != "_"} | {
            "kind": "ASSET",
            "asset": name,
            "level": LEVELS[asset.level],
            "previous_level": LEVELS[before],
            "peak_level": LEVELS[asset.peak],
            "first_mover": None if first is None else EXCHANGES[first[1]],
            "append_time_ms": self.now,
        }

    def _window(self, asset: Asset, index: int, end: int) -> list[Row]:
        """Events of the ten panes that end with pane `end`."""
        pane = self.sizes[index].size_ms // 10
        return _between(asset.rows[index], (end - 9) * pane, (end + 1) * pane)

    def _score(self, name: str, asset: Asset, rows: list[Row], before: list[Row]) -> tuple[list[Fraction], bool]:
        score, weights = self.s.score, self.s.score.weights
        size_s = Fraction(self.s.judged_size_ms, 1_000)
        velocity, usd = len(rows) / size_s, sum(row[3] for row in rows) / size_s / 10**6
        acceleration = (len(rows) - len(before)) / size_s**2
        context = min(
            Fraction(1),
            max(velocity / Fraction(score.events_per_s_warning), usd / Fraction(score.notional_usd_per_s_warning)),
        )
        critical = Fraction(score.acceleration_events_per_s2_critical)
        terms = [
            Fraction(repr(weights.velocity)) * min(Fraction(1), velocity / Fraction(score.events_per_s_critical)),
            Fraction(repr(weights.acceleration)) * min(Fraction(1), max(Fraction(0), acceleration) / critical),
            Fraction(repr(weights.volume)) * min(Fraction(1), usd / Fraction(score.notional_usd_per_s_critical)),
            Fraction(repr(weights.correlation)) * context * Fraction(asset.correlation or 0.0),
            *self._context_terms(name, rows, context),
        ]
        return [_in_billionths(term) for term in terms], acceleration >= 2 * critical

    def _context_terms(self, name: str, rows: list[Row], g: Fraction) -> tuple[Fraction, Fraction]:
        score, weights = self.s.score, self.s.score.weights
        context = self.context[name].figures(self.now)
        rate, change = context["funding_rate_8h"] or 0, context["open_interest_change_5m_pct"] or 0
        longs = sum(row[3] if row[2] == 0 else -row[3] for row in rows)
        paid = abs(Fraction(rate)) / Fraction(repr(score.funding_rate_8h_critical)) if rate * longs > 0 else Fraction(0)
        fallen = max(Fraction(0), -Fraction(change)) / Fraction(score.open_interest_drop_pct_critical)
        return (
            Fraction(repr(weights.funding)) * g * min(Fraction(1), paid),
            Fraction(repr(weights.open_interest)) * g * min(Fraction(1), fallen),
        )

    def _rank(self, name: str, asset: Asset, end: int) -> tuple[int, Fraction]:
        rows, before = self._window(asset, self.judged, end), self._window(asset, self.judged, end - 10)
        terms, boost = self._score(name, asset, rows, before)
        p = min(Fraction(1), sum(terms, Fraction(0)) * (Fraction(self.s.score.boost) if boost else 1))
        p = _in_billionths(p)
        size_s, levels = Fraction(self.s.judged_size_ms, 1_000), self.s.levels
        velocity, acceleration = len(rows) / size_s, (len(rows) - len(before)) / size_s**2
        if p > Fraction("0.9") or velocity > levels.extreme_events_per_s:
            return EXTREME, p
        fast = velocity > levels.critical_events_per_s and acceleration > levels.critical_acceleration_events_per_s2
        if p > Fraction("0.7") or fast:
            return CRITICAL, p
        if p > Fraction("0.5") or velocity > levels.alert_events_per_s:
            return ALERT, p
        return (WATCH if p > Fraction("0.3") or velocity > levels.watch_events_per_s else NONE), p

    def _figures(self, name: str, asset: Asset, ends: dict[int, int]) -> dict[str, Any]:
        self._correlate(asset)
        windows: list[dict[str, Any]] = []
        flags = []
        judged_end = 0
        for index, size in enumerate(self.sizes):
            pane = size.size_ms // 10
            newest = asset.rows[index][-1][0] // pane if asset.rows[index] else -(10**15)
            end = ends.get(index, max(newest, (self.now - self.s.tick_lag_ms) // pane - 1))
            if index == self.judged:
                judged_end = end
            rows, before = self._window(asset, index, end), self._window(asset, index, end - 10)
            usd, usd_before = (Fraction(sum(row[3] for row in part), 10**6) for part in (rows, before))
            size_s = Fraction(size.size_ms, 1_000)
            longs = Fraction(sum(row[3] for row in rows if row[2] == 0), 10**6)
            windows.append(
                {
                    "size_ms": size.size_ms,
                    "events": len(rows),
                    "events_per_s": len(rows) / size_s,
                    "notional_usd_per_s": usd / size_s,
                    "acceleration_events_per_s2": (len(rows) - len(before)) / size_s**2,
                    "acceleration_usd_per_s2": (usd - usd_before) / size_s**2,
                    "long_share": longs / usd if usd else None,
                }
            )
            held = index in asset.flagged and self.now - asset.flagged[index] < self.s.hold_ms
            if len(rows) >= size.flag_events or held:
                flags.append(size.flag)
        rows, before = (self._window(asset, self.judged, judged_end - back) for back in (0, 10))
        terms, boost = self._score(name, asset, rows, before)
        rank, p = self._rank(name, asset, judged_end)
        by_slot = {slot: [row for row in rows if row[1] == slot] for slot in {row[1] for row in rows}}
        leader = max(by_slot, key=lambda slot: (_usd(by_slot[slot]), len(by_slot[slot]), -slot), default=None)
        share = windows[self.judged]["long_share"]
        side = Side.UNKNOWN if share is None or share == Fraction(1, 2) else Side.LONG if share > 0.5 else Side.SHORT
        return {
            "_end": judged_end,
            "windows": windows,
            "absolute_level": LEVELS[rank],
            "probability": p,
            "boost": self.s.score.boost if boost else 1.0,
            "contributions": terms,
            **self.context[name].figures(self.now),
            "flags": tuple(flags),
            "leading_exchange": None if leader is None else EXCHANGES[leader],
            "side": side,
            "active": {EXCHANGES[slot].value: (len(part), _usd(part)) for slot, part in by_slot.items()},
            "correlation": asset.correlation,
            "correlation_lag_ms": self._lag(asset, leader),
            "event_time_ms": asset.all_ms[-1][0],
        }

    def _bins(self, asset: Asset, width_ms: int) -> dict[int, list[int]]:
        end = self.now // 1_000 * 1_000
        start = end - self.s.correlation.span_ms
        bins = {slot: [0] * (self.s.correlation.span_ms // width_ms) for slot in range(len(EXCHANGES))}
        for time, slot in _between(asset.all_ms, start, end):
            bins[slot][(time - start) // width_ms] += 1
        return {slot: counts for slot, counts in bins.items() if sum(counts) >= self.s.correlation.events_min}

    def _correlate(self, asset: Asset) -> None:
        if asset.correlation_s == self.now // 1_000:
            return
        asset.correlation_s = self.now // 1_000
        dense = self._bins(asset, self.s.correlation.bin_ms)
        pairs = [_pearson(dense[a], dense[b]) for a, b in combinations(sorted(dense), 2)]
        asset.correlation = min(1.0, max(0.0, sum(pairs) / len(pairs))) if pairs else None

    def _lag(self, asset: Asset, leader: int | None) -> int | None:
        if leader is None or asset.correlation is None:
            asset.lag = (-1, None, None)
        elif asset.lag[:2] != (self.now // 1_000, leader):
            width_ms, most = self.s.correlation.lag_bin_ms, self.s.correlation.lag_ms_max
            dense = self._bins(asset, width_ms)
            best = None
            if leader in dense and len(dense) > 1:
                x = dense.pop(leader)
                y = [sum(counts) for counts in zip(*dense.values(), strict=True)]
                shifts = sorted(range(-most // width_ms, most // width_ms + 1), key=lambda k: (abs(k), -k))
                best = max(
                    shifts, key=lambda k: _pearson(x[: len(x) - k], y[k:]) if k >= 0 else _pearson(x[-k:], y[:k])
                )
                best *= width_ms
            asset.lag = (self.now // 1_000, leader, best)
        return asset.lag[2]


def step(detector: Detector, reference: Reference, part: JournalEntry | list[Delivered]) -> int:
    """One entry of the journal, or a run of liquidations, through both; returns how many outputs there were."""
    if isinstance(part, JournalEntry):
        outputs, expected = [*detector.apply(part)], _apply(reference, part)
    else:
        outputs = detector.fold(part)
        expected = [published for delivered in part for published in reference.fold(delivered)]
    assert_same(outputs, expected)
    return len(expected)


def _apply(reference: Reference, entry: JournalEntry) -> list[Published]:
    if entry.context is None:
        assert entry.append_time_ms is not None
        return reference.tick(entry.append_time_ms)
    value = entry.context.value
    is_interest = entry.context.topic == OPEN_INTEREST.name
    record = CODEC.decode(OpenInterest, value) if is_interest else CODEC.decode(Funding, value)
    return reference.let_in(entry.context.append_time_ms, record)


def _between(ordered: list[Any], from_ms: int, to_ms: int) -> list[Any]:
    """Those from `from_ms` until before `to_ms`, by their first field."""
    return ordered[bisect_left(ordered, (from_ms,)) : bisect_left(ordered, (to_ms,))]


def _in_billionths(number: Fraction) -> Fraction:
    """As terms and probability count: levels compare whole billionths."""
    return Fraction(round(number * 10**9), 10**9)


def _usd(rows: list[Row]) -> float:
    return sum(row[3] for row in rows) / 10**6


def _pearson(x: list[int], y: list[int]) -> float:
    n = len(x)
    over = n * sum(a * b for a, b in zip(x, y, strict=True)) - sum(x) * sum(y)
    under = (n * sum(a * a for a in x) - sum(x) ** 2, n * sum(b * b for b in y) - sum(y) ** 2)
    return over / (math.sqrt(under[0]) * math.sqrt(under[1])) if min(under) > 0 else 0.0


def assert_same(outputs: Iterable[Output], expected: list[Published]) -> None:
    """Whole numbers, words and ids are equal; floats are the exact value to half a millionth and 1e-9 of it."""
    given = list(outputs)
    assert [(one.topic.name, one.id) for one in given] == [(topic, id_) for topic, id_, _ in expected]
    for one, (_, _, fields) in zip(given, expected, strict=True):
        record = one.record
        if isinstance(record, WindowAggregate):
            parts = {name: (part.events, part.notional_usd) for name, part in record.exchanges.items()}
            same = {name: getattr(record, name) for name in fields if name != "exchanges"} | {"exchanges": parts}
            assert same == fields, record
        elif isinstance(record, AssetState | CascadeAlert):
            _assert_figures(record, fields)


def _assert_figures(record: AssetState | CascadeAlert, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        if name == "windows":
            for window, exact in zip(record.windows, value, strict=True):
                for part, number in exact.items():
                    assert _close(getattr(window, part), number), (record, part, number)
        elif name == "contributions":
            given = [getattr(record.contributions, part) for part in record.contributions.__struct_fields__]
            for term, number in zip(given, value, strict=True):
                assert abs(term - number) <= 1.01e-6, (record, term, number)  # rounded so that they add up
            assert round(sum(given), 9) == round(float(Fraction(round(sum(value) * 10**6), 10**6)), 9)
        elif name == "active":
            active = {one: part for one, part in record.exchanges.items() if part.active}
            size_s = 2.0
            total = sum(usd for _, usd in value.values())
            assert set(active) == set(value)
            for one, (events, usd) in value.items():
                assert _close(active[one].events_per_s, events / size_s)
                assert _close(active[one].notional_usd_per_s, usd / size_s)
                assert _close(active[one].share, usd / total if total else 0.0)
        else:
            assert _close(getattr(record, name), value), (record, name, value)


def _close(given: Any, exact: Any) -> bool:
    if isinstance(exact, Fraction | float) and given is not None:
        return bool(abs(given - exact) <= 0.5001e-6 + 1e-9 * abs(float(exact)))
    return bool(given == exact)


assert LEVEL_RANKS["NONE"] == NONE
