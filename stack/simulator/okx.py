"""OKX v5 swaps and futures, simulated after OKX's documents as of 2026-11 (public channels, GET public/*).

- One channel for all instruments of a type; a frame groups them: data[] by instrument, details[] by liquidation.
- `posSide` is the position's side, `side` that of the closing order; `sz` is in CONTRACTS; `ts` is a string of ms.
- Open interest: `oi` contracts, `oiCcy` coins, `oiUsd` USD. `fundingRate` is that of the NEXT settlement, at
  `fundingTime`; `nextFundingTime` is the one after; the interval is the difference. Dated futures have no funding.
- REST: 20 calls in 2 s an address, 10 for funding; then 429.
- A client that has neither sent nor been sent anything for 30 s is cut; it keeps alive with the TEXT `ping`, answered
  by the TEXT `pong`. Ping frames do not count.
- After a subscription the last frame may come once more: the exchange has been seen to do so."""

from collections.abc import Mapping
from typing import ClassVar, Final

from schemas.words import Side
from stack.simulator.exchange import Answer, Client, Message, Push, Reply, SimulatedExchange, compact, parse, plain
from stack.simulator.instruments import Instrument, okx_instrument, okx_listing
from stack.simulator.limits import RestLimit
from stack.simulator.market import HOUR_MS, window
from stack.simulator.scenarios import SimulatedLiquidation

CHANNEL: Final = "liquidation-orders"
MARKET_CHANNELS: Final = ("mark-price", "open-interest", "funding-rate")  # of one instrument each
TYPES: Final = ("SWAP", "FUTURES", "MARGIN", "OPTION")
POSITION_WORDS: Final = {Side.LONG: ("long", "sell"), Side.SHORT: ("short", "buy")}  # posSide, side
POSITION_SIDE: Final = {"long": Side.LONG, "short": Side.SHORT}
NET_POSITION_SIDE: Final = {"sell": Side.LONG, "buy": Side.SHORT}  # a one-way account: the order tells
PUSH_INTERVAL_MS: Final = 200  # our own: OKX names none
ARGS_BYTES_MAX: Final = 65_536
LIQUIDATION_DISTANCE: Final = 0.001  # of bkPx from the market
HISTORY_ROWS_MAX: Final = 400  # of funding-rate-history
DATED_EVERY: Final = 4  # one in so many coin-margined liquidations is in the dated contract
CONNECTION_ID: Final = "5imu1ate"


