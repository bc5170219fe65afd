"""Bitget v3 (unified account), three product lines, simulated after Bitget's documents as of 2026-11.

- `/v3/ws/public`, topic `liquidation` of an instType: the whole product line. "Only the record with the highest
  quantity per pair per side per second is pushed"; frames once a second, all symbols of the line in one.
- `side` is the POSITION's: "buy: Long position liquidation". `amount` is the NOTIONAL in quote currency.
- topic `ticker` of a symbol: mark price, open interest (one side; coins, USD for coin-M), funding rate.
- The client sends the TEXT `ping`, answered by the TEXT `pong`; one that sends nothing for two minutes is cut.
- REST: 20 calls a second an address, then 429. v3 market/* and v2 mix/market/* side by side."""

from collections.abc import Mapping, Set
from decimal import Decimal
from typing import Any, ClassVar, Final

from schemas.words import Side
from stack.simulator.exchange import (
    Answer,
    Client,
    Message,
    Push,
    Reply,
    SimulatedExchange,
    compact,
    on_grid,
    parse,
    plain,
)
from stack.simulator.instruments import Instrument, bitget_instrument, bitget_listing
from stack.simulator.limits import RestLimit
from stack.simulator.scenarios import SimulatedLiquidation

LINES: Final = ("usdt-futures", "usdc-futures", "coin-futures")
LIQUIDATION, TICKER = "liquidation", "ticker"
POSITION_WORD: Final = {Side.LONG: "buy", Side.SHORT: "sell"}
POSITION_SIDE: Final = {word: side for side, word in POSITION_WORD.items()}
PERIOD_MS: Final = 1_000
LIQUIDATION_DISTANCE: Final = 0.001  # of the price from the market
COIN_STEP: Final = Decimal("0.0001")  # of open interest in coins
HISTORY_ROWS, HISTORY_ROWS_MAX = 20, 100
SETTLED_BACK_MS: Final = 100 * 8 * 3_600_000


