"""Raw frames and REST bodies -> normalised events: with the decoders that were right at a time, as objects or as lines
of JSON."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from producers.exchange import FUNDING, KINDS, LIQUIDATION, OPEN_INTEREST, ExchangeAdapter, MarketEvent
from producers.exchanges import ADAPTERS
from producers.instruments import Instrument, Instruments, SizelessInstruments, read, shipped
from producers.marks import Marks
from schemas.codec import to_json
from schemas.errors import FrameRefused, SettingsError, UnknownInstrument
from schemas.records import Funding, Liquidation, OpenInterest, Record

RECORDS: Final[dict[str, type[Record]]] = {LIQUIDATION: Liquidation, OPEN_INTEREST: OpenInterest, FUNDING: Funding}
Event = Liquidation | MarketEvent
# What cannot be told without the contract's size, the number of coins first.
UNSIZED: Final[dict[type[Record], tuple[str, str]]] = {
    Liquidation: ("quantity", "notional_usd"),
    OpenInterest: ("open_interest", "open_interest_usd"),
}
Decode = Callable[..., list[Any]]  # body, received_time_us=


class Decoding:
    """The decoders of one exchange, with what they learn on the way (`marks`)."""

    def __init__(self, adapter: ExchangeAdapter, instruments: Instruments) -> None:
        self.adapter, self.instruments, self.marks = adapter, instruments, Marks()
        self._websocket = {kind: self._bound(decode) for kind, decode in adapter.decoders.items()}
        if adapter.market_decoder is not None:
            market = self._bound(adapter.market_decoder, market=True)
            self._websocket |= {OPEN_INTEREST: market, FUNDING: market}
        self._polls = [(poll.path, poll.kinds, self._bound(poll.decode, market=True)) for poll in adapter.polls]
        self._legacy = [
            (each.kind, each.until_ms, self._bound(each.decode, market=each.kind != LIQUIDATION))
            for each in sorted(adapter.legacy, key=lambda each: each.until_ms)
        ]

    def websocket(self, frame: bytes, *, kind: str, received_time_us: int, at_ms: int | None = None) -> list[Event]:
        """Events of one kind in one websocket frame; formats that were in use at `at_ms` (None: now) come first.

        Raises FrameRefused, as decoders do."""
        return self._first(self._frame_decoders(kind, at_ms), (), frame, kind, received_time_us)

    def rest(self, path: str, body: bytes, *, received_time_us: int) -> list[Event]:
        """Events of both market kinds in the answer to a poll of this path; [] for other calls. Raises FrameRefused."""
        refused: FrameRefused | None = None
        for of, _, decode in self._polls:
            if of == path:
                try:
                    return decode(body, received_time_us=received_time_us)
                except FrameRefused as exc:
                    if exc.events:
                        raise
                    refused = refused or exc
        if refused is not None:
            raise refused
        return []

    def any_shape(self, body: bytes, *, kind: str, received_time_us: int, at_ms: int | None = None) -> list[Event]:
        """Events of one kind in a frame or a REST body of whichever shape; [] for one of another kind.

        Raises FrameRefused."""
        try:
            return self._one_kind(body, kind, received_time_us, at_ms)
        except FrameRefused as exc:
            if exc.events or isinstance(exc, UnknownInstrument):
                raise
            if any(self._understands(body, other, received_time_us, at_ms) for other in KINDS if other != kind):
                return []
            raise

    def _understands(self, body: bytes, kind: str, received_time_us: int, at_ms: int | None) -> bool:
        try:
            return bool(self._one_kind(body, kind, received_time_us, at_ms))
        except FrameRefused:
            return False

    def _one_kind(self, body: bytes, kind: str, received_time_us: int, at_ms: int | None) -> list[Event]:
        bodies = [decode for _, kinds, decode in self._polls if kind in kinds]
        if kind == LIQUIDATION and self.adapter.cross_check is not None:
            bodies.append(self._bound(self.adapter.cross_check.decode))
        return self._first(self._frame_decoders(kind, at_ms), bodies, body, kind, received_time_us)

    def _bound(self, decode: Decode, *, market: bool = False) -> Decode:
        learned = {"marks": self.marks} if market else {}
        return partial(decode, instruments=self.instruments, **learned)

    def _frame_decoders(self, kind: str, at_ms: int | None) -> list[Decode]:
        legacy = [
            decode for of, until_ms, decode in self._legacy if of == kind and at_ms is not None and at_ms < until_ms
        ]
        return legacy + ([self._websocket[kind]] if kind in self._websocket else [])

    def _first(
        self, frames: Sequence[Decode], bodies: Sequence[Decode], given: bytes, kind: str, received_time_us: int
    ) -> list[Event]:
        """What the first decoder gives that knows the shape; one that knows it in part says what is wrong with it.

        Where none gives anything: nothing for what is a frame or a body of something else, else the first refusal."""
        if self.adapter.control(given) is not None:
            return []
        ignored = False
        refused: FrameRefused | None = None
        for number, decode in enumerate((*frames, *bodies)):
            if number == len(frames) > 0:
                ignored = refused is None  # every format of frames knows it as one of another channel
            try:
                events = decode(given, received_time_us=received_time_us)
            except FrameRefused as exc:
                exc.events = tuple(_of(kind, exc.events))
                if exc.events or isinstance(exc, UnknownInstrument):
                    raise
                refused = refused or exc
                continue
            if wanted := _of(kind, events):
                return wanted
            ignored = ignored or number >= len(frames)
        if refused is not None and not ignored:
            raise refused
        return []


def _of(kind: str, events: Iterable[Any]) -> list[Any]:
    return [event for event in events if type(event) is RECORDS[kind]]


def decode_lines(
    lines: Iterable[str | bytes],
    *,
    exchange: str,
    kind: str,
    instruments: Path | None,
    received_time_us: int = 0,
    at_ms: int | None = None,
) -> "DecodedLines":
    """The events of one raw frame or REST body a line; `instruments`: a table file, which goes before the shipped one.

    Of a contract whose size is in no table the amounts are null, and `contracts` has what the frame says of them.
    `at_ms`: when the lines were captured, for formats that are no longer sent; None: now.
    Raises SettingsError for an unknown exchange or kind and for a table that cannot be used."""
    adapter = ADAPTERS.get(exchange)
    if adapter is None:
        raise SettingsError(f"decoding: {exchange!r} is not an exchange that is known; known are {', '.join(ADAPTERS)}")
    if kind not in KINDS:
        raise SettingsError(f"decoding {exchange}: {kind!r} is not a kind that is decoded; known: {', '.join(KINDS)}")
    known = shipped(adapter.exchange) + ([] if instruments is None else read(instruments))
    table = SizelessInstruments(adapter.exchange, known, adapter.instrument_rule, adapter.unsized_rule)
    decode = Decoding(adapter, table).any_shape
    decode = partial(decode, kind=kind, received_time_us=received_time_us, at_ms=at_ms)
    return DecodedLines(lines, decode, table)


class DecodedLines:
    """Iterate once: a line of JSON an event, {"error", "line"} (from 1) for a frame that is refused.

    `refused` counts the refused ones so far; `unsized` has a sentence for each contract so far whose size is in no
    table and would have been needed."""

    def __init__(
        self, lines: Iterable[str | bytes], decode: Callable[[bytes], list[Event]], table: SizelessInstruments
    ) -> None:
        self.refused = 0
        self.unsized: dict[str, str] = {}
        self._lines, self._decode, self._table = lines, decode, table

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self._lines, 1):
            frame = (line.encode(errors="surrogateescape") if isinstance(line, str) else line).strip()
            if not frame:
                continue
            events: Iterable[Event]
            try:
                events, error = self._decode(frame), None
            except FrameRefused as exc:
                events, error = exc.events, str(exc)
            yield from map(self._event_line, events)
            if error is not None:
                self.refused += 1
                yield msgspec.json.encode({"error": error, "line": number}).decode()

    def _event_line(self, event: Event) -> str:
        told = self._table.sizeless.get(event.instrument)
        if told is None or isinstance(event, Funding):
            return to_json(event).decode()
        amounts = UNSIZED[type(event)]
        self.unsized[event.instrument] = _unsized_sentence(told, amounts)
        fields: dict[str, Any] = msgspec.to_builtins(event)
        contracts = Decimal(repr(fields[amounts[0]])) / told.contract_size  # that of one per unit of the price
        return msgspec.json.encode(fields | dict.fromkeys(amounts) | {"contracts": float(contracts)}).decode()


def _unsized_sentence(told: Instrument, amounts: Sequence[str]) -> str:
    example = {
        "exchange": told.exchange, "instrument": told.instrument, "asset": told.asset, "market": told.market,
        "contract_size": "COINS", "inverse": False,
    }  # fmt: skip
    line = msgspec.json.encode(example).decode().replace('"COINS"', "COINS")
    return (
        f"decoding {told.exchange}: the contract size of {told.instrument!r} is in no table, so "
        f"{' and '.join(amounts)} of its events are null; give --instruments FILE with the line {line}"
    )
