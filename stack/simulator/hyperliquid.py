"""Hyperliquid perpetuals, simulated after Hyperliquid's documents as of 2026-11.

- No liquidation feed. What can be seen for free are backstop liquidations: trades in which a liquidator of the
  exchange's own vault takes part. It buys from a long and sells to a short; `users` are [buyer, seller].
- Every simulated liquidation is such a one, in one to three fills of one block (same time, hash and user); they are
  one row. Ordinary trades run beside them.
- `trades` of a coin: the first message after subscribing is a snapshot of recent trades.
- `userEvents`, `userFills` of a liquidator: its side of the same fills, with `liquidation`.
- `activeAssetCtx`, POST /info `metaAndAssetCtxs`: open interest in coins, one side; `funding` of the current hour.
- The client pings with {"method":"ping"}; 1200 weight a minute by REST, most calls 20, then 429."""

import re
from collections import deque
from collections.abc import Mapping, Set
from decimal import Decimal
from hashlib import sha256
from itertools import count
from typing import Any, ClassVar, Final

from schemas.words import Side
from stack.simulator.exchange import Answer, Client, Message, Push, Reply, Row, SimulatedExchange, compact, parse, plain
from stack.simulator.instruments import Instrument, hyperliquid_instrument, hyperliquid_listing
from stack.simulator.limits import RestLimit
from stack.simulator.market import HOUR_MS, window
from stack.simulator.scenarios import SimulatedLiquidation

LIQUIDATORS: Final = (
    "0x2e3d94f0562703b25c83308a05046ddaf9a8dd14", "0xb0a55f13d22f66e6d495ac98113841b2326e9540",
    "0x5e177e5e39c0f4e421f5865a6d8beed8d921cb70", "0x2ed5c4484ea3ff8b57d5f2fb152a40d9f2b68308",
)  # fmt: skip
VAULT: Final = "0xdfc24b077bc1425ad1dea75bcb6f8158e10df303"
COIN_TYPES: Final = ("trades", "activeAssetCtx")
USER_TYPES: Final = {"userEvents": "user", "userFills": "userFills"}  # type -> channel of its messages
BLOCK_MS: Final = 200
FILLS_MAX: Final = 3  # of one liquidation
SNAPSHOT_PUSHES: Final = 5  # recent frames that a new subscriber of a coin gets again
PULSE_S: Final = 5  # one ordinary trade a coin in this time; every second in BTC
INFO_WEIGHT: Final = 20
FILL_DISTANCE: Final = 0.0015  # of the fills' price from the market
TID_MAX: Final = 2**50


