"""OKX v5 swaps: liquidations on `liquidation-orders`, instType SWAP.

Sources, as of 2026-11-23:
- Address: wss://ws.okx.com/ws/v5/public on port 443; 8443 has been dead since 2026-10-31 (announcement
  okx-websocket-port-8443-discontinuation).
- Payload: docs of 2026-07-19, "Liquidation orders channel": data[] x details[]; `side` of the liquidation order,
  `posSide` of the position (`net` in one-way accounts); `sz` in contracts; the data "doesn't represent the total number
  of liquidations on OKX" and is not in chronological order.
- Contracts: GET /api/v5/public/instruments?instType=SWAP: coins (linear) or USD (inverse) of one = ctVal x ctMult.
- Heartbeat: the text `ping`, answered by the text `pong`; cut after 30 s without data.
- After a subscription the last rows may be sent again.
Key fields of the id: instId, ts, posSide, sz, bkPx (the exchange gives none). Sample frames: tests/data/okx/.
Sizes in okx.instruments.jsonl: BTC and ETH of the docs; inverse ones are 100 USD (BTC) and 10 USD (others) by OKX's
contract specifications; the other linear ones are equal in two independent public lists of ctVal. A size that is not
known is refused, never guessed."""

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from producers.amounts import inverse, linear_by_coin, refusal, time_ms
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
    decode_rows,
)
from producers.instruments import Instrument, Instruments
from producers.symbols import DOLLARS, linear_market
from schemas.errors import FrameRefused
from schemas.records import Liquidation
from schemas.words import Completeness, Exchange, Market, PriceKind, Side

NAME: Final = Exchange.OKX.value
CHANNEL: Final = "liquidation-orders"
LEGACY_CHANNEL: Final = "liquidations"  # of recordings made from the REST list until 2022; never a live channel
INSTRUMENT_TYPE: Final = "SWAP"
# (posSide, side). The order's side closes the position; any other pair contradicts itself and is refused.
SIDES: Final = {
    ("long", "sell"): Side.LONG,
    ("short", "buy"): Side.SHORT,
    ("net", "sell"): Side.LONG,
    ("net", "buy"): Side.SHORT,
}
# UNSURE: docs of 2026 say "Liquidation mark price", older ones "bankruptcy price".
PRICE_KIND: Final = PriceKind.LIQUIDATION_MARK


class _Detail(msgspec.Struct, gc=False):
    bkPx: str
    posSide: str
    side: str
    sz: str
    ts: str


class _Row(msgspec.Struct, gc=False):
    instId: str
    details: list[_Detail]


class _Argument(msgspec.Struct, gc=False):
    channel: str = ""
    instType: str = ""


class _Frame(msgspec.Struct, gc=False):
    arg: _Argument
    data: list[_Row]


class _Envelope(msgspec.Struct):
    """What tells frames apart when `_Frame` does not fit."""

    arg: _Argument | None = None
    event: str = ""
    code: str = ""
    msg: str = ""


_FRAMES: Final = msgspec.json.Decoder(_Frame)
_ENVELOPES: Final = msgspec.json.Decoder(_Envelope)


def decode(frame: bytes, *, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
    """One frame of /ws/v5/public -> 0..n events; see `Decoder`.

    price: bkPx; quantity: contracts x contract size. An instrument that is in no table is refused."""
    if len(frame) > FRAME_BYTES_MAX:
        raise refusal(NAME, "the frame", f"{len(frame)} bytes", f"at most {FRAME_BYTES_MAX}")
    try:
        message = _FRAMES.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        return _without_rows(frame, str(exc))
    if message.arg.channel != CHANNEL or message.arg.instType != INSTRUMENT_TYPE:
        return _without_rows(frame, f"instType {message.arg.instType[:20]!r} is not decoded, only {INSTRUMENT_TYPE}")
    seen: dict[str, int] = {}

    def row_event(row: tuple[str, _Detail]) -> list[Liquidation]:
        symbol, detail = row
        side = SIDES.get((detail.posSide, detail.side))
        if side is None:
            raise refusal(NAME, "details.posSide, side", (detail.posSide, detail.side), "long/sell, short/buy or net")
        instrument = instruments[symbol]
        key = f"{NAME}:{symbol}:{detail.ts}:{detail.posSide}:{detail.sz}:{detail.bkPx}"
        k = seen[key] = seen.get(key, -1) + 1
        amounts = (inverse if instrument.inverse else linear_by_coin)(
            detail.sz, detail.bkPx, instrument.contract_size, NAME, ("details.sz", "details.bkPx")
        )
        return [
            Liquidation(
                event_id=f"{key}:{k}",
                exchange=Exchange.OKX,
                asset=instrument.asset,
                instrument=symbol,
                market=instrument.market,
                side=side,
                price=amounts.price,
                quantity=amounts.quantity,
                notional_usd=amounts.notional_usd,
                price_kind=PRICE_KIND,
                completeness=Completeness.PARTIAL,
                event_time_ms=_time_ms(detail.ts),
                received_time_us=received_time_us,
            )
        ]

    rows = [(row.instId, detail) for row in message.data for detail in row.details]
    return row_event(rows[0]) if len(rows) == 1 else decode_rows(rows, row_event)


def _time_ms(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) == len("1791565600771")):
        raise refusal(NAME, "details.ts", text, "ms since 1970 as a text of 13 digits")
    return time_ms(int(text), NAME, "details.ts")


