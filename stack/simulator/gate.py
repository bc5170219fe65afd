"""Gate v4 futures, USDT- and BTC-settled, simulated after Gate's documents as of 2026-11.

- `futures.public_liquidates` with `!all` or contracts; since 2026-08-20 nothing is dropped: a contract's orders of a
  second go out together, or as soon as there are 20. One order: `result` is an object, as seen; several: a list.
- `size` is the closing ORDER's, in contracts: negative closes a long. With the header X-Gate-Size-Decimal sizes are
  texts. REST `liq_orders` has the POSITION's sign in `size`, the order's in `order_size`, and times in seconds.
- BTC-settled: 1 contract = 1 USD, quanto_multiplier "0".
- `total_size` (tickers) counts both sides, `position_size` (contracts) one. Funding intervals and times in seconds.
- REST: 200 calls in 10 s an address, then 429."""

from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from schemas.words import Side
from stack.simulator.exchange import Answer, Client, Message, Push, Reply, Row, SimulatedExchange, compact, parse, plain
from stack.simulator.instruments import Instrument, gate_instrument, gate_listing
from stack.simulator.limits import RestLimit
from stack.simulator.market import HOUR_MS, window
from stack.simulator.scenarios import SimulatedLiquidation

LIQUIDATIONS: Final = "futures.public_liquidates"
TICKERS: Final = "futures.tickers"
ALL: Final = "!all"
SETTLES: Final = ("usdt", "btc")
PERIOD_MS: Final = 1_000
ORDERS_MAX: Final = 20  # of a contract: then they go out before the period ends
ORDER_DISTANCE: Final = 0.002  # of the order's price from the market
SIZE_DECIMAL: Final = "X-Gate-Size-Decimal"
LIQ_ORDERS_MAX, LIQ_ORDERS_SPAN_S_MAX = 1_000, 3_600