class Okx(SimulatedExchange):
    """`/ws/v5/public`."""

    name: ClassVar[str] = "okx"
    websocket_paths: ClassVar[tuple[str, ...]] = ("/ws/v5/public",)
    rest_paths: ClassVar[tuple[str, ...]] = tuple(
        f"/api/v5/public/{call}"
        for call in ("instruments", "open-interest", "funding-rate", "funding-rate-history", "mark-price")
    )
    rest_limit: ClassVar[RestLimit] = RestLimit(
        weight_max=20, window_ms=2_000, by_path=True, body={"code": "50011", "msg": "Too Many Requests", "data": []}
    )
    side_words: ClassVar[Mapping[str, str]] = {
        '"posSide":"long"': '"posSide":"bought"', '"posSide":"short"': '"posSide":"sold"',
        '"posSide":"net"': '"posSide":"one-way"',
    }  # fmt: skip
    opposites: ClassVar[Mapping[str, str]] = {
        '"posSide":"long"': '"posSide":"short"', '"posSide":"short"': '"posSide":"long"',
        '"side":"sell"': '"side":"buy"', '"side":"buy"': '"side":"sell"',
    }  # fmt: skip
    kept_alive_by: frozenset[str] = frozenset({"text", "push"})
    idle_s_max: float = 30.0

    def __init__(self, *, backlog: bool = False) -> None:
        super().__init__(okx_listing())
        self.repeats_last_push = backlog
        self._collected: dict[str, list[Message]] = {}
        self._next_push_ms = 0
        self._dated = {each.asset: each for each in self.instruments.values() if each.dated}

    def instrument_of(self, liquidation: SimulatedLiquidation) -> Instrument:
        """Some of the coin-margined ones are in a dated contract."""
        dated = self._dated.get(liquidation.asset) if liquidation.coin_margined else None
        in_dated = dated is not None and int(liquidation.coins * 1e6) % DATED_EVERY == 1
        return dated if dated is not None and in_dated else super().instrument_of(liquidation)

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
            if _channel(argument) is None:
                return _error("60018", f"Wrong URL or {compact({'channel': argument})} doesn't exist")
        texts = tuple(compact({"event": operation, "arg": argument, "connId": CONNECTION_ID}) for argument in arguments)
        channels = frozenset(filter(None, map(_channel, arguments)))
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
            "ts": str(self.stamp(event_time_ms)),
        })  # fmt: skip

    def due(self, now_ms: int) -> list[Push]:
        """One frame with everything since the last, on a grid."""
        if now_ms < self._next_push_ms or not self._collected:
            return []
        self._next_push_ms = now_ms - now_ms % PUSH_INTERVAL_MS + PUSH_INTERVAL_MS
        collected, self._collected = self._collected, {}
        elements = [_element(self.instruments[symbol], details) for symbol, details in collected.items()]
        by_type = {kind: [each for each in elements if each["instType"] == kind] for kind in ("SWAP", "FUTURES")}
        return [
            self._push({"arg": {"channel": CHANNEL, "instType": kind}, "data": data})
            for kind, data in by_type.items() if data
        ]  # fmt: skip

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

    def market_pushes(self, channel: str, now_ms: int) -> list[Push]:
        """mark-price, open-interest or funding-rate of one instrument."""
        name, _, symbol = channel.partition(":")
        instrument = self.instruments.get(symbol)
        if instrument is None or (name == "funding-rate" and instrument.dated):
            return []
        row = self._rows(name, [instrument], now_ms)[0]
        return [Push(channel, {"arg": {"channel": name, "instId": symbol}, "data": [row]})]

    def _rows(self, name: str, instruments: list[Instrument], now_ms: int) -> list[Message]:
        """Rows of one kind, the same on the websocket and by REST."""
        make = {"mark-price": self._mark, "open-interest": self._open_interest, "funding-rate": self._funding}[name]
        stamped = {"ts": str(self.stamp(now_ms))}
        return [{"instId": each.symbol, "instType": _type(each)} | make(each, now_ms) | stamped for each in instruments]

    def _mark(self, instrument: Instrument, now_ms: int) -> Message:
        return {"markPx": self.mark_text(instrument)}

    def _open_interest(self, instrument: Instrument, now_ms: int) -> Message:
        coins, usd = self.market.open_coins(instrument), self.market.open_usd(instrument)
        return {"oi": self.open_text(instrument), "oiCcy": f"{coins:.8f}", "oiUsd": f"{usd:.8f}"}

    def _funding(self, instrument: Instrument, now_ms: int) -> Message:
        coming, interval_ms = self.market.next_funding(instrument, now_ms), self._interval_ms(instrument)
        last_ms = coming.time_ms - interval_ms
        settled = self.market.settled(instrument, last_ms, last_ms)[0]
        return {
            "formulaType": "withRate", "fundingRate": plain(coming.rate), "fundingTime": str(coming.time_ms),
            "impactValue": "20000", "interestRate": "0.0001", "maxFundingRate": "0.00375",
            "method": "current_period", "minFundingRate": "-0.00375", "nextFundingRate": "",
            "nextFundingTime": str(coming.time_ms + interval_ms), "premium": "0", "prevFundingTime": str(last_ms),
            "settFundingRate": plain(settled.rate), "settState": "settled",
        }  # fmt: skip

    def _interval_ms(self, instrument: Instrument) -> int:
        return self.market.interval_hours(instrument) * HOUR_MS

    def _history(self, instrument: Instrument, query: Mapping[str, str], now_ms: int) -> list[Message]:
        """Newest first; `before` and `after` are funding times, as everywhere at OKX: rows after and before them."""
        start_ms, end_ms = window(query, "before", "after", now_ms, default_ms=90 * 24 * HOUR_MS)
        past = self.market.settled(instrument, start_ms, end_ms)[::-1][:HISTORY_ROWS_MAX]
        return [
            {"formulaType": "withRate", "fundingRate": plain(each.rate), "fundingTime": str(each.time_ms),
             "instId": instrument.symbol, "instType": "SWAP", "method": "current_period",
             "realizedRate": plain(each.rate)}
            for each in past
        ]  # fmt: skip

    def texts(self, push: Push, client: Client) -> list[str]:
        """One text when the client subscribed to the type of instrument."""
        return [compact(push.message)] if push.channel in client.channels else []

    def captured(self, payload: Message) -> Push | None:
        """A frame with its `arg`; an element of `data` alone is a fragment."""
        if "data" not in payload or payload.get("arg", {}).get("channel") != CHANNEL:
            return None
        return self._push(payload, verbatim=True)

    def weight(self, path: str, query: Mapping[str, str]) -> int:
        """Funding allows half as many calls as the others."""
        return 2 if "funding-rate" in path else 1

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> Answer:
        """By `instType`, or for one `instId` (ANY: every one that pays funding)."""
        call, kind, symbol = path.rpartition("/")[2], query.get("instType"), query.get("instId")
        by_symbol = call.startswith("funding-rate")
        if not by_symbol and kind not in TYPES:
            return Answer(400, {"code": "51000", "msg": "Parameter instType error", "data": []})
        listed = [each for each in self.instruments.values() if by_symbol or _type(each) == kind]
        if by_symbol:
            listed = [each for each in listed if not each.dated]
        if symbol and symbol != "ANY":
            listed = [each for each in listed if each.symbol == symbol]
        if by_symbol and (not symbol or not listed or (call.endswith("history") and symbol == "ANY")):
            return Answer(400, {"code": "51001", "msg": "Instrument ID doesn't exist", "data": []})
        if call == "instruments":
            rows = [_listed(each) for each in listed]
        elif call == "funding-rate-history":
            rows = self._history(listed[0], query, now_ms)
        else:
            rows = self._rows(call, listed, now_ms)
        return Answer(200, {"code": "0", "msg": "", "data": rows})


