"""Binance: liquidations of USD-M and COIN-M contracts on `!forceOrder@arr`, one stream for both since 2026-06-30.

Sources, as of 2026-11-23:
- Address: developers.binance.info/docs/derivatives/usds-margined-futures/websocket-market-streams (change notice):
  forceOrder is served under /market only; the unrouted /ws and /stream still accept the SUBSCRIBE and stay silent
  (since 2026-04-23).
- Payload: the same docs, "Liquidation Order Streams", and live frames of 2026-10: `S` is the side of the liquidation
  ORDER, so SELL closes a long; `z` cumulative filled quantity; `l` only the last fill; `ap` average price; `p` the
  limit, up to 11 % off the fill; `T` trade time; `E` push time, about 1 s later.
- Merge: developers.binance.me/docs/derivatives/coin-margined-futures (notice): `st` 1 = USD-M, 2 = COIN-M, inside `o`
  in live frames and at the top in the official COIN-M connector; absent in older frames.
- COIN-M: `z` counts contracts of `contractSize` USD (GET /dapi/v1/exchangeInfo): BTCUSD 100, the others 10.
Key fields of the id: s, S, T, z, ap (the exchange gives none). Sample frames: tests/data/binance/."""

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from producers.amounts import inverse, is_zero, linear_by_unit, refusal, time_ms
from producers.exchange import (
    FRAME_BYTES_MAX,
    LIQUIDATION,
    Budget,
    Connection,
    Control,
    ControlKind,
    ExchangeAdapter,
    InstrumentPage,
    InstrumentSource,
    Subscription,
)
from producers.instruments import Instrument, Instruments
from producers.symbols import DOLLARS, linear_market, split_multiplier
from schemas.errors import FrameRefused
from schemas.records import Liquidation
from schemas.words import Completeness, Exchange, Market, PriceKind, Side

NAME: Final = Exchange.BINANCE.value
STREAM: Final = "!forceOrder@arr"
# Docs: "S": side of the order. A liquidated long is sold.
SIDES: Final = {"SELL": Side.LONG, "BUY": Side.SHORT}
# UNSURE: the USD-M page of 2026-04-10 says the largest order per symbol per 1000 ms, COIN-M texts still say the latest.
COMPLETENESS: Final = Completeness.LARGEST_PER_SECOND
COIN_MARGINED: Final = 2  # `st`
CONTRACT_SIZE_USD: Final = {"BTCUSD": Decimal(100)}  # by pair
CONTRACT_SIZE_USD_OTHERS: Final = Decimal(10)
_COIN_MARGINED_SYMBOL: Final = re.compile(r"(.+)USD_(PERP|\d{6})")
_LINEAR_SYMBOL: Final = re.compile(r"(.+?)(USDT|USDC|FDUSD|BUSD)(_\d{6})?")


class _Order(msgspec.Struct, gc=False):
    s: str
    S: str
    T: int
    q: str
    p: str
    ap: str
    z: str = ""
    st: int = 0


class _Event(msgspec.Struct, gc=False):
    e: str
    o: _Order | None = None
    st: int = 0


class _Frame(msgspec.Struct, gc=False):
    """The combined stream's wrapper; a raw /ws event has the fields of `data` at the top."""

    stream: str = ""
    data: _Event | None = None
    e: str = ""
    o: _Order | None = None
    st: int = 0


class _Envelope(msgspec.Struct):
    """What tells frames apart when `_Frame` does not fit."""

    stream: str = ""
    e: str = ""
    id: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_FRAMES: Final = msgspec.json.Decoder(_Frame)
_ENVELOPES: Final = msgspec.json.Decoder(_Envelope)