class Gate(SimulatedExchange):
    """`/v4/ws/usdt`, `/v4/ws/btc`; the server sends ping frames."""

    name: ClassVar[str] = "gate"
    websocket_paths: ClassVar[tuple[str, ...]] = tuple(f"/v4/ws/{settle}" for settle in SETTLES)
    rest_paths: ClassVar[tuple[str, ...]] = tuple(
        f"/api/v4/futures/{settle}/{call}"
        for settle in SETTLES
        for call in ("contracts", "tickers", "liq_orders", "funding_rate", "funding_rates", "contract_stats")
    )
    rest_limit: ClassVar[RestLimit] = RestLimit(
        weight_max=200, window_ms=10_000, by_path=True, header="X-Gate-Ratelimit-Reset-Timestamp",
        header_unit="epoch_s", body={"label": "TOO_MANY_REQUESTS", "message": "Request Rate Limit Exceeded"},
    )  # fmt: skip
    side_words: ClassVar[Mapping[str, str]] = {r'"size":"?(-?\d+)"?': r'"size":"\1 contracts"'}
    opposites: ClassVar[Mapping[str, str]] = {
        '"size":"-': '"size":"', '"size":"': '"size":"-', '"size":-': '"size":', '"size":': '"size":-',
    }  # fmt: skip
    kept_alive_by: frozenset[str] = frozenset({"pong", "text"})
    idle_s_max: float = 120.0
    ping_interval_s: float | None = 20.0

    def __init__(self) -> None:
        super().__init__(gate_listing())
        self._collected: dict[str, list[Message]] = {}
        self._ready: list[tuple[str, list[Message]]] = []  # of contracts that had many orders
        self._next_push_ms = self._now_ms = 0
        self._liq_orders: deque[Message] = deque(maxlen=LIQ_ORDERS_MAX)

    def instrument_by_name(self, symbol: str) -> Instrument:
        """By the contract's form."""
        return gate_instrument(symbol)

    def answer(self, text: str, client: Client) -> Reply:
        """futures.ping, subscribe, unsubscribe; anything else is an error."""
        request = parse(text)
        channel = str(request.get("channel", "")) if request else ""
        if channel == "futures.ping":
            return Reply((compact(self._envelope("futures.pong", "") | {"result": None}),))
        event = str(request.get("event", "")) if request else ""
        payload = request.get("payload") if request else None
        known = channel in (LIQUIDATIONS, TICKERS) and event in ("subscribe", "unsubscribe")
        if not known or not isinstance(payload, list) or not payload or not all(isinstance(p, str) for p in payload):
            error = {"error": {"code": 2, "message": f"unknown channel, event or payload: {text[:100]}"}}
            return Reply((compact(self._envelope(channel, event) | error),))
        done = (compact(self._envelope(channel, event) | {"result": {"status": "success"}}),)
        channels = frozenset(f"{channel}:{contract}" for contract in payload)
        return Reply(done, unsubscribe=channels) if event == "unsubscribe" else Reply(done, subscribe=channels)

    def _envelope(self, channel: str, event: str) -> Message:
        now_ms = self.stamp(self._now_ms)
        return {"time": now_ms // 1000, "time_ms": now_ms, "channel": channel, "event": event}

    def collect(self, liquidation: SimulatedLiquidation, event_time_ms: int) -> None:
        """Keep the order for its contract's next frame."""
        instrument, is_long = self.instrument_of(liquidation), liquidation.side is Side.LONG
        worse = 1 - ORDER_DISTANCE if is_long else 1 + ORDER_DISTANCE
        size = int(self.wire_quantity(liquidation, instrument)) * (-1 if is_long else 1)
        price, time_ms = plain(self.wire_price(liquidation.price * worse, instrument)), self.stamp(event_time_ms)
        orders = self._collected.setdefault(instrument.symbol, [])
        orders.append({"contract": instrument.symbol, "price": price, "time": time_ms, "size": size})
        if len(orders) == ORDERS_MAX:
            self._ready.append((instrument.symbol, self._collected.pop(instrument.symbol)))
        self._liq_orders.append({
            "contract": instrument.symbol, "left": "0", "size": str(-size), "order_size": str(size),
            "fill_price": plain(self.wire_price(liquidation.price, instrument)), "order_price": price,
            "time": time_ms // 1000,
        })  # fmt: skip

    def due(self, now_ms: int) -> list[Push]:
        """One frame a contract: at the end of the period, or when it was full."""
        frames, self._ready = self._ready, []
        if now_ms >= self._next_push_ms:
            self._next_push_ms = now_ms - now_ms % PERIOD_MS + PERIOD_MS
            collected, self._collected = self._collected, {}
            frames += collected.items()
        self._now_ms = now_ms
        return [self._push(symbol, orders) for symbol, orders in frames]

    @property
    def pending(self) -> int:
        """Orders that wait for the next frame of their contract."""
        return sum(map(len, self._collected.values())) + sum(len(orders) for _, orders in self._ready)

    def _push(self, symbol: str, orders: list[Message]) -> Push:
        message = self._envelope(LIQUIDATIONS, "update") | {"result": orders if len(orders) > 1 else orders[0]}
        return Push(f"{LIQUIDATIONS}:{symbol}", message, tuple(map(self._row, orders)))

    def _row(self, order: Message) -> Row:
        size = str(order["size"])
        return self.row(
            order["contract"], Side.LONG if size.startswith("-") else Side.SHORT, price=str(order["price"]),
            quantity=size.removeprefix("-"), event_time_ms=int(order.get("time") or order["time_ms"]),
        )  # fmt: skip

    def market_pushes(self, channel: str, now_ms: int) -> list[Push]:
        """Tickers: of one contract, or of all, each settlement apart."""
        name, _, contract = channel.partition(":")
        if name != TICKERS:
            return []
        self._now_ms = now_ms
        pushes = []
        for settle in SETTLES:
            rows = [self._ticker(each) for each in self._of(settle) if contract in (ALL, each.symbol)]
            if rows:
                message = self._envelope(TICKERS, "update") | {"result": rows}
                pushes.append(Push(f"{channel}:{settle}", message))
        return pushes

    def texts(self, push: Push, client: Client) -> list[str]:
        """One text when the client subscribed, on the address of the contract's settlement."""
        settle = client.path.rpartition("/")[2]
        name, contract, *of = push.channel.split(":")
        if of:
            return [compact(push.message)] if of[0] == settle and f"{name}:{contract}" in client.channels else []
        inverse = self.list_symbol(contract).inverse
        if inverse is (settle == "usdt") or not client.channels & {f"{name}:{contract}", f"{name}:{ALL}"}:
            return []
        if push.verbatim or client.headers.get(SIZE_DECIMAL) != "1":
            return [compact(push.message)]
        return [compact(dict(push.message) | {"result": _decimal_sizes(push.message["result"])})]

    def captured(self, payload: Message) -> Push | None:
        """An update of the current channel."""
        if payload.get("channel") != LIQUIDATIONS or payload.get("event") != "update":
            return None
        orders = payload["result"] if isinstance(payload["result"], list) else [payload["result"]]
        rows = tuple(map(self._row, orders))
        return Push(f"{LIQUIDATIONS}:{orders[0]['contract']}", payload, rows, verbatim=True)

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> Answer:
        """Of the settlement that the path names; lists without an envelope."""
        self._now_ms = now_ms
        settle, call = path.split("/")[-2:]
        listed = [each for each in self._of(settle) if query.get("contract") in (None, each.symbol)]
        if not listed or (call in ("funding_rate", "contract_stats") and "contract" not in query):
            return Answer(400, {"label": "CONTRACT_NOT_FOUND", "message": "contract not found"})
        if call == "contracts":
            start, rows = int(query.get("offset", 0)), int(query.get("limit", 1_000))
            return Answer(200, [self._contract(each, now_ms) for each in listed[start : start + rows]])
        if call == "tickers":
            return Answer(200, [self._ticker(each) for each in listed])
        if call == "liq_orders":
            return self._orders(settle, query)
        if call == "contract_stats":
            return Answer(200, [self._stats(listed[0], now_ms)])
        if call == "funding_rates":
            named = [each for each in listed if each.symbol in query.get("contracts", "").split(",")]
            return Answer(200, [{"contract": each.symbol, "data": self._settled(each, query)} for each in named])
        return Answer(200, self._settled(listed[0], query))

    def _settled(self, instrument: Instrument, query: Mapping[str, str]) -> list[Message]:
        """Newest first."""
        start_s, end_s = window(query, "from", "to", self._now_ms // 1000, default_ms=100 * HOUR_MS // 1000)
        past = self.market.settled(instrument, start_s * 1000, end_s * 1000)[::-1][: int(query.get("limit", 100))]
        return [{"t": each.time_ms // 1000, "r": plain(each.rate)} for each in past]

    def _of(self, settle: str) -> list[Instrument]:
        return [each for each in self.instruments.values() if each.inverse is (settle == "btc")]

    def _ticker(self, instrument: Instrument) -> Message:
        mark, rate = self.mark_text(instrument), plain(self.market.next_funding(instrument, self._now_ms).rate)
        return {
            "contract": instrument.symbol, "last": mark, "change_percentage": "0", "funding_rate": rate,
            "funding_rate_indicative": rate, "mark_price": mark, "index_price": mark,
            "total_size": self.open_text(instrument, sides=2), "volume_24h": "0",
            "quanto_multiplier": _multiplier(instrument),
        }  # fmt: skip

    def _contract(self, instrument: Instrument, now_ms: int) -> Message:
        mark, coming = self.mark_text(instrument), self.market.next_funding(instrument, now_ms)
        return {
            "name": instrument.symbol, "type": "inverse" if instrument.inverse else "direct",
            "quanto_multiplier": _multiplier(instrument), "enable_decimal": False, "last_price": mark,
            "mark_price": mark, "index_price": mark, "funding_rate": plain(coming.rate),
            "funding_rate_indicative": plain(coming.rate),
            "funding_interval": self.market.interval_hours(instrument) * 3_600,
            "funding_next_apply": coming.time_ms // 1000, "position_size": int(self.open_text(instrument)),
            "trade_size": 0, "status": "trading", "is_pre_market": False, "in_delisting": False, "contract_type": "",
        }  # fmt: skip

    def _stats(self, instrument: Instrument, now_ms: int) -> Message:
        return {
            "time": now_ms // 1000, "open_interest": int(self.open_text(instrument, sides=2)),
            "open_interest_usd": 2 * self.market.open_usd(instrument), "mark_price": self.market.price(instrument),
        }  # fmt: skip

    def _orders(self, settle: str, query: Mapping[str, str]) -> Answer:
        """Newest first; a span of more than an hour is refused."""
        end_s = int(query.get("to", self.stamp(self._now_ms) // 1000))
        start_s = int(query.get("from", end_s - LIQ_ORDERS_SPAN_S_MAX))
        if end_s - start_s > LIQ_ORDERS_SPAN_S_MAX:
            return Answer(400, {"label": "INVALID_PARAM_VALUE", "message": "from and to: at most one hour"})
        symbols = {each.symbol for each in self._of(settle) if query.get("contract") in (None, each.symbol)}
        rows = [row for row in self._liq_orders if row["contract"] in symbols and start_s <= row["time"] <= end_s]
        return Answer(200, rows[::-1][: int(query.get("limit", 100))])


def _multiplier(instrument: Instrument) -> str:
    return "0" if instrument.inverse else plain(instrument.contract_size)


def _decimal_sizes(result: Any) -> Any:
    """Sizes as texts."""
    if isinstance(result, list):
        return [row | {"size": str(row["size"])} for row in result]
    return result | {"size": str(result["size"])}
