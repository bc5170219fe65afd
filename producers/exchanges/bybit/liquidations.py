"""Bybit v5 linear: liquidations on `allLiquidation.{symbol}`.

Sources, as of 2026-11-23 (bybit-exchange/docs, docs/v5, read 2026-07-24):
- websocket/public/all-liquidation: all liquidations, pushed every 500 ms, `data` is an array. "S: Position side. Buy,
  Sell. When you receive a `Buy` update, this means that a long position has been liquidated": Buy is LONG, the opposite
  of exchanges that give the order's side. `v` executed size in coins, `p` bankruptcy price, `T` ms.
- websocket/wss-authentication: topics by symbol only; text ping {"op":"ping"} every 20 s; 21,000 characters of args.
- market/instruments-info: pages of 1,000 by `cursor`.
- Inverse contracts are 1 USD each (`v` in USD). The older topic `liquidation.{symbol}` is gone: since 2026-08-18 it is
  answered "error:handler not found".
Key fields of the id: s, S, T, v, p (the exchange gives none). Sample frames: tests/data/bybit/."""

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from producers.amounts import inverse, linear_by_unit, refusal, time_ms
from producers.exchange import (
    FRAME_BYTES_MAX,
    LIQUIDATION,
    Budget,
    Connection,
    Control,
    ControlKind,
    ExchangeAdapter,
    Heartbeat,
    InstrumentPage,
    InstrumentSource,
    Subscription,
    batches,
    decode_rows,
)
from producers.instruments import Instrument, Instruments
from producers.symbols import DOLLARS, linear_market, split_multiplier
from schemas.errors import FrameRefused
from schemas.records import Liquidation
from schemas.words import Completeness, Exchange, Market, PriceKind, Side

NAME: Final = Exchange.BYBIT.value
TOPIC: Final = "allLiquidation."
LEGACY_TOPIC: Final = "liquidation."
# Docs: "When you receive a `Buy` update, this means that a long position has been liquidated".
SIDES: Final = {"Buy": Side.LONG, "Sell": Side.SHORT}
TOPICS_PER_REQUEST_MAX: Final = 200  # five requests of 200 on one connection were accepted on 2026-09-18
# UNSURE whether the docs' 21,000 characters hold for a request or a connection: a connection, to be safe.
TOPIC_CHARACTERS_MAX: Final = 20_000
MULTIPLIER_SUFFIXES: Final = {"SHIB1000": ("SHIB", 1000)}  # the one listed base that has it at the end
_INVERSE_SYMBOL: Final = re.compile(r"(.+)USD([FGHJKMNQUVXZ]\d\d)?")
_LINEAR_SYMBOL: Final = re.compile(r"(.+?)(USDT|PERP|)(-\d{1,2}[A-Z]{3}\d\d)?")


class _Row(msgspec.Struct, gc=False):
    T: int
    s: str
    S: str
    v: str
    p: str


class _Frame(msgspec.Struct, gc=False):
    topic: str
    data: list[_Row]


class _Envelope(msgspec.Struct):
    """What tells frames apart when `_Frame` does not fit."""

    topic: str = ""
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""


_FRAMES: Final = msgspec.json.Decoder(_Frame)
_ENVELOPES: Final = msgspec.json.Decoder(_Envelope)


