"""Raw frames -> normalised events as lines of JSON, for people and programs."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from producers.exchange import ExchangeAdapter
from producers.exchanges import ADAPTERS
from producers.instruments import Instruments, read, shipped
from schemas.codec import to_json
from schemas.errors import FrameRefused, SettingsError
from schemas.records import Liquidation


def decode_lines(
    lines: Iterable[str | bytes], *, exchange: str, kind: str, instruments: Path | None, received_time_us: int = 0
) -> "DecodedLines":
    """The events of one raw frame a line; `instruments` is a table file, without it the shipped table counts.

    Raises SettingsError for an unknown exchange or kind and for a table that cannot be used."""
    adapter = ADAPTERS.get(exchange)
    if adapter is None:
        raise SettingsError(f"decoding: {exchange!r} is not an exchange that is known; known are {', '.join(ADAPTERS)}")
    if kind not in adapter.decoders:
        raise SettingsError(
            f"decoding {exchange}: {kind!r} is not a kind that is decoded; known: {', '.join(adapter.decoders)}"
        )
    known = shipped(adapter.exchange) if instruments is None else read(instruments)
    table = Instruments(adapter.exchange, known, adapter.instrument_rule)
    return DecodedLines(lines, adapter, kind, table, received_time_us)


class DecodedLines:
    """Iterate once: a line of JSON an event, {"error", "line"} (from 1) for a frame that is refused.

    `refused` counts the refused ones so far."""

    def __init__(
        self,
        lines: Iterable[str | bytes],
        adapter: ExchangeAdapter,
        kind: str,
        instruments: Instruments,
        received_time_us: int,
    ) -> None:
        self.refused = 0
        self._lines, self._decode = lines, adapter.decoders[kind]
        self._instruments, self._received_time_us = instruments, received_time_us

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self._lines, 1):
            frame = (line.encode(errors="surrogateescape") if isinstance(line, str) else line).strip()
            if not frame:
                continue
            try:
                events = self._decode(frame, received_time_us=self._received_time_us, instruments=self._instruments)
                error = None
            except FrameRefused as exc:
                events, error = [each for each in exc.events if isinstance(each, Liquidation)], str(exc)
            yield from (to_json(event).decode() for event in events)
            if error is not None:
                self.refused += 1
                yield msgspec.json.encode({"error": error, "line": number}).decode()