def decode(frame: bytes, *, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
    """One frame of /market/stream or /market/ws -> 0 or 1 events; see `Decoder`.

    price: average fill (the order's limit when there is none); quantity: cumulative fill."""
    if len(frame) > FRAME_BYTES_MAX:
        raise refusal(NAME, "the frame", f"{len(frame)} bytes", f"at most {FRAME_BYTES_MAX}")
    try:
        message = _FRAMES.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        return _without_order(frame, str(exc))
    event = message.data or message
    order = event.o
    if order is None or event.e != "forceOrder":
        return _without_order(frame, "no order `o`")
    side = SIDES.get(order.S)
    if side is None:
        raise refusal(NAME, "o.S", order.S, "BUY or SELL")
    instrument = instruments[order.s]
    st = order.st or event.st
    if st and (st == COIN_MARGINED) is not instrument.inverse:
        raise refusal(
            NAME, "st", st, f"the one of {order.s}, which is {'COIN-M (2)' if instrument.inverse else 'USD-M (1)'}"
        )
    quantity, fields = (order.q, ("o.q", "o.ap")) if is_zero(order.z) else (order.z, ("o.z", "o.ap"))
    price, price_kind = order.ap, PriceKind.AVERAGE
    if is_zero(price):
        price, price_kind, fields = order.p, PriceKind.ORDER, (fields[0], "o.p")
    amounts = (inverse if instrument.inverse else linear_by_unit)(
        quantity, price, instrument.contract_size, NAME, fields
    )
    return [
        Liquidation(
            event_id=f"{NAME}:{order.s}:{order.S}:{order.T}:{order.z}:{order.ap}:0",
            exchange=Exchange.BINANCE,
            asset=instrument.asset,
            instrument=order.s,
            market=instrument.market,
            side=side,
            price=amounts.price,
            quantity=amounts.quantity,
            notional_usd=amounts.notional_usd,
            price_kind=price_kind,
            completeness=COMPLETENESS,
            event_time_ms=time_ms(order.T, NAME, "o.T"),
            received_time_us=received_time_us,
        )
    ]


def _without_order(frame: bytes, reason: str) -> list[Liquidation]:
    """[] for acks and other streams; raises FrameRefused for a liquidation or an unknown frame."""
    try:
        envelope = _ENVELOPES.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the frame is not one of this exchange: {exc}") from exc
    if "forceOrder" in envelope.stream or envelope.e == "forceOrder":
        raise FrameRefused(f"decoding {NAME}: {reason}")
    if envelope.stream or envelope.e or bytes(envelope.id) or bytes(envelope.error):
        return []
    raise FrameRefused(f"decoding {NAME}: the frame has none of stream, e, id and error, so its kind is not known")


def control(frame: bytes) -> Control | None:
    """Acks are {"result":null,"id":n}; refusals {"error":{...},"id":n}."""
    if b'"forceOrder"' in frame:
        return None
    try:
        envelope = _ENVELOPES.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if bytes(envelope.error) not in (b"", b"null"):
        return Control(ControlKind.REFUSED, bytes(envelope.error).decode(errors="replace"))
    if bytes(envelope.result) == b"null" and bytes(envelope.id):
        return Control(ControlKind.ACK)
    return Control(ControlKind.OTHER) if bytes(envelope.id) else None


def topics(listed: Iterable[Instrument]) -> list[str]:
    """One stream carries all symbols."""
    return [STREAM]


def subscribe(streams: Sequence[str]) -> list[Subscription]:
    """One SUBSCRIBE for all; the limit is 1024 streams a connection."""
    request = {"method": "SUBSCRIBE", "params": list(streams), "id": 1}
    return [Subscription(msgspec.json.encode(request).decode(), acks=1)]


def instrument_rule(symbol: str) -> Instrument | None:
    """A contract by its symbol: BTCUSDT, 1000PEPEUSDT, BTCUSDT_260925; BTCUSD_PERP, BTCUSD_260626 (COIN-M)."""
    coin_margined = _COIN_MARGINED_SYMBOL.fullmatch(symbol)
    if coin_margined is not None:
        return _coin_margined(symbol, coin_margined[1], _contract_size_usd(coin_margined[1] + "USD"))
    linear = _LINEAR_SYMBOL.fullmatch(symbol)
    if linear is None or linear[1] != linear[1].upper():
        return None
    return _linear(symbol, linear[1], linear[2])


def _contract_size_usd(pair: str) -> Decimal:
    return CONTRACT_SIZE_USD.get(pair, CONTRACT_SIZE_USD_OTHERS)


def _linear(symbol: str, base: str, margin: str) -> Instrument:
    asset, coins = split_multiplier(base)
    return Instrument(
        exchange=Exchange.BINANCE, instrument=symbol, asset=asset, market=linear_market(margin),
        contract_size=Decimal(coins), inverse=False,
    )  # fmt: skip


def _coin_margined(symbol: str, base: str, size_usd: Decimal) -> Instrument:
    return Instrument(
        exchange=Exchange.BINANCE, instrument=symbol, asset=base, market=Market.USD,
        contract_size=size_usd, inverse=True,
    )  # fmt: skip


class _Symbol(msgspec.Struct):
    symbol: str
    baseAsset: str
    quoteAsset: str
    marginAsset: str
    contractSize: Decimal | None = None  # USD, of COIN-M contracts alone


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_Symbol]


_EXCHANGE_INFO: Final = msgspec.json.Decoder(_ExchangeInfo)


def decode_exchange_info(body: bytes) -> InstrumentPage:
    """GET /fapi/v1/exchangeInfo and /dapi/v1/exchangeInfo; contracts not quoted in a kind of dollar are left out."""
    try:
        symbols = _EXCHANGE_INFO.decode(body).symbols
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise FrameRefused(f"decoding {NAME} exchangeInfo: {exc}") from exc
    return InstrumentPage(
        tuple(
            _linear(row.symbol, row.baseAsset, row.marginAsset)
            if row.contractSize is None
            else _coin_margined(row.symbol, row.baseAsset, row.contractSize)
            for row in symbols
            if row.quoteAsset in DOLLARS
        )
    )


ADAPTER: Final = ExchangeAdapter(
    exchange=Exchange.BINANCE,
    connections=(
        Connection(
            origin="wss://fstream.binance.com",
            path="/market/stream",
            topics=topics,
            subscribe=subscribe,
        ),
    ),
    control=control,
    decoders={LIQUIDATION: decode},
    budget=Budget(weight_max=2_400, window_ms=60_000),
    instrument_rule=instrument_rule,
    instrument_sources=(
        InstrumentSource(origin="https://fapi.binance.com", path="/fapi/v1/exchangeInfo", decode=decode_exchange_info),
        InstrumentSource(origin="https://dapi.binance.com", path="/dapi/v1/exchangeInfo", decode=decode_exchange_info),
    ),
)  # no heartbeat: the server pings every 3 min by ping frames, which the websocket library answers
