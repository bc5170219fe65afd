"""Open interest and funding once more: every record is kept, and figures are counted again from all of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from schemas.records import Funding, OpenInterest

Told = tuple[int, OpenInterest | Funding]  # append time and record, in the order in which they were let in
FIELDS = (
    "open_interest_change_1m_pct",
    "open_interest_change_5m_pct",
    "open_interest_change_1h_pct",
    "open_interest_usd_per_s",
    "funding_rate_8h",
    "funding_trend",
    "funding_max_24h",
    "funding_velocity_per_h",
    "funding_acceleration_per_h2",
)
Figures = dict[str, Fraction | None]


@dataclass
class AssetContext:
    """What was let in of one asset."""

    told: list[Told] = field(default_factory=list)
    rates: dict[int, Fraction | None] = field(default_factory=dict)  # by step of 5 min
    newest_ms: int = 0

    def hear(self, append_ms: int, record: OpenInterest | Funding) -> None:
        self.told.append((append_ms, record))
        if append_ms >= self.newest_ms:
            self.newest_ms = append_ms
            self.rates[append_ms // 300_000] = weighted(self.told, append_ms)

    def figures(self, now_ms: int) -> Figures:
        now_ms = max(now_ms, self.newest_ms)
        values: list[Fraction | None] = []
        for span_s in (60, 300, 3_600):
            before, after = sums(self.told, now_ms, span_s, "open_interest")
            values.append((after - before) / before * 100 if before else None)
        before, after = sums(self.told, now_ms, 60, "open_interest_usd")
        values.append((after - before) / 60 if after or before else None)
        rate = weighted(self.told, now_ms)
        return dict(zip(FIELDS, (*values, rate, *self._course(now_ms // 300_000, rate)), strict=True))

    def _course(self, now_step: int, rate: Fraction | None) -> tuple[Fraction | None, ...]:
        kept = [
            (step, known)
            for step, known in sorted(self.rates.items(), reverse=True)
            if now_step - 288 < step and known is not None
        ]
        top = max((known for _, known in kept), key=abs, default=None)
        if rate is None or not kept:
            return None, top, None, None
        hours = [Fraction(step, 12) for step, _ in kept]
        slopes = [(kept[i][1] - kept[i + 1][1]) / (hours[i] - hours[i + 1]) for i in range(len(kept[:3]) - 1)]
        last = kept[:10]
        return (
            last[0][1] - last[-1][1] if len(last) > 1 else None,
            top,
            slopes[0] if slopes else None,
            (slopes[0] - slopes[1]) / ((hours[0] - hours[2]) / 2) if len(slopes) > 1 else None,
        )


def sums(told: Iterable[Told], now_ms: int, span_s: int, name: str) -> tuple[Fraction, Fraction]:
    """Open interest at both ends, of the sources that are there at both."""
    sources: dict[tuple[str, str], dict[int, Fraction]] = {}
    for append_ms, record in told:
        value = getattr(record, name, None)
        if value is not None:
            sources.setdefault((record.exchange, record.instrument), {})[append_ms // 10_000] = Fraction(value)
    step, span = now_ms // 10_000, span_s // 10
    slack = min(span // 2, 30)
    before, after = Fraction(0), Fraction(0)
    for values in sources.values():
        ends = [max((k for k in values if end - slack <= k <= end), default=None) for end in (step - span, step)]
        if ends[0] is not None and ends[1] is not None:
            before += values[ends[0]]
            after += values[ends[1]]
    return before, after


def weighted(told: Iterable[Told], now_ms: int) -> Fraction | None:
    """The rate weighted by open interest."""
    interest: dict[tuple[str, str], tuple[int, OpenInterest]] = {}
    rates: dict[tuple[str, str], Funding] = {}
    for append_ms, record in told:
        source = (record.exchange.value, record.instrument)
        if isinstance(record, OpenInterest):
            if append_ms >= interest.get(source, (0, record))[0]:
                interest[source] = (append_ms, record)
        elif source not in rates or record.event_time_ms >= rates[source].event_time_ms:
            rates[source] = record
    both = [
        (Fraction(one.open_interest), Fraction(one.open_interest_usd))
        for _, one in interest.values()
        if one.open_interest is not None and one.open_interest_usd is not None
    ]
    coins, usd = sum((pair[0] for pair in both), Fraction(0)), sum((pair[1] for pair in both), Fraction(0))
    known, plain = [], []
    for source, one in rates.items():
        if now_ms > one.event_time_ms + round(one.interval_hours * 3_600_000) + 300_000:
            continue
        plain.append(Fraction(one.rate_8h))
        held = interest[source][1] if source in interest else None
        if held is not None and held.open_interest is not None:
            known.append((Fraction(one.rate_8h), Fraction(held.open_interest)))
        elif held is not None and held.open_interest_usd is not None and usd:
            known.append((Fraction(one.rate_8h), Fraction(held.open_interest_usd) * coins / usd))
    weight = sum((pair[1] for pair in known), Fraction(0))
    if weight:
        return sum((rate * one for rate, one in known), Fraction(0)) / weight
    return sum(plain, Fraction(0)) / len(plain) if plain else None
