"""Gate.io: liquidations, `futures.public_liquidates` and the REST list `liq_orders`.

Sources, as of 2026-11-23:
- www.gate.com/docs/developers/futures/ws/en, "public liquidates", payload ["!all"]; `result` is a bare object in
  frames of 2026-08-10 (gateio/WebSocket-API issue #132) and a list since 2026-08-20; `time` of a row is in ms. Until
  then one order per contract and second, since then all, once a second or at 20 orders. With the header
  X-Gate-Size-Decimal: 1 sizes are decimal texts, without it whole numbers. `futures.liquidates` is the private
  channel.
- GET /api/v4/futures/{settle}/liq_orders: `size` is the user's POSITION (+ long), `order_size` the order that closes
  it, so of the other sign; liquidated = |order_size| - |left|; `time` in seconds. In 41 of 41 captured rows the
  order's price is worse than its fill for that side. The websocket's `size` has the order's sign: see
  SIDE_OF_NEGATIVE_SIZE.
Key fields of the id: contract, time, size, price (the exchange gives none). REST rows have seconds, other prices and
other sizes, so no id could be equal for both: they are never published beside the websocket's, they are its witness."""

from decimal import Decimal
from typing import Final

import msgspec

from producers.amounts import Amounts, inverse, linear_by_coin, linear_by_unit, positive, refusal, time_ms
from producers.exchange import FRAME_BYTES_MAX, decode_rows
from producers.exchanges.gate.instruments import price_unit
from producers.figures import number
from producers.instruments import Instrument, Instruments
from schemas.errors import FrameRefused
from schemas.records import Liquidation
from schemas.words import Completeness, Exchange, PriceKind, Side

NAME: Final = Exchange.GATE.value
CHANNEL: Final = "futures.public_liquidates"
# UNSURE: the docs call `size` only "liquidate order quantity". Taken as the order's sign, as in REST and in other
# clients: a sold order (negative) closes a long. Held against REST rows and mark prices while it runs.
SIDE_OF_NEGATIVE_SIZE: Final = Side.LONG
SIDE_OF_POSITIVE_SIZE: Final = Side.SHORT
# Looked up once: attributes of an enum are slow before Python 3.12.
PRICE_KIND: Final = PriceKind.ORDER  # of the websocket
COMPLETENESS: Final = Completeness.ALL
Number = str | int | float


class _Row(msgspec.Struct, gc=False):
    contract: str
    price: Number
    size: Number
    time: int = 0
    time_ms: int = 0


class _Frame(msgspec.Struct, gc=False):
    channel: str
    event: str
    result: list[_Row] | _Row


class _Order(msgspec.Struct, gc=False):
    """A row of liq_orders; `time` in seconds."""

    contract: str
    time: int
    size: Number
    order_size: Number
    order_price: Number
    fill_price: Number
    left: Number


class _Error(msgspec.Struct):
    code: Number = ""
    message: str = ""


class _Envelope(msgspec.Struct):
    """What tells objects apart when `_Frame` does not fit."""

    channel: str = ""
    event: str = ""
    error: _Error | None = None
    order_size: msgspec.Raw = msgspec.Raw()
    mark_price: msgspec.Raw = msgspec.Raw()  # of market data
    data: msgspec.Raw = msgspec.Raw()  # of settled rates


_FRAMES: Final = msgspec.json.Decoder(_Frame)
_ROWS_ALONE: Final = msgspec.json.Decoder(list[_Row] | _Row)
_ENVELOPES: Final = msgspec.json.Decoder(_Envelope)
_ENVELOPE_LISTS: Final = msgspec.json.Decoder(list[_Envelope])
_ORDERS: Final = msgspec.json.Decoder(list[_Order] | _Order)


