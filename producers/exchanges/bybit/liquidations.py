"""Bybit v5, linear and inverse: liquidations on `allLiquidation.{symbol}`.

Sources, as of 2026-11-23 (bybit-exchange/docs, docs/v5, read 2026-07-24):
- websocket/public/all-liquidation: all liquidations, pushed every 500 ms, `data` is an array. "S: Position side. Buy,
  Sell. When you receive a `Buy` update, this means that a long position has been liquidated": Buy is LONG, the opposite
  of exchanges that give the order's side. `v` executed size in coins (linear) or USD (inverse), `p` bankruptcy price,
  `T` ms.
Key fields of the id: s, S, T, v, p (the exchange gives none). Sample frames: tests/data/bybit/."""

from typing import Final

import msgspec

from producers.amounts import inverse, linear_by_unit, refusal, time_ms
from producers.exchange import FRAME_BYTES_MAX, decode_rows
from producers.instruments import Instruments
from schemas.errors import FrameRefused
from schemas.records import Liquidation
from schemas.words import Completeness, Exchange, PriceKind, Side

NAME: Final = Exchange.BYBIT.value
TOPIC: Final = "allLiquidation."
LEGACY_TOPIC: Final = "liquidation."
# Docs: "When you receive a `Buy` update, this means that a long position has been liquidated".
SIDES: Final = {"Buy": Side.LONG, "Sell": Side.SHORT}
# Looked up once: attributes of an enum are slow before Python 3.12.
PRICE_KIND: Final = PriceKind.BANKRUPTCY
COMPLETENESS: Final = Completeness.ALL


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
_ROWS_ALONE: Final = msgspec.json.Decoder(list[_Row] | _Row)
_ENVELOPES: Final = msgspec.json.Decoder(_Envelope)


def decode(frame: bytes, *, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
    """One frame of /v5/public/linear or /v5/public/inverse, its `data` or a row of it -> 0..n events; see `Decoder`.

    price: the bankruptcy price, worse than the market; quantity: executed coins (inverse: USD / price)."""
    if len(frame) > FRAME_BYTES_MAX:
        raise refusal(NAME, "the frame", f"{len(frame)} bytes", f"at most {FRAME_BYTES_MAX}")
    try:
        message = _FRAMES.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        rows = _rows_alone(frame)
        if rows is None:
            return _without_rows(frame, str(exc))
        message = _Frame(TOPIC, rows)
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
                exchange=instrument.exchange,
                asset=instrument.asset,
                instrument=row.s,
                market=instrument.market,
                side=side,
                price=amounts.price,
                quantity=amounts.quantity,
                notional_usd=amounts.notional_usd,
                price_kind=PRICE_KIND,
                completeness=COMPLETENESS,
                event_time_ms=time_ms(row.T, NAME, "data.T"),
                received_time_us=received_time_us,
            )
        ]

    return row_event(message.data[0]) if len(message.data) == 1 else decode_rows(message.data, row_event)


def _rows_alone(text: bytes) -> list[_Row] | None:
    """The rows of a text that is no frame; None when it is not made of them."""
    try:
        rows = _ROWS_ALONE.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return [rows] if isinstance(rows, _Row) else rows


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
            f"decoding {NAME}: {envelope.topic[:80]!r} is a legacy topic, decoded for its time alone (--at DATE); "
            f"now it is {TOPIC}<symbol>"
        )
    if envelope.topic or envelope.op:
        return []
    raise FrameRefused(f"decoding {NAME}: the frame has neither topic nor op, so its kind is not known")
