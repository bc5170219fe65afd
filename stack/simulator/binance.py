"""Binance USDⓈ-M and COIN-M futures, simulated after Binance's documents as of 2026-11.

- `/market/ws`, `/market/stream`: liquidations. The unrouted `/ws`, `/stream` accept and acknowledge a SUBSCRIBE and
  stay silent, as they have been for this channel since 2026-04-23.
- "only the largest one liquidation order within 1000ms will be pushed": a symbol's first order opens its second; at the
  end the largest goes out, so E - T is up to 1000 ms.
- `S` is the side of the liquidation ORDER: SELL closes a long. `p` is the order's limit, worse than the fill `ap`.
- Since 2026-06-30 `!forceOrder@arr` carries USDⓈ-M (st 1, inside `o`) and COIN-M (st 2, beside `o`) alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Final, NamedTuple

from schemas.words import Side
from stack.simulator.exchange import Client, Message, Push, Reply, Row, SimulatedExchange, compact, parse, plain
from stack.simulator.instruments import Instrument, binance_instrument, binance_listing
from stack.simulator.scenarios import SimulatedLiquidation

ALL_MARKET: Final = "!forceOrder@arr"
ORDER_SIDE: Final = {Side.LONG: "SELL", Side.SHORT: "BUY"}
POSITION_SIDE: Final = {order: side for side, order in ORDER_SIDE.items()}
WINDOW_MS: Final = 1_000
STREAMS_MAX: Final = 1_024  # a connection
LIMIT_DISTANCE: Final = Decimal("0.006")  # of the order's limit from the fill
UM_SYMBOLS, CM_SYMBOLS = 1, 2  # `st`


class _Order(NamedTuple):
    liquidation: SimulatedLiquidation
    instrument: Instrument
    quantity: Decimal
    event_time_ms: int


@dataclass(slots=True)
class _Second:
    """1000 ms of one symbol, from its first order on."""

    opened_ms: int
    largest: _Order


class Binance(SimulatedExchange):
    """Origin of both products: `/fapi` and `/dapi` stand side by side."""

    name: ClassVar[str] = "binance"
    websocket_paths: ClassVar[tuple[str, ...]] = (
        "/market/ws", "/market/ws/{streams}", "/market/stream", "/ws", "/ws/{streams}", "/stream",
    )  # fmt: skip
    rest_paths: ClassVar[tuple[str, ...]] = ("/fapi/v1/exchangeInfo", "/dapi/v1/exchangeInfo")
    kept_alive_by: frozenset[str] = frozenset({"pong"})
    idle_s_max: float = 600.0
    ping_interval_s: float | None = 180.0
    messages_per_s_max: int | None = 10

    def __init__(self) -> None:
        super().__init__(binance_listing())
        self._seconds: dict[str, _Second] = {}
        self._over: list[_Order] = []  # of seconds that ended before `due` was asked

    def instrument_by_name(self, symbol: str) -> Instrument:
        """By the symbol's form."""
        return binance_instrument(symbol)

    def channels_in_address(self, path: str, query: Mapping[str, str]) -> frozenset[str]:
        """`/ws/<stream>` or `/stream?streams=a/b`."""
        if path.endswith("/stream"):
            return frozenset(filter(None, query.get("streams", "").split("/")))
        return frozenset(filter(None, [path.partition("/ws")[2].removeprefix("/")]))

    def answer(self, text: str, client: Client) -> Reply:
        """SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS; anything else is an error frame."""
        request = parse(text)
        if request is None:
            return Reply((compact({"error": {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}}),))
        identifier, method, params = request.get("id"), request.get("method"), request.get("params", [])
        if method == "LIST_SUBSCRIPTIONS":
            return Reply((compact({"result": sorted(client.channels), "id": identifier}),))
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            known = "expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`"
            return _error(2, f"Invalid request: unknown variant `{method}`, {known}", identifier)
        if not isinstance(params, list) or not all(isinstance(stream, str) for stream in params):
            return _error(2, "Invalid request: params must be a list of stream names", identifier)
        streams, done = frozenset(params), (compact({"result": None, "id": identifier}),)
        if method == "UNSUBSCRIBE":
            return Reply(done, unsubscribe=streams)
        if len(client.channels | streams) > STREAMS_MAX:
            return _error(4, f"Too many streams: at most {STREAMS_MAX} a connection", identifier)
        return Reply(done, subscribe=streams)

    def collect(self, liquidation: SimulatedLiquidation, event_time_ms: int) -> None:
        """Keep the largest order of its symbol's second."""
        instrument = self.instrument_of(liquidation)
        quantity = self.wire_quantity(liquidation, instrument)
        order = _Order(liquidation, instrument, quantity, event_time_ms)
        second = self._seconds.get(instrument.symbol)
        if second is None or event_time_ms >= second.opened_ms + WINDOW_MS:
            self._over += [second.largest] if second else []
            self._seconds[instrument.symbol] = _Second(event_time_ms, order)
            return
        self.unshown_rows += 1
        if quantity > second.largest.quantity:
            second.largest = order

    def due(self, now_ms: int) -> list[Push]:
        """The largest order of every second that is over."""
        ended = [symbol for symbol, second in self._seconds.items() if second.opened_ms + WINDOW_MS <= now_ms]
        orders = self._over + [self._seconds.pop(symbol).largest for symbol in ended]
        self._over = []
        return [self._push(order, now_ms) for order in orders]

    @property
    def pending(self) -> int:
        """One order for each second that has not been sent."""
        return len(self._over) + len(self._seconds)

    def _push(self, order: _Order, now_ms: int) -> Push:
        instrument, happened = order.instrument, order.liquidation
        fill = self.wire_price(happened.price, instrument)
        worse = 1 - LIMIT_DISTANCE if happened.side is Side.LONG else 1 + LIMIT_DISTANCE
        quantity = plain(order.quantity)
        inner: Message = {
            "s": instrument.symbol, "S": ORDER_SIDE[happened.side], "o": "LIMIT", "f": "IOC", "q": quantity,
            "p": plain((fill * worse).quantize(instrument.tick)), "ap": plain(fill), "X": "FILLED",
            "l": plain(max(order.quantity // 3 // instrument.step, Decimal(1)) * instrument.step),
            "z": quantity, "T": order.event_time_ms, "ps": instrument.symbol.partition("_")[0],
        }  # fmt: skip
        message: Message = {"e": "forceOrder", "E": now_ms, "o": inner}
        if instrument.inverse:
            message["st"] = CM_SYMBOLS
        else:
            inner["st"] = UM_SYMBOLS
        return Push(instrument.symbol, message, (self._row(inner),))

    def _row(self, order: Message) -> Row:
        return self.row(
            order["s"], POSITION_SIDE[order["S"]], price=order["ap"], quantity=order["z"], event_time_ms=order["T"]
        )

    def texts(self, push: Push, client: Client) -> list[str]:
        """Raw on `/ws`, wrapped on `/stream`; nothing on the unrouted paths; once for every stream that fits."""
        if not client.path.startswith("/market/"):
            return []
        streams = [s for s in (ALL_MARKET, f"{push.channel.lower()}@forceOrder") if s in client.channels]
        if push.verbatim:
            return [compact(push.message)] if streams else []
        if client.path.endswith("/stream"):
            return [compact({"stream": stream, "data": push.message}) for stream in streams]
        return [compact(push.message) for _ in streams]

    def captured(self, payload: Message) -> Push | None:
        """Raw or wrapped."""
        event = payload.get("data", payload)
        if event.get("e") != "forceOrder":
            return None
        return Push(event["o"]["s"], payload, (self._row(event["o"]),), verbatim=True)

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> tuple[int, Message]:
        """The exchangeInfo of the product that the path names."""
        coin_margined = path.startswith("/dapi")
        symbols = [_listed(i) for i in self.instruments.values() if i.inverse is coin_margined]
        return 200, {"timezone": "UTC", "serverTime": now_ms, "rateLimits": [], "exchangeFilters": [],
                     "symbols": symbols}  # fmt: skip


def _error(code: int, text: str, identifier: object) -> Reply:
    return Reply((compact({"error": {"code": code, "msg": text}, "id": identifier}),))


def _listed(instrument: Instrument) -> Message:
    """One element of exchangeInfo `symbols`; COIN-M names the size of its contracts, and the status otherwise."""
    listed: Message = {
        "symbol": instrument.symbol, "pair": instrument.symbol.partition("_")[0],
        "contractType": "CURRENT_QUARTER" if instrument.dated else "PERPETUAL",
        "baseAsset": instrument.base, "quoteAsset": instrument.quote, "marginAsset": instrument.settle,
        "underlyingType": "COIN", "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": plain(instrument.tick)},
            {"filterType": "LOT_SIZE", "stepSize": plain(instrument.step)},
        ],
    }  # fmt: skip
    if instrument.inverse:
        return listed | {"contractStatus": "TRADING", "contractSize": int(instrument.contract_size)}
    return listed | {"status": "TRADING"}
