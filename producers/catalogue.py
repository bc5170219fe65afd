"""Where an exchange's instruments come from: its REST lists, else the copy on disk, else the table that ships."""

import asyncio
import hashlib
import os
import time
from pathlib import Path
from typing import Final

import structlog

from producers.exchange import PAGES_MAX, ExchangeAdapter, InstrumentSource
from producers.instruments import Instrument, Instruments, is_fit, read, shipped, to_lines
from producers.outlet import Tap
from producers.rest import Rest
from producers.settings import ProducersSection
from schemas.errors import FeedUnavailable, FrameRefused, SettingsError

INSTRUMENTS: Final = "instruments"  # what a tap is told
REFRESH_S: Final = 3_600.0  # new listings are known within the hour, or at their first liquidation
RETRY_S: Final = 60.0  # until every list has been read once
UNKNOWN_REFRESH_S: Final = (
    60.0  # an unknown instrument asks again at most this often: 1 request of the limits' hundreds
)


class Catalogue:
    """`instruments` is what decoders use, always the same object; `listed` what can be subscribed to."""

    def __init__(
        self, adapter: ExchangeAdapter, settings: ProducersSection, rest: Rest, tap: Tap | None = None
    ) -> None:
        self._adapter, self._rest, self._tap = adapter, rest, tap
        self._origin = settings.origins.get(adapter.exchange.value)
        self._file = _cache_file(settings.cache_folder, adapter.exchange.value, self._origin)
        self._fallback: list[Instrument] = []
        self._by_source: dict[int, list[Instrument]] = {}  # by the list's place in the adapter
        self._lock = asyncio.Lock()
        self._asked_at = float("-inf")
        self._log = structlog.get_logger().bind(exchange=adapter.exchange.value)
        self.listed: list[Instrument] = []
        self.instruments = Instruments(adapter.exchange, (), adapter.instrument_rule)

    async def start(self) -> None:
        """Fill the table: by REST, or with what there is while REST does not answer."""
        try:
            self._fallback = read(self._file) if self._file.is_file() else shipped(self._adapter.exchange)
        except SettingsError as exc:
            self._log.warning("kept instruments cannot be used", reason=str(exc))
            self._fallback = shipped(self._adapter.exchange)
        self._take()
        await self.refresh()

    def seconds_to_refresh(self) -> float:
        """How long to wait before the next `refresh`."""
        return REFRESH_S if self._is_complete() else RETRY_S

    async def refresh(self) -> None:
        """Read every list again; one that does not answer leaves what was known of it."""
        async with self._lock:
            self._asked_at = time.monotonic()
            for place, source in enumerate(self._adapter.instrument_sources):
                try:
                    self._by_source[place] = await self._fetch(source)
                except FeedUnavailable as exc:
                    self._log.warning("instruments not refreshed", reason=str(exc), known=len(self.listed))
            self._take()
            if self._is_complete():
                self._keep()

    async def refresh_for_unknown(self) -> None:
        """Read the lists because an instrument was in none, unless that was done in the last minute."""
        if time.monotonic() - self._asked_at >= UNKNOWN_REFRESH_S:
            await self.refresh()
        else:
            async with self._lock:  # one that is under way may bring it
                return

    def _is_complete(self) -> bool:
        return len(self._by_source) == len(self._adapter.instrument_sources)

    def _take(self) -> None:
        rows = {} if self._is_complete() else {row.instrument: row for row in self._fallback}
        for fetched in self._by_source.values():
            rows.update((row.instrument, row) for row in fetched)
        self.listed = list(rows.values())
        self.instruments.replace(self.listed)
        if self._tap is not None:
            self._tap(
                to_lines(self.listed),
                exchange=self._adapter.exchange.value,
                source=INSTRUMENTS,
                received_time_us=time.time_ns() // 1_000,
            )

    def _keep(self) -> None:
        """Write the copy on disk, whole or not at all; without it only a start without REST is poorer."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            part = self._file.with_suffix(f".{os.getpid()}.part")
            part.write_bytes(to_lines(self.listed))
            part.replace(self._file)
        except OSError as exc:
            self._log.warning("instruments not kept", path=str(self._file), reason=str(exc))

    async def _fetch(self, source: InstrumentSource) -> list[Instrument]:
        """All pages of one list. Raises FeedUnavailable, also for a list without a single instrument."""
        url = source.url(self._origin)
        rows: list[Instrument] = []
        params = dict(source.params)
        for _ in range(PAGES_MAX):
            answer = await self._rest.call(url, params, weight=source.weight, method=source.method, body=source.body)
            try:
                page = source.decode(answer.body)
            except FrameRefused as exc:
                raise FeedUnavailable(f"reading instruments from {url}: {exc}") from exc
            rows += [row for row in page.instruments if is_fit(row)]
            if page.cursor is None:
                break
            params[source.cursor_param] = page.cursor
        if not rows:
            raise FeedUnavailable(f"reading instruments from {url}: the list is empty")
        return rows


def _cache_file(folder: Path, exchange: str, origin: str | None) -> Path:
    """Another origin has another file: a simulator's instruments must never be taken for the exchange's."""
    suffix = "" if origin is None else "." + hashlib.sha256(origin.encode()).hexdigest()[:8]
    return folder / f"{exchange}{suffix}.instruments.jsonl"