def decode(frame: bytes, *, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
    """One websocket frame, its `result` or a row of it, or a body or a row of liq_orders -> 0..n events; see `Decoder`.

    price: of the order (REST: its average fill); quantity: contracts x contract size."""
    if len(frame) > FRAME_BYTES_MAX:
        raise refusal(NAME, "the frame", f"{len(frame)} bytes", f"at most {FRAME_BYTES_MAX}")
    try:
        message = _FRAMES.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        rows = _rows_alone(frame)
        if rows is None:
            return _without_rows(frame, str(exc), received_time_us, instruments)
        message = _Frame(CHANNEL, "update", rows)
    if message.channel != CHANNEL or message.event != "update":
        return []
    seen: dict[str, int] = {}

    def row_event(row: _Row) -> list[Liquidation]:
        size, price = str(row.size), str(row.price)
        sold = size.startswith("-")
        instrument = instruments[row.contract]
        at_ms = time_ms(row.time_ms or row.time, NAME, "result.time")
        key = f"{NAME}:{row.contract}:{at_ms}:{size}:{price}"
        k = seen[key] = seen.get(key, -1) + 1
        amounts = _amounts(instrument, size[1:] if sold else size, price, ("result.size", "result.price"))
        return [
            Liquidation(
                event_id=f"{key}:{k}",
                exchange=instrument.exchange,
                asset=instrument.asset,
                instrument=row.contract,
                market=instrument.market,
                side=SIDE_OF_NEGATIVE_SIZE if sold else SIDE_OF_POSITIVE_SIZE,
                price=amounts.price,
                quantity=amounts.quantity,
                notional_usd=amounts.notional_usd,
                price_kind=PRICE_KIND,
                completeness=COMPLETENESS,
                event_time_ms=at_ms,
                received_time_us=received_time_us,
            )
        ]

    if isinstance(message.result, _Row):
        return row_event(message.result)
    return decode_rows(message.result, row_event)


def _rows_alone(text: bytes) -> list[_Row] | _Row | None:
    """The rows of a text that is no frame; None when it is not made of them."""
    try:
        rows: list[_Row] | _Row = _ROWS_ALONE.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return rows


def _without_rows(frame: bytes, reason: str, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
    """Events of REST rows; [] for acks, other channels and other lists; raises FrameRefused for everything else."""
    try:
        envelopes = _ENVELOPE_LISTS.decode(frame) if frame.lstrip()[:1] == b"[" else [_ENVELOPES.decode(frame)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the frame is not one of this exchange: {exc}") from exc
    if not envelopes:
        return []
    envelope = envelopes[0]
    if bytes(envelope.order_size):
        return _decode_orders(frame, received_time_us, instruments)
    if envelope.channel == CHANNEL and envelope.event in ("update", "all", ""):
        raise FrameRefused(f"decoding {NAME}: {reason}")
    if envelope.channel or bytes(envelope.mark_price) or bytes(envelope.data):
        return []
    raise FrameRefused(f"decoding {NAME}: the frame has neither channel nor order_size, so its kind is not known")


def _decode_orders(body: bytes, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
    try:
        orders = _ORDERS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME} liq_orders: {exc}") from exc
    seen: dict[str, int] = {}

    def order_event(row: _Order) -> list[Liquidation]:
        size, ordered, left = (number(str(each), NAME, "size") for each in (row.size, row.order_size, row.left))
        if size * ordered >= 0:
            raise refusal(NAME, "order_size", row.order_size, f"a number of the other sign than size, {row.size}")
        contracts = abs(ordered) - abs(left)
        if contracts == 0:
            return []  # nothing was filled
        instrument = instruments[row.contract]
        key = ":".join(map(str, (NAME, row.contract, row.time, row.order_size, row.left, row.order_price)))
        k = seen[key] = seen.get(key, -1) + 1
        amounts = _amounts(instrument, format(contracts, "f"), str(row.fill_price), ("order_size", "fill_price"))
        return [
            Liquidation(
                event_id=f"{key}:{k}",
                exchange=instrument.exchange,
                asset=instrument.asset,
                instrument=row.contract,
                market=instrument.market,
                side=Side.LONG if size > 0 else Side.SHORT,
                price=amounts.price,
                quantity=amounts.quantity,
                notional_usd=amounts.notional_usd,
                price_kind=PriceKind.FILL,
                completeness=COMPLETENESS,
                event_time_ms=time_ms(row.time * 1_000, NAME, "time"),
                received_time_us=received_time_us,
            )
        ]

    return decode_rows([orders] if isinstance(orders, _Order) else orders, order_event)


def _amounts(instrument: Instrument, contracts: str, price: str, fields: tuple[str, str]) -> Amounts:
    if instrument.inverse:
        return inverse(contracts, price, instrument.contract_size, NAME, fields)
    unit = price_unit(instrument)
    if unit == 1:
        return linear_by_coin(contracts, price, instrument.contract_size, NAME, fields)
    positive(contracts, NAME, fields[0])
    units = format(Decimal(contracts) * instrument.contract_size / unit, "f")
    return linear_by_unit(units, price, Decimal(unit), NAME, fields)
