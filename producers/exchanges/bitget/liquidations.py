"""Bitget: liquidations, the v3 topic `liquidation` and the REST list of the same name.

Sources, as of 2026-11-23:
- bitget.com/api-doc/uta/websocket/public/Liquidation-Channel: a whole product line (`instType`), once a second, only
  the record with the highest quantity per pair and side. "buy: Long position liquidation; sell: Short position
  liquidation": the POSITION's side. "Liquidation amount. Unit: quote coin": the notional, as captured numbers prove
  (13.70319 = 83.1 x 0.1649), so coins = amount / price; of coin-margined contracts the quote coin is USD. `ts` of a
  row is in ms, as text, and may be some 20 s older than the frame.
- GET /api/v3/market/liquidations?category=: the same rows in data.list; see REST_AMOUNT_IS_COINS.
Key fields of the id: symbol, side, ts, price, amount (the exchange gives none)."""

from decimal import Context, Decimal
from typing import Final

import msgspec

from producers.amounts import Amounts, inverse, linear_by_unit, notional, positive, refusal, time_ms
from producers.exchange import FRAME_BYTES_MAX, decode_rows
from producers.exchanges.bitget.instruments import TEST_LISTINGS
from producers.instruments import Instrument, Instruments
from schemas.errors import FrameRefused
from schemas.records import Liquidation
from schemas.words import Completeness, Exchange, Market, PriceKind, Side

NAME: Final = Exchange.BITGET.value
TOPIC: Final = "liquidation"
SIDES: Final = {"buy": Side.LONG, "sell": Side.SHORT}
MARKETS: Final = {"usdt-futures": Market.USDT, "usdc-futures": Market.USDC, "coin-futures": Market.USD}  # by instType
# UNSURE: clients that read the REST list take its amount for coins, unlike the websocket's; the docs do not say. Of
# coin-margined contracts it is taken for USD, as all their quantities are.
REST_AMOUNT_IS_COINS: Final = True
# Looked up once: attributes of an enum are slow before Python 3.12.
PRICE_KIND: Final = PriceKind.LIQUIDATION_MARK
COMPLETENESS: Final = Completeness.LARGEST_PER_SECOND
TIME_CHARACTERS: Final = 13  # ms since 1970, from 2001 to 2286
_EXACT: Final = Context(prec=80)
_FIELDS: Final = ("data.amount", "data.price")


class _Row(msgspec.Struct, gc=False):
    symbol: str
    side: str
    price: str
    amount: str
    ts: str


class _Argument(msgspec.Struct, gc=False):
    instType: str = ""
    topic: str = ""
    channel: str = ""  # v2


class _Frame(msgspec.Struct, gc=False):
    arg: _Argument
    data: list[_Row]


class _List(msgspec.Struct):
    rows: list[_Row] = msgspec.field(name="list")


class _Body(msgspec.Struct):
    code: str
    data: _List | list[msgspec.Raw]  # market data are lists


class _Envelope(msgspec.Struct):
    """What tells frames apart when `_Frame` does not fit."""

    arg: _Argument | None = None
    event: str = ""
    code: int | str = ""
    fundingRate: msgspec.Raw = msgspec.Raw()  # of market data
    table: str = ""  # of the first API


_FRAMES: Final = msgspec.json.Decoder(_Frame)
_ENVELOPES: Final = msgspec.json.Decoder(_Envelope)
_BODIES: Final = msgspec.json.Decoder(_Body)