def decode(frame: bytes, *, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
    """One frame of /v5/public/linear -> 0..n events; see `Decoder`.

    price: the bankruptcy price, worse than the market; quantity: executed coins."""
    if len(frame) > FRAME_BYTES_MAX:
        raise refusal(NAME, "the frame", f"{len(frame)} bytes", f"at most {FRAME_BYTES_MAX}")
    try:
        message = _FRAMES.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        return _without_rows(frame, str(exc))
    if not message.topic.startswith(TOPIC):
        return _without_rows(frame, "")
    seen: dict[str, int] = {}

    def row_event(row: _Row) -> list[Liquidation]:
        side = SIDES.get(row.S)
        if side is None:
            raise refusal(NAME, "data.S", row.S, "Buy or Sell")
        instrument = instruments[row.s]
        key = f"{NAME}:{row.s}:{row.S}:{row.T}:{row.v}:{row.p}"
        k = seen[key] = seen.get(key, -1) + 1
        amounts = (inverse if instrument.inverse else linear_by_unit)(
            row.v, row.p, instrument.contract_size, NAME, ("data.v", "data.p")
        )
        return [
            Liquidation(
                event_id=f"{key}:{k}",
                exchange=Exchange.BYBIT,
                asset=instrument.asset,
                instrument=row.s,
                market=instrument.market,
                side=side,
                price=amounts.price,
                quantity=amounts.quantity,
                notional_usd=amounts.notional_usd,
                price_kind=PriceKind.BANKRUPTCY,
                completeness=Completeness.ALL,
                event_time_ms=time_ms(row.T, NAME, "data.T"),
                received_time_us=received_time_us,
            )
        ]

    return row_event(message.data[0]) if len(message.data) == 1 else decode_rows(message.data, row_event)


def _without_rows(frame: bytes, reason: str) -> list[Liquidation]:
    """[] for acks, pongs and other topics; raises FrameRefused for liquidations and unknown frames."""
    try:
        envelope = _ENVELOPES.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the frame is not one of this exchange: {exc}") from exc
    if envelope.topic.startswith(TOPIC):
        raise FrameRefused(f"decoding {NAME}: {reason}")
    if envelope.topic.startswith(LEGACY_TOPIC):
        raise FrameRefused(
            f"decoding {NAME}: {envelope.topic[:80]!r} is a legacy topic, which is not decoded; use {TOPIC}<symbol>"
        )
    if envelope.topic or envelope.op:
        return []
    raise FrameRefused(f"decoding {NAME}: the frame has neither topic nor op, so its kind is not known")


def control(frame: bytes) -> Control | None:
    """Acks, pongs and refusals carry `op`; a refusal names the topic: "error:handler not found,topic:<topic>"."""
    if b'"topic"' in frame:
        return None
    try:
        envelope = _ENVELOPES.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if envelope.op == "subscribe":
        if envelope.success:
            return Control(ControlKind.ACK)
        return Control(ControlKind.REFUSED, envelope.ret_msg, envelope.ret_msg.partition("topic:")[2] or None)
    if envelope.op in ("ping", "pong"):
        return Control(ControlKind.PONG)
    return Control(ControlKind.OTHER) if envelope.op else None


def topics(listed: Iterable[Instrument]) -> list[str]:
    """One topic a linear instrument; there is no wildcard."""
    return [TOPIC + row.instrument for row in listed if not row.inverse]


def subscribe(wanted: Sequence[str]) -> list[Subscription]:
    """Requests of at most 200 topics, an ack each."""
    return [
        Subscription(msgspec.json.encode({"op": "subscribe", "args": list(part)}).decode(), acks=1)
        for part in batches(wanted, TOPICS_PER_REQUEST_MAX)
    ]


def instrument_rule(symbol: str) -> Instrument | None:
    """A contract by its symbol: BTCUSDT, BTCUSDT-18SEP26; BTCPERP, BTC-26DEC25 (USDC); BTCUSD, BTCUSDU23 (inverse)."""
    by_coin = _INVERSE_SYMBOL.fullmatch(symbol)
    if by_coin is not None:
        return Instrument(
            exchange=Exchange.BYBIT, instrument=symbol, asset=by_coin[1], market=Market.USD,
            contract_size=Decimal(1), inverse=True,
        )  # fmt: skip
    linear = _LINEAR_SYMBOL.fullmatch(symbol)
    if linear is None or linear[1] != linear[1].upper() or not (linear[2] or linear[3]):
        return None
    return _linear(symbol, linear[1], "USDT" if linear[2] == "USDT" else "USDC")


def _linear(symbol: str, base: str, margin: str) -> Instrument:
    asset, coins = MULTIPLIER_SUFFIXES.get(base) or split_multiplier(base)
    return Instrument(
        exchange=Exchange.BYBIT, instrument=symbol, asset=asset, market=linear_market(margin),
        contract_size=Decimal(coins), inverse=False,
    )  # fmt: skip


class _Listed(msgspec.Struct):
    symbol: str
    status: str
    baseCoin: str
    quoteCoin: str
    settleCoin: str


class _List(msgspec.Struct):
    """Empty where the answer is an error."""

    rows: list[_Listed] = msgspec.field(name="list", default_factory=list)
    nextPageCursor: str = ""


class _InstrumentsInfo(msgspec.Struct):
    retCode: int
    retMsg: str
    result: _List


_INSTRUMENTS_INFO: Final = msgspec.json.Decoder(_InstrumentsInfo)


def decode_instruments_info(body: bytes) -> InstrumentPage:
    """GET /v5/market/instruments-info?category=linear, one page; contracts that do not trade are left out."""
    try:
        answer = _INSTRUMENTS_INFO.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise FrameRefused(f"decoding {NAME} instruments-info: {exc}") from exc
    if answer.retCode != 0:
        raise FrameRefused(f"decoding {NAME} instruments-info: the answer is {answer.retCode} {answer.retMsg[:200]!r}")
    return InstrumentPage(
        tuple(
            _linear(row.symbol, row.baseCoin, row.settleCoin)
            for row in answer.result.rows
            if row.status == "Trading" and row.quoteCoin in DOLLARS
        ),
        answer.result.nextPageCursor or None,
    )


ADAPTER: Final = ExchangeAdapter(
    exchange=Exchange.BYBIT,
    connections=(
        Connection(
            origin="wss://stream.bybit.com",
            path="/v5/public/linear",
            topics=topics,
            subscribe=subscribe,
            topic_characters_max=TOPIC_CHARACTERS_MAX,
            heartbeat=Heartbeat('{"op":"ping"}', interval_ms=20_000, answer_ms_max=10_000),
        ),
    ),
    control=control,
    decoders={LIQUIDATION: decode},
    budget=Budget(weight_max=600, window_ms=5_000, ban_ms_default=600_000),
    instrument_rule=instrument_rule,
    instrument_sources=(
        InstrumentSource(
            origin="https://api.bybit.com",
            path="/v5/market/instruments-info",
            params={"category": "linear", "limit": "1000"},
            decode=decode_instruments_info,
        ),
    ),
)
