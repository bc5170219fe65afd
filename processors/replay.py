"""A range of the live topics through the same folds once more, and beside what stands in the alerts topic.

Blocking, one partition after the other, then the market. Journals say what was let in where, and signals.state how the
partitions mixed, so the alerts come out byte for byte."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from processors.detector import Detector
from processors.lead_in import CONTEXT_MS, LEAD_MS, LeadIn, began_ms, lead_in, open_episodes
from processors.market.fold import MarketFold
from processors.market.replay import MarketReplay
from processors.market.settings import MarketSettings
from processors.past import CLOCKS_MS_MAX, Past, Span, Told, is_due, is_within
from processors.settings import DetectorSettings
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.records import CascadeAlert, JournalEntry
from schemas.topics import ALERTS, JOURNAL, LIQUIDATIONS, MARKET


class Difference(NamedTuple):
    """Where published and replayed alerts part: None stands for an alert that is not there."""

    alert_id: str
    field: str
    published: Any
    replayed: Any


@dataclass(kw_only=True)
class Replayed:
    """What a range gives, and how it compares; `verified`: alerts that stand in the topic as replayed."""

    alerts: list[CascadeAlert] = field(default_factory=list)
    not_verified: list[str] = field(default_factory=list)  # episodes that began before what could be replayed
    verified: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    doubled: int = 0
    first_difference: Difference | None = None


class Range(NamedTuple):
    """What one partition's replay reads; `sure_ms`: episodes that began before it are not verified."""

    past: Past
    lead: LeadIn
    liquidations: Span
    journal: Span
    sure_ms: int


class Replay:
    """Alerts with `from_ms` <= append_time_ms < `to_ms`; None: to the end as it is at the start."""

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: DetectorSettings,
        market: MarketSettings,
        *,
        from_ms: int,
        to_ms: int | None,
    ) -> None:
        self._settings, self._from_ms, self._to_ms = settings, from_ms, to_ms
        self._codec = Codec(kafka.schema_registry_url)
        ending = threading.Event()
        pasts = [Past(kafka, self._codec, partition, ending=ending) for partition in range(kafka.partitions)]
        self._ranges = [self._range(past) for past in pasts]
        self._market = MarketReplay(
            kafka,
            self._codec,
            lambda: MarketFold(
                market, partitions=kafka.partitions, judged_size_ms=settings.judged_size_ms, codec=self._codec
            ),
            from_ms=from_ms,
            to_ms=to_ms,
            ending=ending,
        )
        spans = [span for one in self._ranges for span in (one.liquidations, one.journal)]
        self.records = sum(span.end - span.start for span in [*spans, self._market.span])

    def run(self, *, verify: bool, told: Told) -> Replayed:
        """Replay all partitions; `told(n)`: so many more of `records` are done.

        Raises BrokerUnavailable; SchemaError when the journal cannot be read."""
        result = Replayed()
        for one in self._ranges:
            detector = Detector(self._settings, partition=one.past.partition, codec=self._codec)
            alerts = list(self._fold(one, detector, told))
            result.alerts += alerts
            if verify:
                published = self._published(one, alerts, detector.log_time_ms)
                _verify(alerts, published, beyond=one.lead.beyond, sure_ms=one.sure_ms, result=result)
        alerts = list(self._market.run(told))
        result.alerts += alerts
        if verify:
            published = self._market.published()
            _verify(alerts, published, beyond=self._market.beyond, sure_ms=self._market.sure_ms, result=result)
        result.alerts.sort(key=_order)
        return result

    def _range(self, past: Past) -> Range:
        before = past.span(ALERTS, self._from_ms - CONTEXT_MS - CLOCKS_MS_MAX)
        known = (alert for alert in past.alerts(before) if alert.append_time_ms < self._from_ms)
        lead = lead_in(open_episodes(known), self._from_ms)
        liquidations = past.span(LIQUIDATIONS, lead.context_from_ms, self._to_ms)
        sure_ms = 0
        if not liquidations.start:  # all of the log: there is nothing earlier
            lead = lead._replace(context_from_ms=0, from_ms=0)
        elif past.begins_ms(LIQUIDATIONS) > lead.from_ms:  # what was before is gone
            sure_ms = past.begins_ms(LIQUIDATIONS) + LEAD_MS
        return Range(past, lead, liquidations, past.span(JOURNAL, lead.context_from_ms - CLOCKS_MS_MAX), sure_ms)

    def _fold(self, one: Range, detector: Detector, told: Told) -> Iterator[CascadeAlert]:
        entries = self._entries(one, told)
        from_ms = one.lead.context_from_ms
        for outputs in one.past.fold(detector, one.liquidations, entries, from_ms=from_ms, told=told):
            for output in outputs:
                record = output.record if output.topic is ALERTS else None
                if isinstance(record, CascadeAlert) and self._within(record):
                    yield record

    def _entries(self, one: Range, told: Told) -> Iterator[JournalEntry]:
        """The entries that the fold needs, until time is past the range or the liquidations are past its end."""
        for _, entry in one.past.entries(one.journal):
            is_past = self._to_ms is not None and (entry.append_time_ms or 0) >= self._to_ms
            if is_past or entry.after_offset >= one.liquidations.end:
                return
            if is_due(entry, one.lead):
                yield entry
            else:
                told(1)

    def _within(self, alert: CascadeAlert) -> bool:
        return is_within(alert, self._from_ms, self._to_ms)

    def _published(self, one: Range, alerts: list[CascadeAlert], end_ms: int) -> list[CascadeAlert]:
        """The alerts of a partition as they stand in their topic, but for those of what came after what was read."""
        replayed = {alert.alert_id for alert in alerts}
        return [
            alert
            for alert in one.past.alerts(one.past.span(ALERTS, self._from_ms - CLOCKS_MS_MAX))
            if alert.asset != MARKET
            and self._within(alert)
            and (alert.append_time_ms < end_ms or alert.alert_id in replayed)
        ]