def decode(frame: bytes, *, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
    """One frame of /v3/ws/public, or a body of /api/v3/market/liquidations -> 0..n events; see `Decoder`.

    price: of the liquidation; quantity: notional / price. Rows of test listings are left out."""
    if len(frame) > FRAME_BYTES_MAX:
        raise refusal(NAME, "the frame", f"{len(frame)} bytes", f"at most {FRAME_BYTES_MAX}")
    try:
        message = _FRAMES.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        return _without_rows(frame, str(exc), received_time_us, instruments)
    if message.arg.topic != TOPIC:
        return []
    market = MARKETS.get(message.arg.instType)
    if market is None:
        raise refusal(NAME, "arg.instType", message.arg.instType, ", ".join(MARKETS))
    return _decode_rows(message.data, received_time_us, instruments, market, by_coins=False)


def _without_rows(frame: bytes, reason: str, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
    """Events of a REST body; [] for acks, pongs and other topics; raises FrameRefused for everything else."""
    if frame == b"pong":
        return []
    try:
        envelope = _ENVELOPES.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the frame is not one of this exchange: {exc}") from exc
    if envelope.event or envelope.table or bytes(envelope.fundingRate):
        return []
    if envelope.arg is not None and envelope.arg.topic == TOPIC:
        raise FrameRefused(f"decoding {NAME}: {reason}")
    if envelope.arg is not None and (envelope.arg.topic or envelope.arg.channel):
        return []
    if not envelope.code:
        raise FrameRefused(f"decoding {NAME}: the frame has none of arg, event and code, so its kind is not known")
    try:
        body = _BODIES.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME} liquidations: {exc}") from exc
    if isinstance(body.data, list):
        return []
    return _decode_rows(body.data.rows, received_time_us, instruments, None, by_coins=REST_AMOUNT_IS_COINS)


def _decode_rows(
    rows: list[_Row], received_time_us: int, instruments: Instruments, market: Market | None, *, by_coins: bool
) -> list[Liquidation]:
    seen: dict[str, int] = {}

    def row_event(row: _Row) -> list[Liquidation]:
        if row.symbol.startswith(TEST_LISTINGS):
            return []
        side = SIDES.get(row.side)
        if side is None:
            raise refusal(NAME, "data.side", row.side, "buy or sell")
        instrument = instruments[row.symbol]
        if market is not None and instrument.market is not market:
            raise refusal(NAME, "arg.instType", market.value, f"the one of {row.symbol}, which is {instrument.market}")
        key = f"{NAME}:{row.symbol}:{row.side}:{row.ts}:{row.price}:{row.amount}"
        k = seen[key] = seen.get(key, -1) + 1
        if by_coins and not instrument.inverse:
            amounts = linear_by_unit(row.amount, row.price, instrument.contract_size, NAME, _FIELDS)
        else:
            amounts = _by_notional(instrument, row.amount, row.price)
        return [
            Liquidation(
                event_id=f"{key}:{k}",
                exchange=instrument.exchange,
                asset=instrument.asset,
                instrument=row.symbol,
                market=instrument.market,
                side=side,
                price=amounts.price,
                quantity=amounts.quantity,
                notional_usd=amounts.notional_usd,
                price_kind=PRICE_KIND,
                completeness=COMPLETENESS,
                event_time_ms=text_time_ms(row.ts, "data.ts"),
                received_time_us=received_time_us,
            )
        ]

    return row_event(rows[0]) if len(rows) == 1 else decode_rows(rows, row_event)


def _by_notional(instrument: Instrument, amount: str, price: str) -> Amounts:
    """Amounts of a notional in the quote coin: coins = notional / price."""
    if instrument.inverse or instrument.contract_size == 1:
        return inverse(amount, price, Decimal(1), NAME, _FIELDS)
    positive(amount, NAME, _FIELDS[0])
    positive(price, NAME, _FIELDS[1])
    per_coin = _EXACT.divide(Decimal(price), instrument.contract_size)
    usd = Decimal(amount)
    return Amounts(float(per_coin), float(_EXACT.divide(usd, per_coin)), notional(usd, NAME))


def text_time_ms(text: str, field: str) -> int:
    """A time in ms as a text. Raises FrameRefused."""
    if not (text.isascii() and text.isdigit() and len(text) == TIME_CHARACTERS):
        raise refusal(NAME, field, text, f"ms since 1970 as a text of {TIME_CHARACTERS} digits")
    return time_ms(int(text), NAME, field)
