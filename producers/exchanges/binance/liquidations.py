"""Binance: liquidations of USD-M and COIN-M contracts on `!forceOrder@arr`, one stream for both since 2026-06-30.

Sources, as of 2026-11-23:
- Payload: docs of USD-M, "Liquidation Order Streams", and live frames of 2026-10: `S` is the side of the liquidation
  ORDER, so SELL closes a long; `z` cumulative filled quantity; `l` only the last fill; `ap` average price; `p` the
  limit, up to 11 % off the fill; `T` trade time; `E` push time, about 1 s later.
- Merge: developers.binance.me/docs/derivatives/coin-margined-futures (notice): `st` 1 = USD-M, 2 = COIN-M, inside `o`
  in live frames and at the top in the official COIN-M connector; absent in older frames.
- COIN-M: `z` counts contracts of `contractSize` USD (GET /dapi/v1/exchangeInfo): BTCUSD 100, the others 10.
Key fields of the id: s, S, T, z, ap (the exchange gives none). Sample frames: tests/data/binance/."""

from typing import Final

import msgspec

from producers.amounts import inverse, is_zero, linear_by_unit, refusal, time_ms
from producers.exchange import FRAME_BYTES_MAX, decode_rows
from producers.instruments import Instruments
from schemas.errors import FrameRefused
from schemas.records import Liquidation
from schemas.words import Completeness, Exchange, PriceKind, Side

NAME: Final = Exchange.BINANCE.value
# Docs: "S": side of the order. A liquidated long is sold.
SIDES: Final = {"SELL": Side.LONG, "BUY": Side.SHORT}
# UNSURE: the USD-M page of 2026-04-10 says the largest order per symbol per 1000 ms, COIN-M texts still say the latest.
COMPLETENESS: Final = Completeness.LARGEST_PER_SECOND
COIN_MARGINED: Final = 2  # `st`


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
    data: msgspec.Raw = msgspec.Raw()
    e: str = ""
    id: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_EXCHANGE: Final = Exchange.BINANCE  # looked up once: attributes of an enum are slow before Python 3.12
_AVERAGE: Final = PriceKind.AVERAGE
_FRAMES: Final = msgspec.json.Decoder(_Frame)
_ENVELOPES: Final = msgspec.json.Decoder(_Envelope)
_LISTS: Final = msgspec.json.Decoder(list[_Event])


def decode(frame: bytes, *, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
    """One frame of /market/stream or /market/ws -> an event (several, if it is a list of them) or none; see `Decoder`.

    price: average fill (the order's limit when there is none); quantity: cumulative fill."""
    if len(frame) > FRAME_BYTES_MAX:
        raise refusal(NAME, "the frame", f"{len(frame)} bytes", f"at most {FRAME_BYTES_MAX}")
    try:
        message = _FRAMES.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        return _without_order(frame, str(exc), received_time_us, instruments)
    event = message.data or message
    order = event.o
    if order is None or event.e != "forceOrder":
        return _without_order(frame, "no order `o`", received_time_us, instruments)
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
    price, price_kind = order.ap, _AVERAGE
    if is_zero(price):
        price, price_kind, fields = order.p, PriceKind.ORDER, (fields[0], "o.p")
    amounts = (inverse if instrument.inverse else linear_by_unit)(
        quantity, price, instrument.contract_size, NAME, fields
    )
    return [
        Liquidation(
            event_id=f"{NAME}:{order.s}:{order.S}:{order.T}:{order.z}:{order.ap}:0",
            exchange=_EXCHANGE,
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


def limit_evidence(frame: bytes) -> list[bool]:
    """Whether the order's limit agrees with its side: a sale is filled at its limit or above, a purchase at it or below
    (so in all captured frames). [] where the limit is the fill, and for frames that give no event."""
    try:
        message = _FRAMES.decode(frame)
        order = (message.data or message).o
        if order is None or order.S not in SIDES or is_zero(order.p) or is_zero(order.ap):
            return []
        limit, average = float(order.p), float(order.ap)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return []
    return [] if limit == average else [(average > limit) is (SIDES[order.S] is Side.LONG)]


def _without_order(frame: bytes, reason: str, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
    """Events of several events in a list; [] for acks and other streams; raises FrameRefused for everything else."""
    try:
        listed = frame if frame.lstrip()[:1] == b"[" else b""
        envelope = _Envelope() if listed else _ENVELOPES.decode(frame)
        if bytes(envelope.data)[:1] == b"[" and b'"forceOrder"' in frame:
            listed = bytes(envelope.data)
        events = _LISTS.decode(listed) if listed else []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the frame is not one of this exchange: {exc}") from exc
    if listed:
        return decode_rows(
            events,
            lambda event: decode(
                msgspec.json.encode(event), received_time_us=received_time_us, instruments=instruments
            ),
        )
    if "forceOrder" in envelope.stream or envelope.e == "forceOrder":
        raise FrameRefused(f"decoding {NAME}: {reason}")
    if envelope.stream or envelope.e or bytes(envelope.id) or bytes(envelope.error):
        return []
    raise FrameRefused(f"decoding {NAME}: the frame has none of stream, e, id and error, so its kind is not known")
