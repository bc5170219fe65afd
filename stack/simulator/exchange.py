"""The contract of a simulated exchange: what it answers, what it pushes and to whom. No socket, no clock.

One file an exchange holds all of it: paths, the subscribe protocol, frame shapes, batching, REST answers. The files are
written after the exchanges' documents and share nothing with the producers, so that they can witness against them."""

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, ClassVar, Final, NamedTuple

from schemas.words import Side
from stack.simulator.instruments import Instrument
from stack.simulator.limits import RestLimit
from stack.simulator.market import Market
from stack.simulator.scenarios import SimulatedLiquidation

Message = dict[str, Any]  # a JSON object
MARKET_INTERVAL_MS: Final = 1_000  # of market data on a subscribed channel
ARITHMETIC: Final = Context(prec=50, rounding=ROUND_HALF_EVEN)  # products of two wire numbers are exact in it


class Row(NamedTuple):
    """What one liquidation of a frame means: price in quote per coin, quantity in coins, time in ms."""

    exchange: str
    instrument: str
    asset: str
    side: Side
    price: float
    quantity: float
    notional_micro_usd: int
    event_time_ms: int

    def turned(self) -> "Row":
        """The same of the other side: what a frame says whose words have changed places."""
        return self._replace(side=Side.SHORT if self.side is Side.LONG else Side.LONG)


@dataclass(slots=True, eq=False)
class Push:
    """One frame on its way to everyone who subscribed to `channel` (the exchange's own name for it).

    `rows`: none where it is market data. `verbatim`: a captured frame, to be sent as it is and not in the shape of the
    address that a client chose. `parts`: earlier pushes whose rows this one brings again."""

    channel: str
    message: Any
    rows: tuple[Row, ...] = ()
    verbatim: bool = False
    sent: bool = False
    withheld: Counter[str] | None = None  # the count, by exchange, in which its rows stand while they are not sent
    parts: tuple["Push", ...] = ()


@dataclass(slots=True)
class Client:
    """One connected client, as the exchange sees it: the path that it chose and the channels that it subscribed to."""

    path: str
    channels: set[str] = field(default_factory=set)
    headers: Mapping[str, str] = field(default_factory=dict)


class Answer(NamedTuple):
    """Of a REST call."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer to one message of a client: the texts to send first, then the channels that change."""

    texts: tuple[str, ...] = ()
    subscribe: frozenset[str] = frozenset()
    unsubscribe: frozenset[str] = frozenset()
    close: bool = False


def compact(message: Any) -> str:
    """The text of a message, as exchanges write it: no spaces, symbols in UTF-8."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def parse(text: str) -> Message | None:
    """The JSON object in a client's text; None when it is none."""
    try:
        message = json.loads(text)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def on_grid(value: float | Decimal, step: Decimal) -> Decimal:
    """The value on its grid of steps, at least one step, without exponent."""
    steps = (Decimal(value) / step).to_integral_value(ROUND_HALF_EVEN)
    return max(steps, Decimal(1)) * step


def plain(value: Decimal) -> str:
    """Decimal -> digits without exponent: `1E+1` is `10`."""
    return f"{value:f}"