def _without_rows(frame: bytes, reason: str) -> list[Liquidation]:
    """[] for acks, pongs, notices and other channels; raises FrameRefused for liquidations and unknown frames."""
    if frame == b"pong":
        return []
    try:
        envelope = _ENVELOPES.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the frame is not one of this exchange: {exc}") from exc
    if envelope.event:
        return []
    if envelope.arg is not None and envelope.arg.channel == CHANNEL:
        raise FrameRefused(f"decoding {NAME}: {reason}")
    if envelope.arg is not None and envelope.arg.channel == LEGACY_CHANNEL:
        raise FrameRefused(
            f"decoding {NAME}: {LEGACY_CHANNEL!r} is a legacy channel, which is not decoded; use {CHANNEL}"
        )
    if envelope.arg is not None and envelope.arg.channel:
        return []
    raise FrameRefused(f"decoding {NAME}: the frame has neither arg.channel nor event, so it is not a whole frame")


def control(frame: bytes) -> Control | None:
    """The pong is a bare text; acks, errors and notices carry `event`; a notice announces that the server will cut."""
    if frame == b"pong":
        return Control(ControlKind.PONG)
    if b'"event"' not in frame:
        return None
    try:
        envelope = _ENVELOPES.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if envelope.event == "subscribe":
        return Control(ControlKind.ACK)
    if envelope.event == "error":
        return Control(ControlKind.REFUSED, f"{envelope.code} {envelope.msg}".strip())
    if envelope.event == "notice":
        return Control(ControlKind.RECONNECT, f"{envelope.code} {envelope.msg}".strip())
    return Control(ControlKind.OTHER) if envelope.event else None


def topics(listed: Iterable[Instrument]) -> list[str]:
    """One subscription carries all instruments of the type."""
    return [INSTRUMENT_TYPE]


def subscribe(types: Sequence[str]) -> list[Subscription]:
    """One request, an ack for each argument."""
    arguments = [{"channel": CHANNEL, "instType": kind} for kind in types]
    return [Subscription(msgspec.json.encode({"op": "subscribe", "args": arguments}).decode(), acks=len(arguments))]


def instrument_rule(symbol: str) -> Instrument | None:
    """None: a contract's size cannot be told from its symbol."""
    return None


class _Listed(msgspec.Struct):
    instId: str
    ctType: str
    ctVal: str
    ctMult: str
    ctValCcy: str
    settleCcy: str


class _InstrumentList(msgspec.Struct):
    code: str
    msg: str = ""
    data: list[_Listed] = []


_INSTRUMENT_LIST: Final = msgspec.json.Decoder(_InstrumentList)


def decode_instrument_list(body: bytes) -> InstrumentPage:
    """GET /api/v5/public/instruments?instType=SWAP; contracts that are neither of coins nor of USD are left out."""
    try:
        answer = _INSTRUMENT_LIST.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise FrameRefused(f"decoding {NAME} instruments: {exc}") from exc
    if answer.code != "0":
        raise FrameRefused(f"decoding {NAME} instruments: the answer is {answer.code} {answer.msg[:200]!r}")
    return InstrumentPage(tuple(row for row in map(_listed, answer.data) if row is not None))


def _listed(row: _Listed) -> Instrument | None:
    base, _, rest = row.instId.partition("-")
    quote = rest.partition("-")[0]
    try:
        size = Decimal(row.ctVal) * Decimal(row.ctMult or "1")
    except InvalidOperation:
        return None
    by_usd = row.ctType == "inverse" and row.ctValCcy == "USD"
    by_coin = row.ctType == "linear" and row.ctValCcy == base and quote.partition("_")[0] in DOLLARS
    if not (by_usd or by_coin):
        return None
    market = Market.USD if by_usd else linear_market(row.settleCcy)
    return Instrument(
        exchange=Exchange.OKX, instrument=row.instId, asset=base, market=market,
        contract_size=size, inverse=by_usd,
    )  # fmt: skip


ADAPTER: Final = ExchangeAdapter(
    exchange=Exchange.OKX,
    connections=(
        Connection(
            origin="wss://ws.okx.com",
            path="/ws/v5/public",
            topics=topics,
            subscribe=subscribe,
            heartbeat=Heartbeat("ping", interval_ms=20_000, answer_ms_max=8_000),  # within the 30 s without data
        ),
    ),
    control=control,
    decoders={LIQUIDATION: decode},
    budget=Budget(weight_max=20, window_ms=2_000),
    instrument_rule=instrument_rule,
    instrument_sources=(
        InstrumentSource(
            origin="https://www.okx.com",
            path="/api/v5/public/instruments",
            params={"instType": INSTRUMENT_TYPE},
            decode=decode_instrument_list,
        ),
    ),
)
