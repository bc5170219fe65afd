"""What the module of an exchange gives: addresses, subscriptions, REST calls, decoders, instruments. All of it pure.

The generic code (feed, channel, poller, catalogue) names no exchange; it works on an `ExchangeAdapter`."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, auto
from typing import Final, Protocol, TypeVar

import msgspec

from producers.instruments import Instrument, Instruments, Rule, no_instrument
from producers.marks import Marks
from schemas.errors import FrameRefused, UnknownInstrument
from schemas.records import Funding, Liquidation, OpenInterest
from schemas.words import Exchange

# Kinds of data, and the channels in FeedHealth.
LIQUIDATION: Final = "liquidation"
OPEN_INTEREST: Final = "open-interest"
FUNDING: Final = "funding"
KINDS: Final = (LIQUIDATION, OPEN_INTEREST, FUNDING)
# A batch of 1,000 rows of 200 bytes is 200 kB, and a refused frame must fit into a Kafka message (1 MB by default).
FRAME_BYTES_MAX: Final = 524_288
PAGES_MAX: Final = 50  # of a list of instruments; 1,000 rows a page
Row = TypeVar("Row")
MarketEvent = OpenInterest | Funding
Event = TypeVar("Event", Liquidation, MarketEvent)
Params = Mapping[str, str | int | list[str]]


class Decoder(Protocol):
    """Raw frame -> events."""

    def __call__(self, frame: bytes, *, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
        """Events of one frame in the exchange's order; acks, pongs and other channels give [].

        Raises FrameRefused, with the events of the rows that were understood, and UnknownInstrument."""


class MarketDecoder(Protocol):
    """Websocket frame or REST body -> open interest and funding."""

    def __call__(
        self, body: bytes, *, received_time_us: int, instruments: Instruments, marks: Marks
    ) -> list[MarketEvent]:
        """Events of one body, both kinds where it holds both; what it says of mark prices and of funding intervals goes
        into `marks`. Control frames and other channels give [].

        Raises FrameRefused, with the events of the rows that were understood, and UnknownInstrument."""


class ControlKind(Enum):
    """What a frame that is no data means to the feed."""

    ACK = auto()
    REFUSED = auto()
    PONG = auto()
    RECONNECT = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Control:
    """A frame that is no data. REFUSED: `topic` is the refused one where the exchange names it."""

    kind: ControlKind
    detail: str = ""
    topic: str | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """One request to send, and how many acks answer it. `time_field`: takes the time of sending, s since 1970."""

    frame: str
    acks: int
    time_field: str | None = None

    def at(self, time_s: int) -> str:
        """The text to send now.

        >>> Subscription('{"time":0,"id":1}', acks=1, time_field="time").at(1_791_400_000)
        '{"time":1791400000,"id":1}'
        """
        if self.time_field is None:
            return self.frame
        return msgspec.json.encode(msgspec.json.decode(self.frame) | {self.time_field: time_s}).decode()


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A text that the client has to send; any frame within `answer_ms_max` after it counts as the answer."""

    frame: str
    interval_ms: int
    answer_ms_max: int


@dataclass(frozen=True, slots=True)
class InstrumentPage:
    """Part of a list of instruments; `cursor` asks for the next part, None ends."""

    instruments: tuple[Instrument, ...]
    cursor: str | None = None


@dataclass(frozen=True, kw_only=True)
class InstrumentSource:
    """A REST list of instruments. `decode` raises FrameRefused when the answer is not the list.

    `weight`: of the exchange's budget, a page. `method` POST: `body` is what is posted."""

    origin: str
    path: str
    decode: Callable[[bytes], InstrumentPage]
    params: Mapping[str, str] = field(default_factory=dict)
    cursor_param: str = "cursor"
    weight: int = 1
    method: str = "GET"
    body: str | None = None

    def url(self, origin: str | None = None) -> str:
        """Address of the list; `origin` replaces the exchange's own (ws and wss mean http and https)."""
        return _with_scheme(origin, "http") + self.path if origin else self.origin + self.path


