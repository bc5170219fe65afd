"""Bybit v5 linear and inverse, simulated after Bybit's documents as of 2026-11 (websocket/public, v5/market).

- One topic a symbol, all liquidations, "push frequency: 500ms": one frame a symbol holds what came in since the last.
- `S` is the side of the POSITION: "When you receive a Buy update, this means that a long position has been liquidated".
- `p` is the bankruptcy price, worse than the market for the position.
- `v` is in coins (linear) or in USD (inverse).
- `tickers.{symbol}`: a snapshot, then deltas that hold only what has changed.
- `openInterest` counts both sides, `singleOpenInterest` one; linear in coins, inverse in USD, Value in the other.
- REST: 600 calls in 5 s an IP, then 403 for ten minutes.
- The older topic `liquidation.{symbol}` is gone: a subscription to it is refused by name."""

from collections.abc import Mapping, Set
from typing import ClassVar, Final

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
from stack.simulator.instruments import Instrument, bybit_instrument, bybit_listing
from stack.simulator.limits import RestLimit
from stack.simulator.market import HOUR_MS, window
from stack.simulator.scenarios import SimulatedLiquidation

TOPIC: Final = "allLiquidation."
TICKERS: Final = "tickers."
CATEGORIES: Final = ("linear", "inverse")
POSITION_WORD: Final = {Side.LONG: "Buy", Side.SHORT: "Sell"}
POSITION_SIDE: Final = {word: side for side, word in POSITION_WORD.items()}
PUSH_INTERVAL_MS: Final = 500
ARGS_CHARACTERS_MAX: Final = 21_000  # "for one public connection"; by connection is the stricter reading
BANKRUPTCY_DISTANCE: Final = 0.002  # of the bankruptcy price from the market
PAGE_ROWS, PAGE_ROWS_MAX = 500, 1_000  # of instruments-info
HISTORY_ROWS_MAX: Final = 200  # of funding history and of open interest
OPEN_INTEREST_STEP_MS: Final = 300_000  # of open-interest, whatever interval is asked for
CONNECTION_ID: Final = "simulated-0001"


