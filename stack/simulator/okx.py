"""OKX v5 swaps, simulated after OKX's documents as of 2026-11 (channel liquidation-orders, GET public/instruments).

- One channel for all instruments of a type; a frame groups them: data[] by instrument, details[] by liquidation.
- `posSide` is the position's side, `side` that of the closing order; `sz` is in CONTRACTS; `ts` is a string of ms.
- A client that has neither sent nor been sent anything for 30 s is cut; it keeps alive with the TEXT `ping`, answered
  by the TEXT `pong`. Ping frames do not count.
- After a subscription the last frame may come once more: the exchange has been seen to do so."""

from collections.abc import Mapping
from typing import ClassVar, Final

from schemas.words import Side
from stack.simulator.exchange import Client, Message, Push, Reply, SimulatedExchange, compact, parse, plain
from stack.simulator.instruments import Instrument, okx_instrument, okx_listing
from stack.simulator.scenarios import SimulatedLiquidation

CHANNEL: Final = "liquidation-orders"
TYPES: Final = ("SWAP", "FUTURES", "MARGIN", "OPTION")
POSITION_WORDS: Final = {Side.LONG: ("long", "sell"), Side.SHORT: ("short", "buy")}  # posSide, side
POSITION_SIDE: Final = {"long": Side.LONG, "short": Side.SHORT}
NET_POSITION_SIDE: Final = {"sell": Side.LONG, "buy": Side.SHORT}  # a one-way account: the order tells
PUSH_INTERVAL_MS: Final = 200  # our own: OKX names none
ARGS_BYTES_MAX: Final = 65_536
LIQUIDATION_DISTANCE: Final = 0.001  # of bkPx from the market
CONNECTION_ID: Final = "5imu1ate"


class Okx(SimulatedExchange):
    """`/ws/v5/public`."""

    name: ClassVar[str] = "okx"
    websocket_paths: ClassVar[tuple[str, ...]] = ("/ws/v5/public",)
    rest_paths: ClassVar[tuple[str, ...]] = ("/api/v5/public/instruments",)
    kept_alive_by: frozenset[str] = frozenset({"text", "push"})
    idle_s_max: float = 30.0

    def __init__(self, *, backlog: bool = False) -> None:
        super().__init__(okx_listing())
        self.repeats_last_push = backlog
        self._collected: dict[str, list[Message]] = {}
        self._next_push_ms = 0

    def instrument_by_name(self, symbol: str) -> Instrument:
        """By the instrument's form."""
        return okx_instrument(symbol)

    def answer(self, text: str, client: Client) -> Reply:
        """The text ping, subscribe, unsubscribe; anything else is an error event."""
        if text == "ping":
            return Reply(("pong",))
        request = parse(text)
        arguments = request.get("args") if request else None
        operation = request.get("op") if request else None
        if operation not in ("subscribe", "unsubscribe") or not isinstance(arguments, list) or not arguments:
            return _error("60012", f"Invalid request: {text[:200]}")
        if len(compact({"args": arguments}).encode()) > ARGS_BYTES_MAX:
            return _error("60012", f"Invalid request: args are longer than {ARGS_BYTES_MAX} bytes")
        for argument in arguments:
            if not _simulated(argument):
                return _error("60018", f"Wrong URL or {compact({'channel': argument})} doesn't exist")
        texts = tuple(compact({"event": operation, "arg": argument, "connId": CONNECTION_ID}) for argument in arguments)
        channels = frozenset(argument["instType"] for argument in arguments)
        if operation == "unsubscribe":
            return Reply(texts, unsubscribe=channels)
        return Reply(texts, subscribe=channels)

    def collect(self, liquidation: SimulatedLiquidation, event_time_ms: int) -> None:
        """Keep it for the next frame."""
        instrument = self.instrument_of(liquidation)
        position, order = POSITION_WORDS[liquidation.side]
        worse = 1 - LIQUIDATION_DISTANCE if liquidation.side is Side.LONG else 1 + LIQUIDATION_DISTANCE
        self._collected.setdefault(instrument.symbol, []).append({
            "bkLoss": "0", "bkPx": plain(self.wire_price(liquidation.price * worse, instrument)), "ccy": "",
            "posSide": position, "side": order, "sz": plain(self.wire_quantity(liquidation, instrument)),
            "ts": str(event_time_ms),
        })  # fmt: skip

    def due(self, now_ms: int) -> list[Push]:
        """One frame with everything since the last, on a grid."""
        if now_ms < self._next_push_ms or not self._collected:
            return []
        self._next_push_ms = now_ms - now_ms % PUSH_INTERVAL_MS + PUSH_INTERVAL_MS
        collected, self._collected = self._collected, {}
        data = [_element(symbol, details) for symbol, details in collected.items()]
        return [self._push({"arg": {"channel": CHANNEL, "instType": "SWAP"}, "data": data})]

    @property
    def pending(self) -> int:
        """Details that wait for the next frame."""
        return sum(map(len, self._collected.values()))

    def _push(self, message: Message, *, verbatim: bool = False) -> Push:
        rows = tuple(
            self.row(
                element["instId"],
                POSITION_SIDE.get(detail["posSide"]) or NET_POSITION_SIDE[detail["side"]],
                price=detail["bkPx"],
                quantity=detail["sz"],
                event_time_ms=int(detail["ts"]),
            )
            for element in message["data"]
            for detail in element["details"]
        )
        return Push(message["arg"]["instType"], message, rows, verbatim=verbatim)

    def texts(self, push: Push, client: Client) -> list[str]:
        """One text when the client subscribed to the type of instrument."""
        return [compact(push.message)] if push.channel in client.channels else []

    def captured(self, payload: Message) -> Push | None:
        """A frame with its `arg`; an element of `data` alone is a fragment."""
        if "data" not in payload or payload.get("arg", {}).get("channel") != CHANNEL:
            return None
        return self._push(payload, verbatim=True)

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> tuple[int, Message]:
        """All instruments of `instType`; only SWAP has any here."""
        kind = query.get("instType")
        if kind not in TYPES:
            return 400, {"code": "51000", "msg": "Parameter instType error", "data": []}
        listed = [_listed(instrument) for instrument in self.instruments.values()] if kind == "SWAP" else []
        return 200, {"code": "0", "msg": "", "data": listed}


def _simulated(argument: object) -> bool:
    return isinstance(argument, dict) and argument.get("channel") == CHANNEL and argument.get("instType") in TYPES


def _error(code: str, text: str) -> Reply:
    return Reply((compact({"event": "error", "code": code, "msg": text, "connId": CONNECTION_ID}),))


def _element(symbol: str, details: list[Message]) -> Message:
    family = symbol.removesuffix("-SWAP")
    return {"details": details, "instFamily": family, "instId": symbol, "instType": "SWAP", "uly": family}


def _listed(instrument: Instrument) -> Message:
    """One element of instruments `data`. Linear: ctVal in coins, inverse: in USD."""
    family = instrument.symbol.removesuffix("-SWAP")
    return {
        "instType": "SWAP", "instId": instrument.symbol, "instFamily": family, "uly": family,
        "baseCcy": "", "quoteCcy": "", "settleCcy": instrument.settle, "ctVal": plain(instrument.contract_size),
        "ctMult": "1", "ctValCcy": "USD" if instrument.inverse else instrument.base,
        "ctType": "inverse" if instrument.inverse else "linear", "state": "live",
        "tickSz": plain(instrument.tick), "lotSz": plain(instrument.step), "minSz": plain(instrument.step),
    }  # fmt: skip
