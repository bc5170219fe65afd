"""The market's alerts of a range of time once more, from signals.state alone.

How the states of several partitions mix stands in that topic and nowhere else, so the market can be replayed for as
long as the topic keeps them, and as far as the stage has come."""

import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from processors.market.fold import MEMORY_MS, MarketFold
from processors.market.past import LOOK_BACK_MS, MarketPast, in_force
from processors.past import CLOCKS_MS_MAX, Span, Told, is_within
from runtime.log_reader import LogRecord
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.records import CascadeAlert

BATCH_MAX: Final = 2_000
NEVER: Final = 1 << 60


class MarketReplay:
    """Alerts with `from_ms` <= append_time_ms < `to_ms`; None: to the end as it is now.

    `sure_ms`: episodes that began before it cannot be verified; `beyond`: nor those, which were open for too long."""

    def __init__(
        self,
        kafka: KafkaSettings,
        codec: Codec,
        new_fold: Callable[[], MarketFold],
        *,
        from_ms: int,
        to_ms: int | None,
        ending: threading.Event,
    ) -> None:
        self._past = MarketPast(kafka, codec, ending=ending)
        self._new_fold, self._from_ms, self._to_ms = new_fold, from_ms, to_ms
        known = self._past.alerts(from_ms - LOOK_BACK_MS - CLOCKS_MS_MAX)
        open_ = in_force(alert for alert in known if alert.append_time_ms < from_ms)
        self.beyond = () if open_ is None or open_.offset is not None else (open_.episode_id,)
        low, high = self._past.bounds()
        start = self._past.start(self._past.offset_at(from_ms - CLOCKS_MS_MAX), open_)
        self.span = Span(start, max(start, self._past.folded() or high))
        self.sure_ms = 0
        if start == low > 0:  # what was before is gone
            self.sure_ms = self._past.told_ms(low) + MEMORY_MS if high > low else NEVER

    def run(self, told: Told) -> Iterator[CascadeAlert]:
        """Fold and give the alerts of the range; `told(n)`: so many more records of the span are done."""
        fold, records = self._new_fold(), self._past.states(self.span)
        while batch := list(islice(records, BATCH_MAX)):
            for alert in _alerts(fold, batch):
                if self._within(alert):
                    yield alert
            told(len(batch))
            if self._to_ms is not None and fold.now_ms >= self._to_ms:
                return

    def published(self) -> list[CascadeAlert]:
        """The market's alerts of the range as they stand in their topic, but for those of what is not folded here."""
        alerts = self._past.alerts(self._from_ms - CLOCKS_MS_MAX)
        return [alert for alert in alerts if self._within(alert) and (alert.source_offset or 0) < self.span.end]

    def _within(self, alert: CascadeAlert) -> bool:
        return is_within(alert, self._from_ms, self._to_ms)


def _alerts(fold: MarketFold, batch: list[LogRecord]) -> list[CascadeAlert]:
    outputs, _ = fold.fold([record.offset for record in batch], [record.value or b"" for record in batch])
    return [output.record for output in outputs if isinstance(output.record, CascadeAlert)]