class Hyperliquid(SimulatedExchange):
    """`/ws` and `/info`."""

    name: ClassVar[str] = "hyperliquid"
    websocket_paths: ClassVar[tuple[str, ...]] = ("/ws",)
    rest_paths: ClassVar[tuple[str, ...]] = ("/info",)
    rest_limit: ClassVar[RestLimit] = RestLimit(weight_max=1_200, window_ms=60_000, body=None)
    side_words: ClassVar[Mapping[str, str]] = {'"side":"A"': '"side":"ask"', '"side":"B"': '"side":"bid"'}
    opposites: ClassVar[Mapping[str, str]] = {
        '"side":"A"': '"side":"B"', '"side":"B"': '"side":"A"',
        'Long"': 'Short"', 'Short"': 'Long"',
    }  # fmt: skip
    kept_alive_by: frozenset[str] = frozenset({"push", "text"})
    idle_s_max: float = 60.0
    funds_hourly: bool = True

    def __init__(self) -> None:
        super().__init__(hyperliquid_listing())
        self._collected: dict[str, list[Message]] = {}
        self._recent: dict[str, deque[Push]] = {}
        self._numbers = count(1)
        self._next_push_ms = 0

    def instrument_by_name(self, symbol: str) -> Instrument:
        """By the coin's name."""
        return hyperliquid_instrument(symbol)

    def answer(self, text: str, client: Client) -> Reply:
        """ping, subscribe, unsubscribe; anything else is an error."""
        request = parse(text) or {}
        method = request.get("method")
        if method == "ping":
            return Reply((compact({"channel": "pong"}),))
        channel = _channel(request.get("subscription"))
        if method not in ("subscribe", "unsubscribe") or channel is None:
            return Reply((compact({"channel": "error", "data": f"Invalid subscription {text[:200]}"}),))
        subscription = request["subscription"]
        data = {"method": method, "subscription": subscription}
        done = (compact({"channel": "subscriptionResponse", "data": data}),)
        channels = frozenset({channel})
        return Reply(done, unsubscribe=channels) if method == "unsubscribe" else Reply(done, subscribe=channels)

    def collect(self, liquidation: SimulatedLiquidation, event_time_ms: int) -> None:
        """Its fills go into the coin's next frame."""
        instrument, number = self.instrument_of(liquidation), next(self._numbers)
        total = self.wire_quantity(liquidation, instrument)
        parts = min(number % FILLS_MAX + 1, int(total / instrument.step))
        part = total / parts // instrument.step * instrument.step
        sizes = [part] * (parts - 1) + [total - part * (parts - 1)]
        user, liquidator = f"0x{_digest('user', number)[:40]}", LIQUIDATORS[number % len(LIQUIDATORS)]
        is_long = liquidation.side is Side.LONG
        price = liquidation.price * (1 - FILL_DISTANCE if is_long else 1 + FILL_DISTANCE)
        block: Message = {
            "coin": instrument.symbol, "side": "A" if is_long else "B",
            "px": plain(self.wire_price(price, instrument)), "time": self.stamp(event_time_ms),
            "hash": f"0x{_digest('block', number)}",
            "users": [liquidator, user] if is_long else [user, liquidator],
        }  # fmt: skip
        trades = [_trade(block, size, int(_digest(str(n), number), 16) % TID_MAX) for n, size in enumerate(sizes)]
        self._collected.setdefault(instrument.symbol, []).extend(trades)

    def due(self, now_ms: int) -> list[Push]:
        """One frame a coin, with an ordinary trade in front."""
        if now_ms < self._next_push_ms:
            return []
        self._next_push_ms = now_ms - now_ms % BLOCK_MS + BLOCK_MS
        collected, self._collected = self._collected, {}
        pushes = [self._push([self._ordinary(coin, now_ms), *trades]) for coin, trades in collected.items()]
        for push in pushes:
            self._recent.setdefault(push.channel.partition(":")[2], deque(maxlen=SNAPSHOT_PUSHES)).append(push)
        return pushes

    def swapped(self, text: str) -> str:
        """Of trades, buyers and sellers change places, too."""
        return super().swapped(re.sub(r'"users":\["(\w+)","(\w+)"\]', r'"users":["\2","\1"]', text))

    @property
    def pending(self) -> int:
        """Fills that wait for the next block."""
        return sum(map(len, self._collected.values()))

    def _push(self, trades: list[Message], *, verbatim: bool = False) -> Push:
        groups: dict[tuple[str, int, str], list[Message]] = {}
        for trade in trades:
            users = trade.get("users", [])
            if any(user in LIQUIDATORS for user in users):
                groups.setdefault((trade["hash"], trade["time"], ",".join(users)), []).append(trade)
        rows = tuple(map(self._row, groups.values()))
        return Push(f"trades:{trades[0]['coin']}", {"channel": "trades", "data": trades}, rows, verbatim=verbatim)

    def _row(self, fills: list[Message]) -> Row:
        """All fills of one user in one block; they have one price."""
        first = fills[0]
        side = Side.LONG if first["users"][0] in LIQUIDATORS else Side.SHORT
        total = sum((Decimal(fill["sz"]) for fill in fills), Decimal(0))
        return self.row(first["coin"], side, price=first["px"], quantity=plain(total), event_time_ms=first["time"])

    def _ordinary(self, coin: str, now_ms: int) -> Message:
        instrument, number = self.list_symbol(coin), next(self._numbers)
        block = {
            "coin": coin, "side": "AB"[number % 2], "px": self.mark_text(instrument), "time": self.stamp(now_ms),
            "hash": f"0x{'0' * 64}", "users": [f"0x{_digest(each, number)[:40]}" for each in ("buyer", "seller")],
        }  # fmt: skip
        return _trade(block, instrument.step, int(_digest("ordinary", number), 16) % TID_MAX)

    def greeting(self, channels: Set[str], now_ms: int) -> list[Push]:
        """Recent trades of each coin in one message; for fills, an empty snapshot."""
        pushes = []
        for channel in sorted(channels):
            name, _, what = channel.partition(":")
            recent = tuple(self._recent.get(what, ())) if name == "trades" else ()
            if recent:
                trades = [trade for push in recent for trade in push.message["data"]]
                pushes.append(Push(channel, {"channel": "trades", "data": trades}, parts=recent))
            elif name == "userFills":
                data = {"isSnapshot": True, "user": what, "fills": []}
                pushes.append(Push(channel, {"channel": name, "data": data}))
            else:
                pushes += self.market_pushes(channel, now_ms)
        return pushes

    def market_pushes(self, channel: str, now_ms: int) -> list[Push]:
        """An ordinary trade, or the context of a coin."""
        name, _, coin = channel.partition(":")
        instrument = self.instruments.get(coin)
        if instrument is None or name not in COIN_TYPES:
            return []
        if name == "activeAssetCtx":
            return [Push(channel, {"channel": name, "data": {"coin": coin, "ctx": self._context(instrument, now_ms)}})]
        if coin != "BTC" and (now_ms // 1000 + len(coin)) % PULSE_S:
            return []
        return [Push(channel, {"channel": "trades", "data": [self._ordinary(coin, now_ms)]})]

    def _context(self, instrument: Instrument, now_ms: int) -> Message:
        mark, coming = self.mark_text(instrument), self.market.next_funding(instrument, now_ms)
        return {
            "funding": plain(coming.rate), "openInterest": self.open_text(instrument), "prevDayPx": mark,
            "dayNtlVlm": "0.0", "premium": None, "oraclePx": mark, "markPx": mark, "midPx": None, "impactPxs": None,
        }  # fmt: skip

    def texts(self, push: Push, client: Client) -> list[str]:
        """The trades to those of the coin; the fills to those of a liquidator."""
        texts = [compact(push.message)] if push.channel in client.channels else []
        if not push.rows:
            return texts
        for channel in sorted(client.channels):
            name, _, user = channel.partition(":")
            trades = [t for t in push.message["data"] if name in USER_TYPES and user in t.get("users", [])]
            if trades:
                data: Message = {"fills": [_fill(trade, user) for trade in trades]}
                data |= {"user": user} if name == "userFills" else {}
                texts.append(compact({"channel": USER_TYPES[name], "data": data}))
        return texts

    def captured(self, payload: Message) -> Push | None:
        """A message of trades in which a liquidator took part."""
        if payload.get("channel") != "trades" or not payload.get("data"):
            return None
        push = self._push(payload["data"], verbatim=True)
        return push if push.rows else None

    def weight(self, path: str, query: Mapping[str, str]) -> int:
        """The same for every type that is answered here."""
        return INFO_WEIGHT

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> Answer:
        """POST /info by `type`. Other perpetual exchanges (`dex`) list nothing here."""
        kind, listed = query.get("type"), [] if query.get("dex") else list(self.instruments.values())
        meta = {"universe": [_listed(each) for each in listed], "marginTables": [], "collateralToken": 0}
        if kind == "meta":
            return Answer(200, meta)
        if kind == "metaAndAssetCtxs":
            return Answer(200, [meta, [self._context(each, now_ms) for each in listed]])
        if kind == "perpDexs":
            return Answer(200, [None])
        if kind == "vaultDetails":
            return Answer(200, {"vaultAddress": VAULT, "relationship": {
                "type": "parent", "data": {"childAddresses": list(LIQUIDATORS)}}})  # fmt: skip
        if kind in ("userFills", "userFillsByTime"):
            return Answer(200, self._fills(query.get("user", ""), query))
        if kind == "fundingHistory" and query.get("coin") in self.instruments:
            return Answer(200, self._history(self.instruments[query["coin"]], query, now_ms))
        return Answer(422, "Failed to deserialize the JSON body into the target type")

    def _fills(self, user: str, query: Mapping[str, str]) -> list[Message]:
        """Of recent frames, newest last."""
        start_ms = int(query.get("startTime", 0))
        trades = [trade for recent in self._recent.values() for push in recent for trade in push.message["data"]]
        return [_fill(each, user) for each in trades if user in each["users"] and each["time"] >= start_ms]

    def _history(self, instrument: Instrument, query: Mapping[str, str], now_ms: int) -> list[Message]:
        start_ms, end_ms = window(query, "startTime", "endTime", now_ms, default_ms=24 * HOUR_MS)
        return [
            {"coin": instrument.symbol, "fundingRate": plain(each.rate), "premium": "0.0", "time": each.time_ms}
            for each in self.market.settled(instrument, start_ms, end_ms)
        ]


def _channel(subscription: Any) -> str | None:
    """The channel's name within the simulator: type:coin or type:user; None: there is none."""
    if not isinstance(subscription, dict):
        return None
    kind = subscription.get("type")
    what = subscription.get("coin" if kind in COIN_TYPES else "user")
    return f"{kind}:{what}" if isinstance(what, str) and (kind in COIN_TYPES or kind in USER_TYPES) else None


def _digest(what: str, number: int) -> str:
    return sha256(f"{what}:{number}".encode()).hexdigest()


def _trade(block: Message, size: Decimal, tid: int) -> Message:
    """In the order of fields in which the exchange sends them."""
    trade = block | {"sz": plain(size), "tid": tid}
    return {name: trade[name] for name in ("coin", "side", "px", "sz", "time", "hash", "tid", "users")}


def _fill(trade: Message, user: str) -> Message:
    """The trade as that user's fill."""
    bought = trade["users"][0] == user
    other = trade["users"][bought]
    fill: Message = {name: trade[name] for name in ("coin", "px", "sz", "time", "hash", "tid")}
    fill |= {
        "side": "B" if bought else "A", "startPosition": "0.0", "closedPnl": "0.0", "oid": trade["tid"] % 2**32,
        "crossed": True, "fee": "0.0", "feeToken": "USDC", "twapId": None,
        "dir": "Open Long" if bought else "Open Short",
    }  # fmt: skip
    if user in LIQUIDATORS or other in LIQUIDATORS:
        liquidated = user if other in LIQUIDATORS else other
        was_long = trade["users"][1] == liquidated
        fill["dir"] = f"Liquidated Cross {'Long' if was_long else 'Short'}"
        fill["liquidation"] = {"liquidatedUser": liquidated, "markPx": trade["px"], "method": "backstop"}
    return fill


def _listed(instrument: Instrument) -> Message:
    decimals = max(0, -int(instrument.step.as_tuple().exponent))
    return {"szDecimals": decimals, "name": instrument.symbol, "maxLeverage": 20, "marginTableId": 20}