class SimulatedExchange(ABC):
    """An exchange. `collect` what happened, send what is `due`; `answer` its clients.

    Times are ms since the epoch, as the caller's clock has them. idle_s_max: a client that showed none of the signs of
    life in `kept_alive_by` (`pong`: answers to ping frames, `text`: its own messages, `push`: frames to it) is cut."""

    name: ClassVar[str]
    rest_limit: ClassVar[RestLimit]
    # Patterns of the side in a frame's text, each with what the exchange never said, as if it had changed its words.
    side_words: ClassVar[Mapping[str, str]]
    # Pieces of a frame's text that tell the side, each with the one that tells the other; of two that begin alike the
    # longer one stands first.
    opposites: ClassVar[Mapping[str, str]]
    websocket_paths: ClassVar[tuple[str, ...]]
    rest_paths: ClassVar[tuple[str, ...]]
    kept_alive_by: frozenset[str]

    idle_s_max: float
    ping_interval_s: float | None = None  # None: this exchange sends no ping frames
    messages_per_s_max: int | None = None  # None: this exchange names no limit
    repeats_last_push: bool = False  # to a new subscriber
    funds_hourly: bool = False

    def __init__(self, listing: list[Instrument]) -> None:
        self.instruments = {instrument.symbol: instrument for instrument in listing}
        self.unshown_rows = 0  # happened, but this exchange's rule keeps them off its tape
        self.market = Market(hourly=self.funds_hourly)
        self.clock_skew_ms = 0  # of the exchange's clock, which stamps all that it sends
        self._next_market_ms = 0
        self._linear = {i.asset: i for i in reversed(listing) if not i.coin_margined}
        self._inverse = {i.asset: i for i in reversed(listing) if i.coin_margined and not i.dated}

    @classmethod
    def path_of(cls, path: str) -> str:
        """The exchange's own part of a path on the simulator's server."""
        return path.removeprefix(f"/{cls.name}")

    def instrument_of(self, liquidation: SimulatedLiquidation) -> Instrument:
        """The contract that it happened in."""
        return (self._inverse if liquidation.coin_margined else self._linear)[liquidation.asset]

    def stamp(self, time_ms: int) -> int:
        """That moment by the exchange's own clock."""
        return time_ms + self.clock_skew_ms

    def take_in(self, liquidation: SimulatedLiquidation, event_time_ms: int) -> None:
        """It happened: the market moves, and the frame that tells of it is made."""
        instrument = self.instrument_of(liquidation)
        self.market.liquidated(instrument, coins=liquidation.coins, price=liquidation.price)
        self.collect(liquidation, event_time_ms)

    def market_due(self, now_ms: int, channels: Set[str]) -> list[Push]:
        """Market data of the channels that somebody subscribed to, once a second."""
        if now_ms < self._next_market_ms:
            return []
        self._next_market_ms = now_ms - now_ms % MARKET_INTERVAL_MS + MARKET_INTERVAL_MS
        return [push for channel in sorted(channels) for push in self.market_pushes(channel, now_ms)]

    def open_text(self, instrument: Instrument, *, sides: int = 1) -> str:
        """Open interest in the unit of the exchange's quantities; counted on both sides where the exchange does."""
        amount = self.market.open_usd(instrument) if instrument.inverse else self.market.open_coins(instrument)
        return plain(on_grid(amount / float(instrument.contract_size), instrument.step) * sides)

    def mark_text(self, instrument: Instrument) -> str:
        """The mark price as the exchange quotes it."""
        return plain(self.wire_price(self.market.price(instrument), instrument))

    def greeting(self, channels: Set[str], now_ms: int) -> list[Push]:
        """What a new subscriber of these channels gets before anything new; most exchanges send nothing."""
        return []

    def list_symbol(self, symbol: str) -> Instrument:
        """The instrument of that name; one that is not listed yet is, by the exchange's naming rules."""
        if symbol not in self.instruments:
            self.instruments[symbol] = self.instrument_by_name(symbol)
        return self.instruments[symbol]

    def row(self, symbol: str, side: Side, *, price: str, quantity: str, event_time_ms: int) -> Row:
        """What a row of a frame means, from its own text: the account's side of every comparison."""
        instrument = self.list_symbol(symbol)
        size, amount = instrument.contract_size, Decimal(quantity)
        coin_price = ARITHMETIC.divide(Decimal(price), instrument.price_coins)
        notional = ARITHMETIC.multiply(amount, size)
        coins = notional
        if instrument.inverse:
            coins = ARITHMETIC.divide(notional, coin_price)
        else:
            notional = ARITHMETIC.multiply(notional, coin_price)
        micro_usd = int(ARITHMETIC.multiply(notional, Decimal(10**6)).to_integral_value(ROUND_HALF_EVEN))
        return Row(self.name, symbol, instrument.asset, side, float(coin_price), float(coins), micro_usd, event_time_ms)

    def wire_quantity(self, liquidation: SimulatedLiquidation, instrument: Instrument) -> Decimal:
        """The size in the exchange's unit, on its grid."""
        units = liquidation.coins * (liquidation.price if instrument.inverse else 1.0)
        return on_grid(units / float(instrument.contract_size), instrument.step)

    def wire_price(self, price_usd: float, instrument: Instrument) -> Decimal:
        """A price per coin as the exchange quotes it, on its grid."""
        return on_grid(price_usd * float(instrument.price_coins), instrument.tick)

    def channels_in_address(self, path: str, query: Mapping[str, str]) -> frozenset[str]:
        """The channels that an address subscribes to by itself; most exchanges have no such thing."""
        return frozenset()

    def swapped(self, text: str) -> str:
        """A frame's text with the other side in every row, as if the words had changed places."""
        return re.sub("|".join(map(re.escape, self.opposites)), lambda found: self.opposites[found[0]], text)

    @abstractmethod
    def instrument_by_name(self, symbol: str) -> Instrument:
        """An instrument by the naming rules alone, for symbols that only captured frames name."""

    @abstractmethod
    def answer(self, text: str, client: Client) -> Reply:
        """The reply to one text of a client; `client` is left as it is."""

    @abstractmethod
    def collect(self, liquidation: SimulatedLiquidation, event_time_ms: int) -> None:
        """Take in a liquidation that happened just now."""

    @abstractmethod
    def due(self, now_ms: int) -> list[Push]:
        """The frames that this exchange sends by now."""

    @property
    @abstractmethod
    def pending(self) -> int:
        """Liquidations that were collected and are not due yet."""

    @abstractmethod
    def market_pushes(self, channel: str, now_ms: int) -> list[Push]:
        """Market data for a channel, as of now; [] for channels of liquidations."""

    @abstractmethod
    def texts(self, push: Push, client: Client) -> list[str]:
        """The texts that this client gets of that push; none where it did not subscribe."""

    @abstractmethod
    def captured(self, payload: Message) -> Push | None:
        """A captured frame, ready to be played as it is; None when it is a fragment and not a whole frame."""

    @abstractmethod
    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> Answer:
        """Status and body of a GET, or of a POST whose body is the query."""

    def weight(self, path: str, query: Mapping[str, str]) -> int:
        """What a call counts in `rest_limit`."""
        return 1