def _channel(argument: object) -> str | None:
    """The channel's name within the simulator: the type of instruments, or channel:instrument; None: there is none."""
    if not isinstance(argument, dict):
        return None
    name, kind, symbol = (argument.get(key) for key in ("channel", "instType", "instId"))
    if name == CHANNEL:
        return str(kind) if kind in TYPES else None
    return f"{name}:{symbol}" if name in MARKET_CHANNELS and symbol else None


def _type(instrument: Instrument) -> str:
    return "FUTURES" if instrument.dated else "SWAP"


def _error(code: str, text: str) -> Reply:
    return Reply((compact({"event": "error", "code": code, "msg": text, "connId": CONNECTION_ID}),))


def _element(instrument: Instrument, details: list[Message]) -> Message:
    symbol = instrument.symbol
    family = symbol.rpartition("-")[0]
    return {"details": details, "instFamily": family, "instId": symbol, "instType": _type(instrument), "uly": family}


def _listed(instrument: Instrument) -> Message:
    """One element of instruments `data`. Linear: ctVal in coins, inverse: in USD."""
    family = instrument.symbol.rpartition("-")[0]
    return {
        "instType": _type(instrument), "instId": instrument.symbol, "instFamily": family, "uly": family,
        "baseCcy": "", "quoteCcy": "", "settleCcy": instrument.settle, "ctVal": plain(instrument.contract_size),
        "ctMult": "1", "ctValCcy": "USD" if instrument.inverse else instrument.base,
        "ctType": "inverse" if instrument.inverse else "linear", "state": "live",
        "tickSz": plain(instrument.tick), "lotSz": plain(instrument.step), "minSz": plain(instrument.step),
    }  # fmt: skip
