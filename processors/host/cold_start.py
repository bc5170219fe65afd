"""A partition without a usable state: from the logs, a bounded way back.

What was published says how far former owners were. Everything older than ten minutes before its newest record has been
published or has failed, so a fold that is right from there on needs to publish nothing earlier; what came after is told
apart by its ids, as after any takeover."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import structlog

from processors.cascade.relative import HOUR_MS
from processors.host import metrics
from processors.host.fold import Fold
from processors.host.places import PUBLISHED, Places
from processors.lead_in import CONTEXT_MS, LEAD_MS, lead_in, open_episodes
from processors.past import CLOCKS_MS_MAX, Past, Span, is_due
from schemas.codec import Codec
from schemas.records import JournalEntry, WindowAggregate
from schemas.topics import ALERTS, JOURNAL, LIQUIDATIONS, WINDOWS

IN_FLIGHT_MS_MAX: Final = 600_000  # twice what the producer gives a record before it fails
NAMED_MAX: Final = 20
log = structlog.get_logger(__name__)


class Begun(NamedTuple):
    """Where the fold stands: next offset of the liquidations, epoch of the last entry, and where to read on."""

    position: int
    epoch: int
    places: Places


def begin(past: Past, codec: Codec, detector: Fold, *, low: int) -> Begun:
    """Fold what a new detector must have seen. Raises BrokerUnavailable; SchemaError for a journal of other bytes.

    Where nothing is left of what was published, the log's oldest record is the beginning."""
    published_ms = _newest_published_ms(past, codec)
    if published_ms is None:
        return Begun(low, 0, {})
    at_ms = published_ms - IN_FLIGHT_MS_MAX
    alerts = past.alerts(past.span(ALERTS, at_ms - CONTEXT_MS - CLOCKS_MS_MAX))
    lead = lead_in(open_episodes(alerts), at_ms)
    if lead.beyond:
        log.error("episodes began more than a day ago, their state is lost", partition=past.partition, ids=lead.beyond)
    hour_ms = lead.to_ms // HOUR_MS * HOUR_MS  # its maxima so far stand in no entry: they need ticks
    lead = lead._replace(from_ms=min(lead.from_ms, hour_ms - LEAD_MS))
    liquidations = past.span(LIQUIDATIONS, lead.context_from_ms, lead.to_ms)
    if not liquidations.start:  # all of the log: there is nothing earlier
        lead = lead._replace(context_from_ms=0, from_ms=0)
    journal = past.span(JOURNAL, lead.context_from_ms - CLOCKS_MS_MAX)
    epoch, place = 0, journal.end

    def entries() -> Iterator[JournalEntry]:
        nonlocal epoch, place
        for offset, entry in past.entries(journal):
            if entry.after_offset >= liquidations.end - 1:
                place = offset
                return
            epoch = entry.epoch
            if is_due(entry, lead):
                yield entry

    for _ in past.fold(detector, liquidations, entries(), from_ms=lead.context_from_ms):
        pass  # published long ago
    detector.next_offset = liquidations.end
    if liquidations.start:
        behind = past.entries(Span(place, journal.end))
        told = {entry.baseline.asset for _, entry in behind if entry.baseline and entry.baseline.since_ms is not None}
        _say_what_is_lost(past, detector, lead.context_from_ms, told)
    from_ms = min(lead.to_ms, detector.log_time_ms or lead.to_ms) - CLOCKS_MS_MAX
    places = {topic.name: past.span(topic, from_ms).start for topic in PUBLISHED}
    return Begun(liquidations.end, epoch, places | {JOURNAL.name: place})


def _say_what_is_lost(past: Past, detector: Fold, from_ms: int, told: set[str]) -> None:
    """Weeks stand in the journal; `told`: those of which it tells yet. Where it has lost one, less is known, and what
    is not known is no calm."""
    known_ms = max(from_ms, past.begins_ms(LIQUIDATIONS))
    cut = [asset for asset in detector.know_from(known_ms) if asset not in told]
    metrics.SHORT_WEEKS.labels(past.partition).set(len(cut))
    if cut:
        log.error(
            "the journal does not tell the weeks of assets; their baselines are of fewer hours for a week",
            partition=past.partition,
            known_from_ms=known_ms,
            assets=cut[:NAMED_MAX],
            count=len(cut),
        )


def _newest_published_ms(past: Past, codec: Codec) -> int | None:
    """When the newest window became final; None where there is none. Every liquidation ends in some, and alerts may be
    the market's."""
    record = past.last(WINDOWS)
    return None if record is None else codec.decode(WindowAggregate, record.value or b"").append_time_ms
