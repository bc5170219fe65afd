"""Bybit v5 linear, simulated after Bybit's documents as of 2026-11 (websocket/public/all-liquidation, v5/market).

- One topic a symbol, all liquidations, "push frequency: 500ms": one frame a symbol holds what came in since the last.
- `S` is the side of the POSITION: "When you receive a Buy update, this means that a long position has been liquidated".
- `p` is the bankruptcy price, worse than the market for the position.
- The older topic `liquidation.{symbol}` is gone: a subscription to it is refused by name."""

from collections.abc import Mapping
from typing import ClassVar, Final

from schemas.words import Side
from stack.simulator.exchange import Client, Message, Push, Reply, Row, SimulatedExchange, compact, parse, plain
from stack.simulator.instruments import Instrument, bybit_instrument, bybit_listing
from stack.simulator.scenarios import SimulatedLiquidation

TOPIC: Final = "allLiquidation."
POSITION_WORD: Final = {Side.LONG: "Buy", Side.SHORT: "Sell"}
POSITION_SIDE: Final = {word: side for side, word in POSITION_WORD.items()}
PUSH_INTERVAL_MS: Final = 500
ARGS_CHARACTERS_MAX: Final = 21_000  # "for one public connection"; by connection is the stricter reading
BANKRUPTCY_DISTANCE: Final = 0.002  # of the bankruptcy price from the market
PAGE_ROWS, PAGE_ROWS_MAX = 500, 1_000  # of instruments-info
CONNECTION_ID: Final = "simulated-0001"


class Bybit(SimulatedExchange):
    """`/v5/public/linear`; the client pings with {"op":"ping"}."""

    name: ClassVar[str] = "bybit"
    websocket_paths: ClassVar[tuple[str, ...]] = ("/v5/public/linear",)
    rest_paths: ClassVar[tuple[str, ...]] = ("/v5/market/instruments-info",)
    kept_alive_by: frozenset[str] = frozenset({"text", "push"})
    idle_s_max: float = 600.0

    def __init__(self) -> None:
        super().__init__(bybit_listing())
        self._collected: dict[str, list[Message]] = {}
        self._next_push_ms = 0

    def instrument_by_name(self, symbol: str) -> Instrument:
        """By the symbol's form."""
        return bybit_instrument(symbol)

    def answer(self, text: str, client: Client) -> Reply:
        """ping, subscribe, unsubscribe; anything else is refused."""
        request = parse(text)
        if request is None:
            return _reply(False, "error:invalid json", "", "")
        operation, identifier = request.get("op"), str(request.get("req_id", ""))
        if operation == "ping":
            return _reply(True, "pong", identifier, "ping")
        if operation not in ("subscribe", "unsubscribe"):
            return _reply(False, f"error:unknown op,op:{operation}", identifier, str(operation))
        topics = request.get("args")
        if not isinstance(topics, list) or not topics or not all(isinstance(topic, str) for topic in topics):
            return _reply(False, "error:args must be a list of topics", identifier, operation)
        refused = [topic for topic in topics if not topic.startswith(TOPIC)]
        if refused:
            return _reply(False, f"error:handler not found,topic:{refused[0]}", identifier, operation)
        channels = frozenset(topics)
        if operation == "unsubscribe":
            return _reply(True, "", identifier, operation, unsubscribe=channels)
        if sum(map(len, client.channels | channels)) > ARGS_CHARACTERS_MAX:
            return _reply(False, f"error:args too long,max:{ARGS_CHARACTERS_MAX}", identifier, operation)
        return _reply(True, "", identifier, operation, subscribe=channels)

    def collect(self, liquidation: SimulatedLiquidation, event_time_ms: int) -> None:
        """Keep it for the next frame of its symbol."""
        instrument = self.instrument_of(liquidation)
        worse = 1 - BANKRUPTCY_DISTANCE if liquidation.side is Side.LONG else 1 + BANKRUPTCY_DISTANCE
        self._collected.setdefault(instrument.symbol, []).append({
            "T": event_time_ms, "s": instrument.symbol, "S": POSITION_WORD[liquidation.side],
            "v": plain(self.wire_quantity(liquidation, instrument)),
            "p": plain(self.wire_price(liquidation.price * worse, instrument)),
        })  # fmt: skip

    def due(self, now_ms: int) -> list[Push]:
        """On a grid of 500 ms: one frame for each symbol that has something."""
        if now_ms < self._next_push_ms:
            return []
        self._next_push_ms = now_ms - now_ms % PUSH_INTERVAL_MS + PUSH_INTERVAL_MS
        collected, self._collected = self._collected, {}
        return [
            self._push({"topic": TOPIC + symbol, "type": "snapshot", "ts": now_ms, "data": rows})
            for symbol, rows in collected.items()
        ]

    @property
    def pending(self) -> int:
        """Rows that wait for the next frame of their symbol."""
        return sum(map(len, self._collected.values()))

    def _push(self, message: Message, *, verbatim: bool = False) -> Push:
        return Push(message["topic"], message, tuple(map(self._row, message["data"])), verbatim=verbatim)

    def _row(self, row: Message) -> Row:
        return self.row(row["s"], POSITION_SIDE[row["S"]], price=row["p"], quantity=row["v"], event_time_ms=row["T"])

    def texts(self, push: Push, client: Client) -> list[str]:
        """One text when the client subscribed to the symbol's topic."""
        return [compact(push.message)] if push.channel in client.channels else []

    def captured(self, payload: Message) -> Push | None:
        """A frame of the current topic."""
        return self._push(payload, verbatim=True) if str(payload.get("topic")).startswith(TOPIC) else None

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> tuple[int, Message]:
        """instruments-info of `category`, by pages: `limit` rows from `cursor` on; the last page has no next one."""
        category, text = query.get("category"), query.get("limit", str(PAGE_ROWS))
        if category not in ("linear", "inverse") or not text.isdigit() or not 1 <= int(text) <= PAGE_ROWS_MAX:
            return 200, _envelope(10001, "params error", {}, now_ms)
        listed = [_listed(instrument) for instrument in self.instruments.values()] if category == "linear" else []
        start = int(query["cursor"]) if query.get("cursor", "").isdigit() else 0
        end = start + int(text)
        page = {"category": category, "list": listed[start:end], "nextPageCursor": str(end) * (end < len(listed))}
        return 200, _envelope(0, "OK", page, now_ms)


def _reply(
    success: bool,
    text: str,
    identifier: str,
    operation: str,
    *,
    subscribe: frozenset[str] = frozenset(),
    unsubscribe: frozenset[str] = frozenset(),
) -> Reply:
    message = {
        "success": success, "ret_msg": text, "conn_id": CONNECTION_ID, "req_id": identifier, "op": operation,
    }  # fmt: skip
    return Reply((compact(message),), subscribe, unsubscribe)


def _envelope(code: int, text: str, result: Message, now_ms: int) -> Message:
    return {"retCode": code, "retMsg": text, "result": result, "retExtInfo": {}, "time": now_ms}


def _listed(instrument: Instrument) -> Message:
    """One element of instruments-info `list`; fundingInterval is in minutes."""
    return {
        "symbol": instrument.symbol, "contractType": "LinearPerpetual", "status": "Trading",
        "baseCoin": instrument.base, "quoteCoin": "USD" if instrument.settle == "USDC" else instrument.quote,
        "settleCoin": instrument.settle, "priceFilter": {"tickSize": plain(instrument.tick)},
        "lotSizeFilter": {"qtyStep": plain(instrument.step)}, "fundingInterval": 480,
    }  # fmt: skip