@dataclass(frozen=True, kw_only=True)
class Connection:
    """One websocket address, which may need several connections.

    `topics`: what to subscribe to, given the listed instruments. `subscribe`: the requests for topics, the pulse among
    them, within the exchange's limit a request. `topic_characters_max`, `topics_max`: topics a connection; None: no
    limit. `pulse`: one more topic, for every connection, that is never quiet for `pulse_ms_max` while the connection
    delivers (a mark price each second), by which a quiet market is told from a dead connection; its frames are none of
    the liquidations', so their decoder gives [] for them."""

    origin: str
    path: str
    topics: Callable[[Iterable[Instrument]], list[str]]
    subscribe: Callable[[Sequence[str]], list[Subscription]]
    topic_characters_max: int | None = None
    topics_max: int | None = None
    heartbeat: Heartbeat | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    pulse: str | None = None
    pulse_ms_max: int = 30_000

    def url(self, origin: str | None = None) -> str:
        """Address of the feed; `origin` replaces the exchange's own (http and https mean ws and wss)."""
        return _with_scheme(origin, "ws") + self.path if origin else self.origin + self.path


def every_instrument(instrument: Instrument) -> bool:
    """True: what a poll asks for where it asks for all."""
    return True


@dataclass(frozen=True, kw_only=True)
class Poll:
    """One REST call that is repeated.

    `kinds`: what comes out; () where the decoder only learns (`Marks`). Polls are started in their order.
    `per_instrument`: the parameter that takes the instrument where there is no bulk call; then every listed instrument
    for which `wants` holds is asked for; `in_list`: it takes a list (of POST). `weight`: of the exchange's budget, a
    call. `interval_ms`: 10 s to 5 min.
    `cursor`: parameters of the next page, None on the last. `settled`: a history of settled funding, asked for 24 h at
    the start and then hourly; `window_params` gives the parameters of (from_ms, to_ms).
    `method` POST: `body` is a JSON object, and all parameters are put into it instead of the address."""

    kinds: tuple[str, ...]
    origin: str
    path: str
    decode: MarketDecoder
    weight: int
    interval_ms: int
    params: Params = field(default_factory=dict)
    per_instrument: str | None = None
    in_list: bool = False
    wants: Callable[[Instrument], bool] = every_instrument
    cursor: Callable[[bytes], Params | None] | None = None
    method: str = "GET"
    body: str | None = None
    settled: bool = False
    window_params: Callable[[int, int], Params] | None = None

    def url(self, origin: str | None = None) -> str:
        """Address of the call; `origin` replaces the exchange's own (ws and wss mean http and https)."""
        return _with_scheme(origin, "http") + self.path if origin else self.origin + self.path


@dataclass(frozen=True, kw_only=True)
class CrossCheck:
    """A REST list of the same liquidations in which the side is beyond doubt, held against the websocket's.

    `decode` gives them as the websocket's decoder does; rows are matched by instrument, quantity and time."""

    origin: str
    path: str
    decode: Decoder
    weight: int
    interval_ms: int
    params: Params = field(default_factory=dict)
    window_params: Callable[[int, int], Params] | None = None

    def url(self, origin: str | None = None) -> str:
        """Address of the list; `origin` replaces the exchange's own (ws and wss mean http and https)."""
        return _with_scheme(origin, "http") + self.path if origin else self.origin + self.path


@dataclass(frozen=True, kw_only=True)
class Budget:
    """REST weight that an exchange allows this machine in any `window_ms`, for all calls together.

    `retry_after_headers`: where a refusal says how long to wait, as seconds, or as a time (s or ms since 1970)."""

    weight_max: int
    window_ms: int
    retry_after_headers: tuple[str, ...] = ("Retry-After",)
    banned_statuses: tuple[int, ...] = (418, 429, 403)
    ban_ms_default: int = 60_000