class Bybit(SimulatedExchange):
    """`/v5/public/linear` and `/inverse`; the client pings with {"op":"ping"}."""

    name: ClassVar[str] = "bybit"
    websocket_paths: ClassVar[tuple[str, ...]] = tuple(f"/v5/public/{category}" for category in CATEGORIES)
    rest_paths: ClassVar[tuple[str, ...]] = tuple(
        f"/v5/market/{call}" for call in ("instruments-info", "tickers", "open-interest", "funding/history")
    )
    rest_limit: ClassVar[RestLimit] = RestLimit(
        weight_max=600,
        window_ms=5_000,
        status=403,
        ban_status=403,
        body={"retCode": 403, "retMsg": "access too frequent"},
    )
    side_words: ClassVar[Mapping[str, str]] = {'"S":"Buy"': '"S":"LongPosition"', '"S":"Sell"': '"S":"ShortPosition"'}
    opposites: ClassVar[Mapping[str, str]] = {'"S":"Buy"': '"S":"Sell"', '"S":"Sell"': '"S":"Buy"'}
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
        refused = [topic for topic in topics if not self._has(topic, client.path)]
        if refused:
            return _reply(False, f"error:handler not found,topic:{refused[0]}", identifier, operation)
        channels = frozenset(topics)
        if operation == "unsubscribe":
            return _reply(True, "", identifier, operation, unsubscribe=channels)
        if sum(map(len, client.channels | channels)) > ARGS_CHARACTERS_MAX:
            return _reply(False, f"error:args too long,max:{ARGS_CHARACTERS_MAX}", identifier, operation)
        return _reply(True, "", identifier, operation, subscribe=channels)

    def _has(self, topic: str, path: str) -> bool:
        """Every symbol has its topics under its own category; symbols that are not listed are not missed."""
        symbol = topic.removeprefix(TOPIC).removeprefix(TICKERS)
        instrument = self.instruments.get(symbol)
        right_path = instrument is None or instrument.inverse is path.endswith("/inverse")
        return right_path and topic.startswith((TOPIC, TICKERS))

    def collect(self, liquidation: SimulatedLiquidation, event_time_ms: int) -> None:
        """Keep it for the next frame of its symbol."""
        instrument = self.instrument_of(liquidation)
        worse = 1 - BANKRUPTCY_DISTANCE if liquidation.side is Side.LONG else 1 + BANKRUPTCY_DISTANCE
        self._collected.setdefault(instrument.symbol, []).append({
            "T": self.stamp(event_time_ms), "s": instrument.symbol, "S": POSITION_WORD[liquidation.side],
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
            self._push({"topic": TOPIC + symbol, "type": "snapshot", "ts": self.stamp(now_ms), "data": rows})
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

    def greeting(self, channels: Set[str], now_ms: int) -> list[Push]:
        """The snapshots of tickers."""
        symbols = [channel.removeprefix(TICKERS) for channel in sorted(channels) if channel.startswith(TICKERS)]
        listed = [self.instruments[symbol] for symbol in symbols if symbol in self.instruments]
        return [self._ticker_push(each, "snapshot", self._ticker(each, now_ms), now_ms) for each in listed]

    def market_pushes(self, channel: str, now_ms: int) -> list[Push]:
        """A delta of the ticker: the price, and every other second the open interest."""
        instrument = self.instruments.get(channel.removeprefix(TICKERS))
        if instrument is None or not channel.startswith(TICKERS):
            return []
        names = {"symbol", "markPrice", "indexPrice", "lastPrice"}
        if now_ms // 1_000 % 2:
            names |= {"openInterest", "openInterestValue", "singleOpenInterest", "singleOpenInterestValue"}
        changed = {name: value for name, value in self._ticker(instrument, now_ms).items() if name in names}
        return [self._ticker_push(instrument, "delta", changed, now_ms)]

    def _ticker_push(self, instrument: Instrument, kind: str, fields: Message, now_ms: int) -> Push:
        topic = TICKERS + instrument.symbol
        return Push(topic, {"topic": topic, "type": kind, "data": fields, "cs": now_ms, "ts": self.stamp(now_ms)})

    def _ticker(self, instrument: Instrument, now_ms: int) -> Message:
        """One row of tickers, the same on the websocket and by REST."""
        mark, market = self.mark_text(instrument), self.market
        value = market.open_coins(instrument) if instrument.inverse else market.open_usd(instrument)
        row = {
            "symbol": instrument.symbol, "lastPrice": mark, "indexPrice": mark, "markPrice": mark,
            "openInterest": self.open_text(instrument, sides=2), "openInterestValue": f"{2 * value:.4f}",
            "singleOpenInterest": self.open_text(instrument), "singleOpenInterestValue": f"{value:.4f}",
        }  # fmt: skip
        if instrument.dated:
            return row | {"fundingRate": "", "nextFundingTime": "0", "fundingIntervalHour": "", "fundingCap": ""}
        coming = market.next_funding(instrument, now_ms)
        return row | {
            "fundingRate": plain(coming.rate), "nextFundingTime": str(coming.time_ms),
            "fundingIntervalHour": str(market.interval_hours(instrument)), "fundingCap": "0.00333",
        }  # fmt: skip

    def texts(self, push: Push, client: Client) -> list[str]:
        """One text when the client subscribed to the symbol's topic."""
        return [compact(push.message)] if push.channel in client.channels else []

    def captured(self, payload: Message) -> Push | None:
        """A frame of the current topic."""
        return self._push(payload, verbatim=True) if str(payload.get("topic")).startswith(TOPIC) else None

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> Answer:
        """Of one category; everything but the lists of all wants a symbol."""
        category, text, call = query.get("category"), query.get("limit", str(PAGE_ROWS)), path.rpartition("/")[2]
        if category not in CATEGORIES or not text.isdigit() or not 1 <= int(text) <= PAGE_ROWS_MAX:
            return Answer(200, _envelope(10001, "params error", {}, self.stamp(now_ms)))
        listed = [each for each in self.instruments.values() if each.inverse is (category == "inverse")]
        if call == "instruments-info":
            page = self._page(category, listed, int(text), query.get("cursor", ""))
            return Answer(200, _envelope(0, "OK", page, self.stamp(now_ms)))
        wanted = [each for each in listed if query.get("symbol") in (None, each.symbol)]
        if not wanted or (call != "tickers" and "symbol" not in query):
            return Answer(200, _envelope(10001, "params error: symbol invalid", {}, self.stamp(now_ms)))
        result: Message = {"category": category}
        if call == "tickers":
            result["list"] = [self._ticker(each, now_ms) for each in wanted]
        elif call == "open-interest":
            result |= {"symbol": wanted[0].symbol, "list": self._open_interest(wanted[0], now_ms), "nextPageCursor": ""}
        elif "startTime" in query and "endTime" not in query:
            return Answer(200, _envelope(10001, "params error: endTime is missing", {}, self.stamp(now_ms)))
        else:
            result["list"] = self._history(wanted[0], query, now_ms)
        return Answer(200, _envelope(0, "OK", result, self.stamp(now_ms)))

    def _page(self, category: str, listed: list[Instrument], rows: int, cursor: str) -> Message:
        """`rows` rows from `cursor` on; the last page has no next one."""
        start = int(cursor) if cursor.isdigit() else 0
        end = start + rows
        hours = self.market.interval_hours
        page = [_listed(each, 60 * hours(each)) for each in listed[start:end]]
        return {"category": category, "list": page, "nextPageCursor": str(end) * (end < len(listed))}

    def _open_interest(self, instrument: Instrument, now_ms: int) -> list[Message]:
        newest_ms = now_ms - now_ms % OPEN_INTEREST_STEP_MS
        both, single = self.open_text(instrument, sides=2), self.open_text(instrument)
        return [{"openInterest": both, "singleOpenInterest": single, "timestamp": str(newest_ms)}]

    def _history(self, instrument: Instrument, query: Mapping[str, str], now_ms: int) -> list[Message]:
        """Newest first."""
        if instrument.dated:
            return []
        start_ms, end_ms = window(query, "startTime", "endTime", now_ms, default_ms=200 * HOUR_MS)
        past = self.market.settled(instrument, start_ms, end_ms)[::-1][:HISTORY_ROWS_MAX]
        return [
            {"symbol": instrument.symbol, "fundingRate": plain(each.rate), "fundingRateTimestamp": str(each.time_ms)}
            for each in past
        ]


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


def _listed(instrument: Instrument, interval_min: int) -> Message:
    """One element of instruments-info `list`; fundingInterval is in minutes."""
    kind = ("Inverse" if instrument.inverse else "Linear") + ("Futures" if instrument.dated else "Perpetual")
    return {
        "symbol": instrument.symbol, "contractType": kind, "status": "Trading",
        "baseCoin": instrument.base, "quoteCoin": "USD" if instrument.settle == "USDC" else instrument.quote,
        "settleCoin": instrument.settle, "priceFilter": {"tickSize": plain(instrument.tick)},
        "lotSizeFilter": {"qtyStep": plain(instrument.step)}, "fundingInterval": interval_min,
    }  # fmt: skip
