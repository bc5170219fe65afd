"""A recording -> events: through the decoders that were right at the time, with the tables of instruments of the time.

As live, a row that came twice counts once, and what is older than the connection is marked as backlog."""

import time
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

import msgspec

from producers.channel import FRAMES_WAITING_MAX, live_since_ms
from producers.decode import RECORDS, Decoding, Event
from producers.exchange import KINDS
from producers.exchanges import ADAPTERS
from producers.instruments import Instruments, parse, shipped
from producers.recent import RecentIds
from producers.recording import INSTRUMENTS, WEBSOCKET, RecordedFrame, Recording
from schemas.codec import to_json
from schemas.errors import FrameRefused, SettingsError, UnknownInstrument
from schemas.records import Liquidation

KIND_OF: Final = {record: kind for kind, record in RECORDS.items()}
PAUSE_S_MAX: Final = 3_600.0  # a recording that was interrupted for longer does not hold up its replay


class Replayed(NamedTuple):
    """What one frame gave: events, and why it or a part of it was refused."""

    received_time_us: int
    exchange: str
    events: list[Event]
    refused: str | None


class Replay:
    """Iterate once. `refused` counts frames that were refused so far, `frames` all of them.

    `speed` (then it is `paced`): times the pace of the recording; None: as fast as it goes.
    Raises SettingsError for an unknown exchange."""

    def __init__(self, recording: Recording, *, exchanges: Collection[str] = (), speed: float | None = None) -> None:
        if unknown := sorted(set(exchanges) - set(ADAPTERS)):
            raise SettingsError(f"replaying: {unknown[0]!r} is not an exchange that is known: {', '.join(ADAPTERS)}")
        self.frames = self.refused = 0
        self.paced = speed is not None
        self._recording, self._speed = recording, speed
        self._exchanges = {name: _Exchange(name) for name in exchanges or ADAPTERS}

    def __iter__(self) -> Iterator[Replayed]:
        first_time_us, start = None, time.monotonic()
        for recorded in self._recording:
            exchange = self._exchanges.get(recorded.exchange)
            if exchange is None:
                continue
            if self._speed is not None:
                first_time_us = recorded.received_time_us if first_time_us is None else first_time_us
                due_s = start + (recorded.received_time_us - first_time_us) / 1e6 / self._speed
                time.sleep(min(PAUSE_S_MAX, max(0.0, due_s - time.monotonic())))
            self.frames += recorded.source != INSTRUMENTS
            yield from map(self._counted, exchange.take(recorded))
        for exchange in self._exchanges.values():
            yield from map(self._counted, exchange.end())

    def _counted(self, replayed: Replayed) -> Replayed:
        self.refused += replayed.refused is not None
        return replayed


class _Exchange:
    """Decoders, table and recent ids of one exchange, and the frames that wait for a table with their instrument."""

    def __init__(self, name: str) -> None:
        self._adapter = adapter = ADAPTERS[name]
        instruments = Instruments(adapter.exchange, shipped(adapter.exchange), adapter.instrument_rule)
        self._decoding = Decoding(adapter, instruments)
        self._recent = {kind: RecentIds() for kind in KINDS}
        self._waiting: list[RecordedFrame] = []

    def take(self, recorded: RecordedFrame) -> Iterator[Replayed]:
        """What one line of the recording gives; a table also gives what has waited for it."""
        if recorded.source != INSTRUMENTS:
            yield self._taken(recorded, may_wait=len(self._waiting) < FRAMES_WAITING_MAX)
            return
        try:
            self._decoding.instruments.replace(parse(recorded.body(), "the recording"))
        except SettingsError as exc:
            yield Replayed(recorded.received_time_us, recorded.exchange, [], str(exc))
        yield from self.end()

    def end(self) -> Iterator[Replayed]:
        """What the frames that wait give now."""
        waiting, self._waiting = self._waiting, []
        return (self._taken(recorded, may_wait=False) for recorded in waiting)

    def _taken(self, recorded: RecordedFrame, *, may_wait: bool) -> Replayed:
        body, received_time_us = recorded.body(), recorded.received_time_us
        events: list[Event] = []
        refused: FrameRefused | None = None
        if recorded.source == WEBSOCKET:
            events, refused = self._frame(body, received_time_us)
        else:
            try:
                events = self._decoding.rest(recorded.source, body, received_time_us=received_time_us)
            except FrameRefused as exc:
                events, refused = list(exc.events), exc
        if isinstance(refused, UnknownInstrument) and may_wait:
            self._waiting.append(recorded)
            refused = None
        reason = str(refused) if refused is not None else None
        return Replayed(received_time_us, recorded.exchange, self._new(events, recorded), reason)

    def _frame(self, body: bytes, received_time_us: int) -> tuple[list[Event], FrameRefused | None]:
        events: list[Event] = []
        refused = None
        for kind in KINDS:
            try:
                events += self._decoding.websocket(
                    body, kind=kind, received_time_us=received_time_us, at_ms=received_time_us // 1_000
                )
            except FrameRefused as exc:
                events += exc.events
                refused = refused or exc
        return events, refused

    def _new(self, events: list[Event], recorded: RecordedFrame) -> list[Event]:
        new: list[Event] = []
        live_from_ms = live_since_ms(self._adapter, recorded.covered_since_ms, recorded.received_time_us)
        for event in events:
            if not self._recent[KIND_OF[type(event)]].is_new(event.event_id):
                continue
            if isinstance(event, Liquidation) and event.event_time_ms < live_from_ms:
                event = msgspec.structs.replace(event, backlog=True)
            new.append(event)
        return new


def to_lines(replayed: Replayed) -> Iterator[str]:
    """Lines of JSON: the events with their `kind`, then {"error", "exchange", "received_time_us"} of a refusal."""
    for event in replayed.events:
        yield f'{{"kind":"{KIND_OF[type(event)]}",' + to_json(event).decode()[1:]
    if replayed.refused is not None:
        error = {"error": replayed.refused, "exchange": replayed.exchange}
        yield msgspec.json.encode(error | {"received_time_us": replayed.received_time_us}).decode()