@dataclass(frozen=True, kw_only=True)
class LegacyDecoder:
    """A format that the exchange sent before `until_ms` (ms since 1970), for recordings of that time.

    `decode` is a `Decoder` for liquidations and a `MarketDecoder` for the other kinds."""

    kind: str
    until_ms: int
    decode: Decoder | MarketDecoder


@dataclass(frozen=True, kw_only=True)
class ExchangeAdapter:
    """Everything about one exchange.

    `control`: None for data and for what cannot be understood (the decoder says why). `decoders`: by kind, for raw
    websocket frames of liquidations; `market_decoder`: for the other frames, which give `market_kinds`. `roll_ms`: a
    connection is replaced at this age, before the exchange cuts it. `first_frame_is_backlog`: the exchange begins with
    history, so what happened before a subscription is backlog, however little before.
    `known_fields`: by kind, all names of fields that its bodies may have at any depth; others are reported as DRIFT.
    `unsized_rule`: contracts of which the symbol tells all but the size, with a size of 1 unit of the price.
    `side_evidence`: whether an event's price and the mark price agree with its side; None when they tell nothing.
    `frame_evidence`: whether what else is in a frame of liquidations agrees with their sides, where there is such."""

    exchange: Exchange
    connections: tuple[Connection, ...]
    control: Callable[[bytes], Control | None]
    decoders: Mapping[str, Decoder]
    instrument_rule: Rule
    instrument_sources: tuple[InstrumentSource, ...]
    budget: Budget
    unsized_rule: Rule = no_instrument
    market_decoder: MarketDecoder | None = None
    market_kinds: tuple[str, ...] = ()
    polls: tuple[Poll, ...] = ()
    roll_ms: int | None = None
    legacy: tuple[LegacyDecoder, ...] = ()
    first_frame_is_backlog: bool = False
    known_fields: Mapping[str, frozenset[str]] = field(default_factory=dict)
    side_evidence: Callable[[Liquidation, Decimal], bool | None] | None = None
    frame_evidence: Callable[[bytes], Sequence[bool]] | None = None
    cross_check: CrossCheck | None = None


def field_names(text: str) -> frozenset[str]:
    """Names separated by spaces, for `known_fields`."""
    return frozenset(text.split())


def _with_scheme(origin: str, scheme: str) -> str:
    """The origin with http(s) or ws(s) turned into `scheme`, with the s where it was.

    >>> _with_scheme("https://host/x", "ws"), _with_scheme("ws://host", "http")
    ('wss://host/x', 'http://host')
    """
    given, _, rest = origin.partition("://")
    return f"{scheme}{'s' if given in ('https', 'wss') else ''}://{rest}"


def shards(
    topics: Sequence[str], characters_max: int | None, topics_max: int | None = None, *, taken: Sequence[str] = ()
) -> list[list[str]]:
    """Topics split over connections: no more than `characters_max` characters and `topics_max` topics each, at least
    one topic each. `taken`: topics that stand in each connection before (its pulse)."""
    if not topics:
        return []
    room = (characters_max if characters_max is not None else sys.maxsize) - sum(map(len, taken))
    places = (topics_max if topics_max is not None else sys.maxsize) - len(taken)
    split: list[list[str]] = [[]]
    used = 0
    for topic in topics:
        if split[-1] and (used + len(topic) > room or len(split[-1]) >= places):
            split.append([])
            used = 0
        split[-1].append(topic)
        used += len(topic)
    return split


def batches(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    """Consecutive pieces of at most `size` rows."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


def decode_rows(rows: Iterable[Row], decode_row: Callable[[Row], list[Event]]) -> list[Event]:
    """Events of every row. One bad row does not lose the others: its error is raised with their events."""
    events: list[Event] = []
    refused: FrameRefused | None = None
    for row in rows:
        try:
            events += decode_row(row)
        except FrameRefused as exc:
            if refused is None or isinstance(exc, UnknownInstrument):  # a table that is refreshed may cure that one
                refused = exc
    if refused is not None:
        refused.events = tuple(events)
        raise refused
    return events