def _verify(
    alerts: list[CascadeAlert],
    published: list[CascadeAlert],
    *,
    beyond: Iterable[str],
    sure_ms: int,
    result: Replayed,
) -> None:
    """Compare; episodes that are `beyond`, or began before `sure_ms`, are only named."""
    replayed = {alert.alert_id: alert for alert in alerts}
    found: dict[str, list[CascadeAlert]] = {}
    for alert in published:
        found.setdefault(alert.alert_id, []).append(alert)
    unsure = set(beyond)
    extra = [same[0] for alert_id, same in found.items() if alert_id not in replayed]
    for alert in sorted([*alerts, *extra], key=_order):
        if alert.episode_id in unsure or began_ms(alert.episode_id) < sure_ms:
            unsure.add(alert.episode_id)
        else:
            _compare(alert.alert_id, found.get(alert.alert_id, []), replayed.get(alert.alert_id), result)
    result.not_verified += sorted(unsure)


def _compare(alert_id: str, published: list[CascadeAlert], replayed: CascadeAlert | None, result: Replayed) -> None:
    if replayed is None:
        result.extra += 1
        difference = Difference(alert_id, "alert_id", alert_id, None)
    elif not published:
        result.missing += 1
        difference = Difference(alert_id, "alert_id", None, alert_id)
    else:
        result.doubled += len(published) - 1
        other = next((alert for alert in published if alert != replayed), None)
        if other is None:
            result.verified += 1
            return
        result.different += 1
        name = next(name for name in other.__struct_fields__ if getattr(other, name) != getattr(replayed, name))
        difference = Difference(alert_id, name, _plain(getattr(other, name)), _plain(getattr(replayed, name)))
    result.first_difference = result.first_difference or difference


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


def _order(alert: CascadeAlert) -> tuple[int, str, int]:
    return alert.append_time_ms, alert.asset, alert.sequence