class Bitget(SimulatedExchange):
    """`/v3/ws/public`. Quantities are amounts of the quote currency, for every contract."""

    name: ClassVar[str] = "bitget"
    websocket_paths: ClassVar[tuple[str, ...]] = ("/v3/ws/public",)
    rest_paths: ClassVar[tuple[str, ...]] = (
        *(f"/api/v3/market/{call}" for call in (
            "instruments", "tickers", "open-interest", "current-fund-rate", "history-fund-rate")),
        *(f"/api/v2/mix/market/{call}" for call in (
            "contracts", "tickers", "open-interest", "current-fund-rate", "history-fund-rate", "funding-time")),
    )  # fmt: skip
    rest_limit: ClassVar[RestLimit] = RestLimit(
        weight_max=20, window_ms=1_000, by_path=True, body={"code": "429", "msg": "Too many requests", "data": None}
    )
    side_words: ClassVar[Mapping[str, str]] = {'"side":"buy"': '"side":"long"', '"side":"sell"': '"side":"short"'}
    opposites: ClassVar[Mapping[str, str]] = {'"side":"buy"': '"side":"sell"', '"side":"sell"': '"side":"buy"'}
    kept_alive_by: frozenset[str] = frozenset({"text"})
    idle_s_max: float = 120.0
    messages_per_s_max: int | None = 10

    def __init__(self) -> None:
        super().__init__(bitget_listing())
        self._largest: dict[tuple[str, Side], Message] = {}
        self._next_push_ms = 0

    def instrument_by_name(self, symbol: str) -> Instrument:
        """By the symbol's form."""
        return bitget_instrument(symbol)

    def answer(self, text: str, client: Client) -> Reply:
        """The text ping, subscribe, unsubscribe; anything else is an error event."""
        if text == "ping":
            return Reply(("pong",))
        request = parse(text)
        operation, arguments = (request.get("op"), request.get("args")) if request else (None, None)
        if operation not in ("subscribe", "unsubscribe") or not isinstance(arguments, list) or not arguments:
            return _error("30002", "Unrecognized request", None)
        for argument in arguments:
            if _channel(argument) is None:
                return _error("30001", "instType, topic or symbol doesn't exist", argument)
        texts = tuple(compact({"event": operation, "arg": argument}) for argument in arguments)
        channels = frozenset(filter(None, map(_channel, arguments)))
        return Reply(texts, unsubscribe=channels) if operation == "unsubscribe" else Reply(texts, subscribe=channels)

    def collect(self, liquidation: SimulatedLiquidation, event_time_ms: int) -> None:
        """Keep the largest order of its symbol and side."""
        instrument = self.instrument_of(liquidation)
        worse = 1 - LIQUIDATION_DISTANCE if liquidation.side is Side.LONG else 1 + LIQUIDATION_DISTANCE
        amount, key = self.wire_quantity(liquidation, instrument), (instrument.symbol, liquidation.side)
        self.unshown_rows += key in self._largest
        if key in self._largest and amount <= Decimal(self._largest[key]["amount"]):
            return
        self._largest[key] = {
            "symbol": instrument.symbol, "side": POSITION_WORD[liquidation.side],
            "price": plain(self.wire_price(liquidation.price * worse, instrument)), "amount": plain(amount),
            "ts": str(self.stamp(event_time_ms)),
        }  # fmt: skip

    def due(self, now_ms: int) -> list[Push]:
        """On a grid of a second: one frame a product line."""
        if now_ms < self._next_push_ms:
            return []
        self._next_push_ms = now_ms - now_ms % PERIOD_MS + PERIOD_MS
        rows, self._largest = list(self._largest.values()), {}
        by_line = {line: [row for row in rows if _line(self.instruments[row["symbol"]]) == line] for line in LINES}
        return [
            self._push({"action": "update", "arg": {"instType": line, "topic": LIQUIDATION}, "data": data,
                        "ts": self.stamp(now_ms)})
            for line, data in by_line.items() if data
        ]  # fmt: skip

    @property
    def pending(self) -> int:
        """Orders that wait for the end of their second."""
        return len(self._largest)

    def _push(self, message: Message, *, verbatim: bool = False) -> Push:
        rows = tuple(
            self.row(
                row["symbol"], POSITION_SIDE[row["side"]], price=row["price"], quantity=row["amount"],
                event_time_ms=int(row["ts"]),
            )
            for row in message["data"]
        )  # fmt: skip
        return Push(f"{message['arg']['instType']}:{LIQUIDATION}", message, rows, verbatim=verbatim)

    def greeting(self, channels: Set[str], now_ms: int) -> list[Push]:
        """The first ticker."""
        return [push for channel in sorted(channels) for push in self.market_pushes(channel, now_ms)]

    def market_pushes(self, channel: str, now_ms: int) -> list[Push]:
        """The ticker of one symbol."""
        line, topic, symbol = [*channel.split(":"), ""][:3]
        instrument = self.instruments.get(symbol)
        if topic != TICKER or instrument is None:
            return []
        row = self._ticker(instrument, now_ms)
        row |= {"nextFundingTime": str(self.market.next_funding(instrument, now_ms).time_ms)}
        argument = {"instType": line, "topic": TICKER, "symbol": symbol}
        return [Push(channel, {"action": "snapshot", "arg": argument, "data": [row], "ts": self.stamp(now_ms)})]

    def _ticker(self, instrument: Instrument, now_ms: int) -> Message:
        mark = self.mark_text(instrument)
        return {
            "lastPrice": mark, "indexPrice": mark, "markPrice": mark,
            "fundingRate": plain(self.market.next_funding(instrument, now_ms).rate),
            "openInterest": self._open(instrument), "deliveryStartTime": "", "deliveryTime": "", "deliveryStatus": "",
        }  # fmt: skip

    def _open(self, instrument: Instrument) -> str:
        """Coins as the symbol names them, USD for coin-M."""
        coins = self.market.open_coins(instrument) / float(instrument.price_coins)
        return plain(on_grid(self.market.open_usd(instrument) if instrument.coin_margined else coins, COIN_STEP))

    def texts(self, push: Push, client: Client) -> list[str]:
        """One text when the client subscribed to the line, or to the symbol's ticker."""
        return [compact(push.message)] if push.channel in client.channels else []

    def captured(self, payload: Message) -> Push | None:
        """An update of the topic."""
        is_update = payload.get("arg", {}).get("topic") == LIQUIDATION and "data" in payload
        return self._push(payload, verbatim=True) if is_update else None

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> Answer:
        """Of one product line (v3: category, v2: productType)."""
        version, call = "v2" if "/v2/" in path else "v3", path.rpartition("/")[2]
        line = query.get("productType" if version == "v2" else "category", "").lower()
        listed = [each for each in self.instruments.values() if _line(each) == line]
        wanted = [each for each in listed if query.get("symbol") in (None, each.symbol)]
        if not wanted or (call in ("history-fund-rate", "funding-time") and "symbol" not in query):
            return Answer(400, self._envelope("40034", "Parameter does not exist", None, now_ms))
        return Answer(200, self._envelope("00000", "success", self._rows(version, call, wanted, query, now_ms), now_ms))

    def _rows(self, version: str, call: str, wanted: list[Instrument], query: Mapping[str, str], now_ms: int) -> Any:
        if call in ("instruments", "contracts"):
            return [self._listed(each) for each in wanted]
        if call == "tickers":
            row = self._ticker_v2 if version == "v2" else self._ticker_v3
            return [row(each, now_ms) for each in wanted]
        if call == "open-interest":
            name = "size" if version == "v2" else "openInterest"
            rows = [{"symbol": each.symbol, name: self._open(each)} for each in wanted]
            return {"openInterestList" if version == "v2" else "list": rows, "ts": str(self.stamp(now_ms))}
        if call == "current-fund-rate":
            return [self._funding(each, now_ms) for each in wanted]
        coming, hours = self.market.next_funding(wanted[0], now_ms), self.market.interval_hours(wanted[0])
        if call == "funding-time":
            return [{"symbol": wanted[0].symbol, "nextFundingTime": str(coming.time_ms), "ratePeriod": str(hours)}]
        rows_max = min(int(query.get("pageSize", query.get("limit", HISTORY_ROWS))), HISTORY_ROWS_MAX)
        past = self.market.settled(wanted[0], now_ms - SETTLED_BACK_MS, now_ms)[::-1][:rows_max]
        times = "fundingTime" if version == "v2" else "fundingRateTimestamp"
        rows = [{"symbol": wanted[0].symbol, "fundingRate": plain(p.rate), times: str(p.time_ms)} for p in past]
        return rows if version == "v2" else {"resultList": rows}

    def _ticker_v3(self, instrument: Instrument, now_ms: int) -> Message:
        named = {"category": _line(instrument).upper(), "symbol": instrument.symbol, "ts": str(self.stamp(now_ms))}
        return named | self._ticker(instrument, now_ms)

    def _ticker_v2(self, instrument: Instrument, now_ms: int) -> Message:
        mark = self.mark_text(instrument)
        return {
            "symbol": instrument.symbol, "lastPr": mark, "markPrice": mark, "indexPrice": mark,
            "fundingRate": plain(self.market.next_funding(instrument, now_ms).rate),
            "holdingAmount": self._open(instrument), "ts": str(self.stamp(now_ms)),
        }  # fmt: skip

    def _funding(self, instrument: Instrument, now_ms: int) -> Message:
        coming = self.market.next_funding(instrument, now_ms)
        return {
            "symbol": instrument.symbol, "fundingRate": plain(coming.rate),
            "fundingRateInterval": str(self.market.interval_hours(instrument)), "nextUpdate": str(coming.time_ms),
            "minFundingRate": "-0.003", "maxFundingRate": "0.003", "cashDividend": "", "cashDividendNextUpdate": "null",
        }  # fmt: skip

    def _listed(self, instrument: Instrument) -> Message:
        return {
            "symbol": instrument.symbol, "category": _line(instrument).upper(), "baseCoin": instrument.base,
            "quoteCoin": instrument.quote, "status": "online", "symbolStatus": "normal", "type": "perpetual",
            "symbolType": "perpetual", "isRwa": "NO", "fundInterval": str(self.market.interval_hours(instrument)),
            "quantityMultiplier": "0.0001", "deliveryTime": "",
        }  # fmt: skip

    def _envelope(self, code: str, text: str, data: Any, now_ms: int) -> Message:
        return {"code": code, "msg": text, "requestTime": self.stamp(now_ms), "data": data}


def _line(instrument: Instrument) -> str:
    return "coin-futures" if instrument.coin_margined else f"{instrument.settle.lower()}-futures"


def _channel(argument: Any) -> str | None:
    """The channel's name within the simulator: instType:topic or instType:topic:symbol; None: there is none."""
    if not isinstance(argument, dict) or argument.get("instType") not in LINES:
        return None
    line, topic, symbol = argument["instType"], argument.get("topic"), argument.get("symbol")
    if topic == TICKER and symbol:
        return f"{line}:{topic}:{symbol}"
    return f"{line}:{topic}" if topic == LIQUIDATION else None


def _error(code: str, text: str, argument: Any) -> Reply:
    return Reply((compact({"event": "error", "arg": argument, "code": code, "msg": text}),))
