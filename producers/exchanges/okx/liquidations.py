"""OKX v5: liquidations of swaps and futures (X-Perps among them) on `liquidation-orders`, and its REST list.

Sources, as of 2026-11-23:
- Payload: docs of 2026-07-19, "Liquidation orders channel": data[] x details[]; `side` of the liquidation order,
  `posSide` of the position (`net` in one-way accounts); `sz` in contracts; the data "doesn't represent the total number
  of liquidations on OKX" and is not in chronological order. After a subscription the last rows may be sent again.
- REST: GET /api/v5/public/liquidation-orders, no longer in the docs but answered in 2026-09: the same rows, within
  {"code", "data"}.
Key fields of the id: instId, ts, posSide, sz, bkPx (the exchange gives none). Sample frames: tests/data/okx/."""

from typing import Final

import msgspec

from producers.amounts import inverse, linear_by_coin, refusal, time_ms
from producers.exchange import FRAME_BYTES_MAX, decode_rows
from producers.instruments import Instruments
from schemas.errors import FrameRefused
from schemas.records import Liquidation
from schemas.words import Completeness, Exchange, PriceKind, Side

NAME: Final = Exchange.OKX.value
CHANNEL: Final = "liquidation-orders"
LEGACY_CHANNEL: Final = "liquidations"  # of recordings made from the REST list until 2022; never a live channel
INSTRUMENT_TYPES: Final = ("SWAP", "FUTURES")  # those counted in contracts of coins or USD
# (posSide, side). The order's side closes the position; any other pair contradicts itself and is refused.
SIDES: Final = {
    ("long", "sell"): Side.LONG,
    ("short", "buy"): Side.SHORT,
    ("net", "sell"): Side.LONG,
    ("net", "buy"): Side.SHORT,
}
# UNSURE: docs of 2026 say "Liquidation mark price", older ones "bankruptcy price".
PRICE_KIND: Final = PriceKind.LIQUIDATION_MARK
COMPLETENESS: Final = Completeness.PARTIAL  # looked up once: attributes of an enum are slow before Python 3.12


class Detail(msgspec.Struct, gc=False):
    """One order."""

    bkPx: str
    posSide: str
    side: str
    sz: str
    ts: str


class _Row(msgspec.Struct, gc=False):
    instId: str
    details: list[Detail]


class _Argument(msgspec.Struct, gc=False):
    channel: str = ""
    instType: str = ""


class _Frame(msgspec.Struct, gc=False):
    arg: _Argument
    data: list[_Row]


class _Envelope(msgspec.Struct):
    """What tells frames and bodies apart when `_Frame` does not fit."""

    arg: _Argument | None = None
    event: str = ""
    code: str = ""
    msg: str = ""
    data: msgspec.Raw = msgspec.Raw()
    details: msgspec.Raw = msgspec.Raw()


_FRAMES: Final = msgspec.json.Decoder(_Frame)
_ENVELOPES: Final = msgspec.json.Decoder(_Envelope)
_ROWS: Final = msgspec.json.Decoder(_Row)
_LISTS: Final = msgspec.json.Decoder(list[_Row])


def decode(frame: bytes, *, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
    """A frame of /ws/v5/public, a body of the REST list, its `data` or one element of it; see `Decoder`."""
    if len(frame) > FRAME_BYTES_MAX:
        raise refusal(NAME, "the frame", f"{len(frame)} bytes", f"at most {FRAME_BYTES_MAX}")
    try:
        message = _FRAMES.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        rows = _rows_without_argument(frame, str(exc))
    else:
        rows = message.data
        if message.arg.channel != CHANNEL:
            rows = _other_channel(message.arg.channel, "")
        elif message.arg.instType not in INSTRUMENT_TYPES:
            raise refusal(NAME, "arg.instType", message.arg.instType, " or ".join(INSTRUMENT_TYPES))
    return decode_details(
        [(row.instId, detail) for row in rows for detail in row.details],
        received_time_us=received_time_us,
        instruments=instruments,
    )


def decode_details(
    details: list[tuple[str, Detail]], *, received_time_us: int, instruments: Instruments
) -> list[Liquidation]:
    """Events of (instId, order). price: bkPx; quantity: contracts x contract size.

    An instrument that is in no table is refused."""
    seen: dict[str, int] = {}

    def row_event(row: tuple[str, Detail]) -> list[Liquidation]:
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
                exchange=instrument.exchange,
                asset=instrument.asset,
                instrument=symbol,
                market=instrument.market,
                side=side,
                price=amounts.price,
                quantity=amounts.quantity,
                notional_usd=amounts.notional_usd,
                price_kind=PRICE_KIND,
                completeness=COMPLETENESS,
                event_time_ms=stated_ms(detail.ts, "details.ts"),
                received_time_us=received_time_us,
            )
        ]

    return row_event(details[0]) if len(details) == 1 else decode_rows(details, row_event)


def stated_ms(text: str, field: str) -> int:
    """A time as OKX writes it, ms in a text. Raises FrameRefused."""
    if not (text.isascii() and text.isdigit() and len(text) == len("1791565600771")):
        raise refusal(NAME, field, text, "ms since 1970 as a text of 13 digits")
    return time_ms(int(text), NAME, field)


def _rows_without_argument(frame: bytes, reason: str) -> list[_Row]:
    """Rows of a REST body or of one element of it; none for acks, pongs and notices."""
    if frame == b"pong":
        return []
    try:
        if frame.lstrip()[:1] == b"[":
            return _LISTS.decode(frame)
        envelope = _ENVELOPES.decode(frame)
        if envelope.event:
            return []
        if envelope.arg is not None:
            return _other_channel(envelope.arg.channel, reason)
        if envelope.code == "0":
            return _LISTS.decode(envelope.data)
        if bytes(envelope.details):
            return [_ROWS.decode(frame)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the frame is not one of this exchange: {exc}") from exc
    if envelope.code:
        raise FrameRefused(f"decoding {NAME}: the answer is {envelope.code[:20]} {envelope.msg[:200]!r}")
    raise FrameRefused(f"decoding {NAME}: the frame has none of arg, event, code and details, so its kind is unknown")


def _other_channel(channel: str, reason: str) -> list[_Row]:
    """No rows for other channels; raises FrameRefused for liquidations that do not fit, and for no channel at all."""
    if channel == CHANNEL:
        raise FrameRefused(f"decoding {NAME}: {reason}")
    if channel == LEGACY_CHANNEL:
        raise FrameRefused(
            f"decoding {NAME}: {LEGACY_CHANNEL!r} is a legacy channel, decoded for its time alone (--at DATE); "
            f"now it is {CHANNEL}"
        )
    if not channel:
        raise FrameRefused(f"decoding {NAME}: the frame has no arg.channel, so its kind is not known")
    return []
