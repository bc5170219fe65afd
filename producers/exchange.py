"""What the module of an exchange gives: addresses, subscriptions, heartbeat, decoders, instruments. All of it pure.

The generic code (feed, channel, catalogue) names no exchange; it works on an `ExchangeAdapter`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Protocol, TypeVar

from producers.instruments import Instrument, Instruments, Rule
from schemas.errors import FrameRefused, UnknownInstrument
from schemas.records import Liquidation
from schemas.words import Exchange

LIQUIDATION: Final = "liquidation"  # the kind of frames, and the channel in FeedHealth
# A batch of 1,000 rows of 200 bytes is 200 kB, and a refused frame must fit into a Kafka message (1 MB by default).
FRAME_BYTES_MAX: Final = 524_288
PAGES_MAX: Final = 50  # of a list of instruments; 1,000 rows a page
Row = TypeVar("Row")


class Decoder(Protocol):
    """Raw frame -> events."""

    def __call__(self, frame: bytes, *, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
        """Events of one frame in the exchange's order; acks, pongs and other channels give [].

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
    """One request to send, and how many acks answer it."""

    frame: str
    acks: int


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
    """A REST list of instruments. `decode` raises FrameRefused when the answer is not the list."""

    origin: str
    path: str
    decode: Callable[[bytes], InstrumentPage]
    params: Mapping[str, str] = field(default_factory=dict)
    cursor_param: str = "cursor"

    def url(self, origin: str | None = None) -> str:
        """Address of the list; `origin` replaces the exchange's own (ws and wss mean http and https)."""
        return _with_scheme(origin, "http") + self.path if origin else self.origin + self.path


@dataclass(frozen=True, kw_only=True)
class ExchangeAdapter:
    """Everything about one exchange.

    `topics`: what to subscribe to, given the listed instruments. `subscribe`: the requests for topics, within the
    exchange's limit a request. `topic_characters_max`: topics a connection, counted in characters; None: no limit.
    `control`: None for data and for what cannot be understood (the decoder says why)."""

    exchange: Exchange
    origin: str
    path: str
    topics: Callable[[Iterable[Instrument]], list[str]]
    subscribe: Callable[[Sequence[str]], list[Subscription]]
    control: Callable[[bytes], Control | None]
    decoders: Mapping[str, Decoder]
    instrument_rule: Rule
    instrument_sources: tuple[InstrumentSource, ...]
    topic_characters_max: int | None = None
    heartbeat: Heartbeat | None = None

    def websocket_url(self, origin: str | None = None) -> str:
        """Address of the feed; `origin` replaces the exchange's own (http and https mean ws and wss)."""
        return _with_scheme(origin, "ws") + self.path if origin else self.origin + self.path


def _with_scheme(origin: str, scheme: str) -> str:
    """The origin with http(s) or ws(s) turned into `scheme`, with the s where it was.

    >>> _with_scheme("https://host/x", "ws"), _with_scheme("ws://host", "http")
    ('wss://host/x', 'http://host')
    """
    given, _, rest = origin.partition("://")
    return f"{scheme}{'s' if given in ('https', 'wss') else ''}://{rest}"


def shards(topics: Sequence[str], characters_max: int | None) -> list[list[str]]:
    """Topics split over connections: no more than `characters_max` characters each, at least one topic each."""
    if characters_max is None:
        return [list(topics)] if topics else []
    split: list[list[str]] = []
    room = 0
    for topic in topics:
        if len(topic) > room:
            split.append([])
            room = characters_max
        split[-1].append(topic)
        room -= len(topic)
    return split


def batches(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    """Consecutive pieces of at most `size` rows."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


def decode_rows(rows: Iterable[Row], decode_row: Callable[[Row], list[Liquidation]]) -> list[Liquidation]:
    """Events of every row. One bad row does not lose the others: its error is raised with their events."""
    events: list[Liquidation] = []
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
