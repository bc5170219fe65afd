"""OKX's formats of old, for recordings; no live channel carried liquidations before 2023.

- Until 2022, recordings made from GET /api/v5/public/liquidation-orders under the channel `liquidations`: the orders
  stand in `data` itself, the instrument in `arg`.
- v3 (2020), recordings made from GET /api/{futures,swap}/v3/instruments/<id>/liquidation as `table`: `type` 3 closes a
  long, 4 a short; `size` contracts; `price`; `created_at` ISO 8601."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from producers.amounts import refusal
from producers.exchange import FRAME_BYTES_MAX
from producers.exchanges.okx import liquidations
from producers.exchanges.okx.liquidations import Detail
from producers.instruments import Instruments
from schemas.errors import FrameRefused
from schemas.records import Liquidation
from schemas.words import Exchange

NAME: Final = Exchange.OKX.value
LIQUIDATIONS_UNTIL_MS: Final = 1_692_230_400_000  # 2023-08-17, the day of the earliest known frame of today's channel
TABLES: Final = ("futures/liquidation", "swap/liquidation")
SIDES: Final = {"3": ("long", "sell"), "4": ("short", "buy")}  # docs of v3: 3 close long, 4 close short


class _Argument(msgspec.Struct):
    channel: str = ""
    instId: str = ""


class _Frame(msgspec.Struct):
    table: str = ""
    arg: _Argument | None = None
    data: msgspec.Raw = msgspec.Raw()


class _Order(msgspec.Struct):
    instrument_id: str
    size: str
    price: str
    type: str
    created_at: str


_FRAMES: Final = msgspec.json.Decoder(_Frame)
_DETAILS: Final = msgspec.json.Decoder(list[Detail])
_ORDERS: Final = msgspec.json.Decoder(list[_Order])


def decode_liquidations(frame: bytes, *, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
    """A frame of the time before `LIQUIDATIONS_UNTIL_MS`, or one of today's channel; see `Decoder`."""
    if len(frame) > FRAME_BYTES_MAX:
        raise refusal(NAME, "the frame", f"{len(frame)} bytes", f"at most {FRAME_BYTES_MAX}")
    try:
        is_frame = frame != b"pong" and frame.lstrip()[:1] != b"["
        message = _FRAMES.decode(frame) if is_frame else _Frame()
        if message.table in TABLES:
            details = [(order.instrument_id, _detail(order)) for order in _ORDERS.decode(message.data)]
        elif message.arg is not None and message.arg.channel == liquidations.LEGACY_CHANNEL:
            details = [(message.arg.instId, detail) for detail in _DETAILS.decode(message.data)]
        else:
            return liquidations.decode(frame, received_time_us=received_time_us, instruments=instruments)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the frame is not one of its legacy formats: {exc}") from exc
    return liquidations.decode_details(details, received_time_us=received_time_us, instruments=instruments)


def _detail(order: _Order) -> Detail:
    """The order in today's words; a side that is not known stays so, and is refused there."""
    try:
        moment = datetime.fromisoformat(order.created_at)
    except ValueError as exc:
        raise refusal(NAME, "created_at", order.created_at, "a time like 2020-12-18T00:30:58.559Z") from exc
    position_side, side = SIDES.get(order.type, ("", order.type))
    at_ms = round(moment.replace(tzinfo=UTC).timestamp() * 1000)
    return Detail(bkPx=order.price, posSide=position_side, side=side, sz=order.size, ts=str(at_ms))
