"""Binance USDⓈ-M and COIN-M futures, simulated after Binance's documents as of 2026-11.

- `/market/ws`, `/market/stream`: liquidations. The unrouted `/ws`, `/stream` accept and acknowledge a SUBSCRIBE and
  stay silent, as they have been for this channel since 2026-04-23.
- "only the largest one liquidation order within 1000ms will be pushed": a symbol's first order opens its second; at the
  end the largest goes out, so E - T is up to 1000 ms.
- `S` is the side of the liquidation ORDER: SELL closes a long. `p` is the order's limit, worse than the fill `ap`.
- `<symbol>@markPrice`, `!markPrice@arr` (`@1s` or not): mark price and funding, both products, once a second.
- Open interest: one symbol a call, contracts for COIN-M. premiumIndex: `lastFundingRate` is the running rate.
- All calls share 2400 weight a minute; then 429, and 418 for those who go on, both with Retry-After.
- Since 2026-06-30 `!forceOrder@arr` carries USDⓈ-M (st 1, inside `o`) and COIN-M (st 2, beside `o`) alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Final, NamedTuple

from schemas.words import Side
from stack.simulator.exchange import (
    Answer,
    Client,
    Message,
    Push,
    Reply,
    Row,
    SimulatedExchange,
    compact,
    parse,
    plain,
)
from stack.simulator.instruments import Instrument, binance_instrument, binance_listing
from stack.simulator.limits import RestLimit
from stack.simulator.market import HOUR_MS, window
from stack.simulator.scenarios import SimulatedLiquidation

ALL_MARKET: Final = "!forceOrder@arr"
ORDER_SIDE: Final = {Side.LONG: "SELL", Side.SHORT: "BUY"}
POSITION_SIDE: Final = {order: side for side, order in ORDER_SIDE.items()}
WINDOW_MS: Final = 1_000
STREAMS_MAX: Final = 1_024  # a connection
FILL_DISTANCE: Final = 0.0015  # of the average fill from the market
LIMIT_DISTANCE: Final = Decimal("0.006")  # of the order's limit from the fill
MARK_ARRAYS: Final = ("!markPrice@arr", "!markPrice@arr@1s")
ALL_SYMBOLS_WEIGHT: Final = 10  # of premiumIndex without a symbol
HISTORY_ROWS, HISTORY_ROWS_MAX = 100, 1_000  # of fundingRate
SETTLED_AFTER_MS: Final = 2  # the hour: as funding times have been seen
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
    rest_paths: ClassVar[tuple[str, ...]] = tuple(
        f"/{product}/v1/{call}"
        for product in ("fapi", "dapi")
        for call in ("exchangeInfo", "openInterest", "premiumIndex", "fundingInfo", "fundingRate")
    )
    rest_limit: ClassVar[RestLimit] = RestLimit(
        weight_max=2_400, window_ms=60_000, ban_status=418, header="Retry-After",
        body={"code": -1003, "msg": "Too many requests; current limit is 2400 request weight per 1 MINUTE."},
    )  # fmt: skip
    side_words: ClassVar[Mapping[str, str]] = {'"S":"SELL"': '"S":"SOLD"', '"S":"BUY"': '"S":"BOUGHT"'}
    opposites: ClassVar[Mapping[str, str]] = {'"S":"SELL"': '"S":"BUY"', '"S":"BUY"': '"S":"SELL"'}
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
        sign = -1 if happened.side is Side.LONG else 1
        fill = self.wire_price(happened.price * (1 + sign * FILL_DISTANCE), instrument)
        worse = 1 + sign * LIMIT_DISTANCE
        quantity = plain(order.quantity)
        inner: Message = {
            "s": instrument.symbol, "S": ORDER_SIDE[happened.side], "o": "LIMIT", "f": "IOC", "q": quantity,
            "p": plain((fill * worse).quantize(instrument.tick)), "ap": plain(fill), "X": "FILLED",
            "l": plain(max(order.quantity // 3 // instrument.step, Decimal(1)) * instrument.step),
            "z": quantity, "T": self.stamp(order.event_time_ms), "ps": instrument.symbol.partition("_")[0],
        }  # fmt: skip
        message: Message = {"e": "forceOrder", "E": self.stamp(now_ms), "o": inner}
        if instrument.inverse:
            message["st"] = CM_SYMBOLS
        else:
            inner["st"] = UM_SYMBOLS
        return Push(instrument.symbol, message, (self._row(inner),))

    def _row(self, order: Message) -> Row:
        return self.row(
            order["s"], POSITION_SIDE[order["S"]], price=order["ap"], quantity=order["z"], event_time_ms=order["T"]
        )

    def market_pushes(self, channel: str, now_ms: int) -> list[Push]:
        """MarkPriceUpdate of one symbol, or of all as an array."""
        if channel in MARK_ARRAYS:
            return [Push(channel, [self._mark_update(each, now_ms) for each in self.instruments.values()])]
        symbol, _, stream = channel.partition("@")
        instrument = self.instruments.get(symbol.upper())
        if instrument is None or not stream.startswith("markPrice"):
            return []
        return [Push(channel, self._mark_update(instrument, now_ms))]

    def _mark_update(self, instrument: Instrument, now_ms: int) -> Message:
        mark, product = self.mark_text(instrument), CM_SYMBOLS if instrument.inverse else UM_SYMBOLS
        rate, next_ms = self._coming(instrument, now_ms)
        return {
            "e": "markPriceUpdate", "E": self.stamp(now_ms), "s": instrument.symbol, "p": mark, "ap": mark, "P": mark,
            "i": mark, "r": rate, "T": next_ms, "st": product,
        }  # fmt: skip

    def _coming(self, instrument: Instrument, now_ms: int) -> tuple[str, int]:
        """Running rate and next funding time; delivery contracts have neither."""
        if instrument.dated:
            return "", 0
        coming = self.market.next_funding(instrument, now_ms)
        return plain(coming.rate), coming.time_ms

    def texts(self, push: Push, client: Client) -> list[str]:
        """Raw on `/ws`, wrapped on `/stream`; nothing on the unrouted paths; once for every stream that fits."""
        if not client.path.startswith("/market/"):
            return []
        streams = [push.channel] if push.channel in client.channels else []
        if push.rows:
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

    def weight(self, path: str, query: Mapping[str, str]) -> int:
        """PremiumIndex of all symbols weighs more."""
        return ALL_SYMBOLS_WEIGHT if path.endswith("/premiumIndex") and not query.get("symbol") else 1

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> Answer:
        """Of the product that the path names."""
        coin_margined, call = path.startswith("/dapi"), path.rpartition("/")[2]
        listed = [each for each in self.instruments.values() if each.inverse is coin_margined]
        if call == "exchangeInfo":
            return Answer(200, {"timezone": "UTC", "serverTime": self.stamp(now_ms), "rateLimits": [],
                                "exchangeFilters": [], "symbols": [_listed(each) for each in listed]})  # fmt: skip
        if call == "fundingInfo":
            return Answer(200, self._adjusted_intervals(listed))
        wanted = [each for each in listed if query.get("symbol") in (None, each.symbol)]
        if not wanted or (call == "openInterest" and "symbol" not in query):
            return Answer(400, {"code": -1121, "msg": "Invalid symbol."})
        if call == "openInterest":
            return Answer(200, self._open_interest(wanted[0], now_ms))
        if call == "fundingRate":
            return Answer(200, self._history(wanted, query, now_ms))
        rows = [self._premium(each, now_ms) for each in wanted]
        return Answer(200, rows if coin_margined or "symbol" not in query else rows[0])

    def _open_interest(self, instrument: Instrument, now_ms: int) -> Message:
        row: Message = {"symbol": instrument.symbol, "openInterest": self.open_text(instrument)}
        if instrument.inverse:
            row |= {"pair": f"{instrument.base}USD", "contractType": _contract_type(instrument)}
        return row | {"time": self.stamp(now_ms)}

    def _premium(self, instrument: Instrument, now_ms: int) -> Message:
        mark, (rate, next_ms) = self.mark_text(instrument), self._coming(instrument, now_ms)
        return {
            "symbol": instrument.symbol, "markPrice": mark, "indexPrice": mark, "estimatedSettlePrice": mark,
            "lastFundingRate": rate, "interestRate": "0.00010000", "nextFundingTime": next_ms,
            "time": self.stamp(now_ms),
        }  # fmt: skip

    def _adjusted_intervals(self, listed: list[Instrument]) -> list[Message]:
        """Only symbols that do not have the usual 8 h."""
        hours = {each.symbol: self.market.interval_hours(each) for each in listed}
        return [{"symbol": symbol, "fundingIntervalHours": each} for symbol, each in hours.items() if each != 8]

    def _history(self, wanted: list[Instrument], query: Mapping[str, str], now_ms: int) -> list[Message]:
        start_ms, end_ms = window(query, "startTime", "endTime", now_ms, default_ms=24 * HOUR_MS)
        limit = min(int(query.get("limit", HISTORY_ROWS)), HISTORY_ROWS_MAX)
        rows: list[Message] = [
            {"symbol": each.symbol, "fundingTime": past.time_ms + SETTLED_AFTER_MS, "fundingRate": plain(past.rate),
             "markPrice": self.mark_text(each)}
            for each in wanted if not each.dated for past in self.market.settled(each, start_ms, end_ms)
        ]  # fmt: skip
        return sorted(rows, key=lambda row: row["fundingTime"])[:limit]


def _error(code: int, text: str, identifier: object) -> Reply:
    return Reply((compact({"error": {"code": code, "msg": text}, "id": identifier}),))


def _contract_type(instrument: Instrument) -> str:
    return "CURRENT_QUARTER" if instrument.dated else "PERPETUAL"


def _listed(instrument: Instrument) -> Message:
    """One element of exchangeInfo `symbols`; COIN-M names the size of its contracts, and the status otherwise."""
    listed: Message = {
        "symbol": instrument.symbol, "pair": instrument.symbol.partition("_")[0],
        "contractType": _contract_type(instrument),
        "baseAsset": instrument.base, "quoteAsset": instrument.quote, "marginAsset": instrument.settle,
        "underlyingType": "COIN", "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": plain(instrument.tick)},
            {"filterType": "LOT_SIZE", "stepSize": plain(instrument.step)},
        ],
    }  # fmt: skip
    if instrument.inverse:
        return listed | {"contractStatus": "TRADING", "contractSize": int(instrument.contract_size)}
    return listed | {"status": "TRADING"}
