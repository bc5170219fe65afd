"""signals.state and the market's alerts as they stand in the topics: where a fold must begin to be right at a place.

Blocking. What was told MEMORY_MS before a place matters there no more, but for the episode that is in force: its id,
its peak and who led it are found by folding it from its beginning on.

    start              first alert of an open episode        at
    |--- MEMORY_MS ----|------------------------------------|== outputs are right ==>"""

import threading
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from processors.history import partition_of
from processors.lead_in import began_ms
from processors.market.fold import MEMORY_MS
from processors.market.records import PARTITION
from processors.past import Past, Span
from runtime.log_reader import LogRecord
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import SchemaError
from schemas.records import AssetState, CascadeAlert
from schemas.topics import ALERTS, MARKET, PROGRESS_KEY, STATE
from schemas.words import AlertKind

LOOK_BACK_MS: Final = 86_400_000  # an episode that began earlier is begun anew
BACK_MS: Final = 2 * MEMORY_MS  # of the broker's time, doubled until so much of the log's time has passed
BACK_FIRST: Final = 10_000  # records in which the market's own progress is looked for, doubled
BACK_MAX: Final = 1_000_000  # three hours of 100 states a second
OWN_KEY: Final = f"{PROGRESS_KEY}/{MARKET}".encode()


class Episode(NamedTuple):
    """An episode that is in force; `offset`: of the state that raised it, None when its first alert is not known."""

    episode_id: str
    offset: int | None


class MarketPast:
    """Every method raises BrokerUnavailable, at once when `ending` is set."""

    def __init__(self, kafka: KafkaSettings, codec: Codec, *, ending: threading.Event) -> None:
        self._codec = codec
        self._states = Past(kafka, codec, PARTITION, ending=ending)
        self._alerts = Past(kafka, codec, partition_of(MARKET, kafka.partitions), ending=ending)

    def bounds(self) -> Span:
        """Offsets of the states that are kept."""
        return self._states.span(STATE, 0)

    def offset_at(self, time_ms: int) -> int:
        """Offset of the first state that was appended at `time_ms` or later."""
        return self._states.span(STATE, time_ms).start

    def states(self, span: Span) -> Iterator[LogRecord]:
        """The records of a span, in order."""
        return self._states.read(STATE, span)

    def alerts(self, from_ms: int) -> list[CascadeAlert]:
        """The market's alerts that were appended at `from_ms` or later."""
        alerts = self._alerts.alerts(self._alerts.span(ALERTS, max(0, from_ms)))
        return [alert for alert in alerts if alert.asset == MARKET]

    def appended_ms(self, offset: int) -> int:
        """When the record at an offset was appended; 0 without one."""
        return next((record.timestamp for record in self.states(Span(offset, offset + 1))), 0)

    def told_ms(self, offset: int) -> int:
        """T of the first state from an offset on; 0 without one."""
        for record in self.states(Span(offset, self.bounds().end)):
            try:
                state = self._codec.decode(AssetState, record.value or b"")
            except SchemaError:
                continue
            if state.asset != MARKET:
                return state.append_time_ms
        return 0

    def folded(self) -> int | None:
        """Offset behind the last state that the market's own progress tells of; None where there is none for long."""
        low, high = self.bounds()
        end, step = high, BACK_FIRST
        while end > low and high - end < BACK_MAX:
            start = max(low, end - step)
            own = [record.value or b"" for record in self.states(Span(start, end)) if record.key == OWN_KEY]
            if own:  # one that woke late may have told an older one last
                return max((self._codec.decode(AssetState, value).source_offset or 0) for value in own) + 1
            end, step = start, 2 * step
        return None

    def start(self, at: int, episode: Episode | None) -> int:
        """Offset from which a fold is right at `at`, where this episode is in force."""
        low, high = self.bounds()
        anchor = at if episode is None or episode.offset is None else min(at, episode.offset)
        if min(anchor, high - 1) <= low:
            return low
        anchor = min(anchor, high - 1)
        appended_ms, until_ms, back_ms = self.appended_ms(anchor), self.told_ms(anchor) - MEMORY_MS, BACK_MS
        while True:
            start = max(low, self.offset_at(appended_ms - back_ms))
            if start == low or self.told_ms(start) <= until_ms:
                return start
            back_ms *= 2


def in_force(alerts: Iterable[CascadeAlert]) -> Episode | None:
    """The episode that these alerts leave open, in any order and doubled or not."""
    known = sorted(alerts, key=lambda alert: (began_ms(alert.episode_id), alert.sequence))
    if not known or known[-1].kind is AlertKind.ENDED:
        return None
    episode_id = known[-1].episode_id
    first = next((alert for alert in known if alert.episode_id == episode_id and alert.sequence == 0), None)
    return Episode(episode_id, None if first is None else first.source_offset)
