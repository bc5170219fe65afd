"""Bybit's formats of old, for recordings.

- `liquidation.{symbol}` until 2026-08-18 (then "error:handler not found"): one order a second and symbol; `side` means
  the same as today (Bybit's answer that tardis-node quotes: "When side Buy, a long position was liquidated"). Keys
  `qty`, `time`; since 2023 `size`, `updatedTime`. Recordings made from the REST list hold an array of numbers.
- `instrument_info.100ms.{symbol}` and GET /v2/public/open-interest, before v5 (2023): integers scaled by 10^4 (prices),
  10^6 (rates, times in µs) and 10^8; open interest of both sides, USD of an inverse contract."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

from producers.amounts import inverse, linear_by_unit, refusal, time_ms
from producers.exchange import FRAME_BYTES_MAX, MarketEvent, decode_rows
from producers.exchanges.bybit import liquidations, market
from producers.figures import amount, funding, mark_price, market_rows, number, open_interest, per_coin
from producers.instruments import Instrument, Instruments
from producers.marks import Marks
from schemas.errors import FrameRefused
from schemas.records import Liquidation
from schemas.words import Completeness, Exchange, PriceKind

NAME: Final = Exchange.BYBIT.value
LIQUIDATIONS_UNTIL_MS: Final = 1_787_011_200_000  # 2026-08-18
MARKET_UNTIL_MS: Final = 1_704_067_200_000  # 2024-01-01; UNSURE when in 2023 the last addresses before v5 were closed
TICKERS: Final = "instrument_info."
_Number = msgspec.Raw  # a text or a number, as it stands


class _Order(msgspec.Struct, gc=False):
    symbol: str
    side: str
    price: _Number
    qty: _Number = msgspec.Raw()
    size: _Number = msgspec.Raw()
    time: int = 0
    updatedTime: int = 0


class _Frame(msgspec.Struct):
    topic: str = ""
    data: msgspec.Raw = msgspec.Raw()
    timestamp_e6: _Number = msgspec.Raw()
    timestampE6: _Number = msgspec.Raw()
    ret_code: int | None = None
    ret_msg: str = ""
    result: msgspec.Raw = msgspec.Raw()


class _Ticker(msgspec.Struct, gc=False):
    symbol: str
    mark_price_e4: _Number = msgspec.Raw()
    open_interest: _Number = msgspec.Raw()
    open_interest_e8: _Number = msgspec.Raw()
    open_value_e8: _Number = msgspec.Raw()
    funding_rate_e6: _Number = msgspec.Raw()
    next_funding_time: str = ""
    timestamp: int = 0


class _Update(msgspec.Struct):
    update: list[_Ticker]


_FRAMES: Final = msgspec.json.Decoder(_Frame)
_ORDERS: Final = msgspec.json.Decoder(_Order | list[_Order])
_UPDATES: Final = msgspec.json.Decoder(_Update)
_TICKERS: Final = msgspec.json.Decoder(_Ticker)
_LISTS: Final = msgspec.json.Decoder(list[_Ticker])


def decode_liquidations(frame: bytes, *, received_time_us: int, instruments: Instruments) -> list[Liquidation]:
    """A frame of the time before `LIQUIDATIONS_UNTIL_MS`, in which the topic of today came up; see `Decoder`."""
    if len(frame) > FRAME_BYTES_MAX:
        raise refusal(NAME, "the frame", f"{len(frame)} bytes", f"at most {FRAME_BYTES_MAX}")
    try:
        message = _FRAMES.decode(frame) if frame.lstrip()[:1] != b"[" else _Frame()  # rows of today alone
        if not message.topic.startswith(liquidations.LEGACY_TOPIC):
            return liquidations.decode(frame, received_time_us=received_time_us, instruments=instruments)
        orders = _ORDERS.decode(message.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the frame is not one of its legacy topic: {exc}") from exc
    seen: dict[str, int] = {}

    def order_event(order: _Order) -> list[Liquidation]:
        side = liquidations.SIDES.get(order.side)
        if side is None:
            raise refusal(NAME, "data.side", order.side, "Buy or Sell")
        instrument = instruments[order.symbol]
        quantity, price, at_ms = _text(order.qty) or _text(order.size), _text(order.price), order.time
        at_ms = time_ms(at_ms or order.updatedTime, NAME, "data.time")
        key = f"{NAME}:{order.symbol}:{order.side}:{at_ms}:{quantity}:{price}"
        k = seen[key] = seen.get(key, -1) + 1
        amounts = (inverse if instrument.inverse else linear_by_unit)(
            quantity, price, instrument.contract_size, NAME, ("data.qty", "data.price")
        )
        return [
            Liquidation(
                event_id=f"{key}:{k}",
                exchange=Exchange.BYBIT,
                asset=instrument.asset,
                instrument=order.symbol,
                market=instrument.market,
                side=side,
                price=amounts.price,
                quantity=amounts.quantity,
                notional_usd=amounts.notional_usd,
                price_kind=PriceKind.BANKRUPTCY,
                completeness=Completeness.LATEST_PER_SECOND,
                event_time_ms=at_ms,
                received_time_us=received_time_us,
            )
        ]

    return decode_rows(orders if isinstance(orders, list) else [orders], order_event)


def decode_market(body: bytes, *, received_time_us: int, instruments: Instruments, marks: Marks) -> list[MarketEvent]:
    """A body of the time before `MARKET_UNTIL_MS`, in which v5 came up; see `MarketDecoder`."""
    try:
        message = _FRAMES.decode(body) if body.lstrip()[:1] != b"[" else _Frame()  # rows of today alone
        if message.topic.startswith(TICKERS):
            scaled = _text(message.timestamp_e6) or _text(message.timestampE6)
            at_ms = time_ms(int(amount(scaled, NAME, "timestamp_e6")) // 1000, NAME, "timestamp_e6")
            is_delta = b'"update"' in bytes(message.data)
            rows = _UPDATES.decode(message.data).update if is_delta else [_TICKERS.decode(message.data)]
        elif message.ret_code is not None:
            if message.ret_code != 0:
                raise FrameRefused(f"decoding {NAME}: the answer is {message.ret_code} {message.ret_msg[:200]!r}")
            at_ms, rows = received_time_us // 1000, _LISTS.decode(message.result)
        else:
            return market.decode(body, received_time_us=received_time_us, instruments=instruments, marks=marks)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the body is not one of its formats before v5: {exc}") from exc
    return market_rows(rows, lambda row: _events(row, instruments[row.symbol], at_ms, received_time_us, marks))


def _events(row: _Ticker, instrument: Instrument, at_ms: int, received_time_us: int, marks: Marks) -> list[MarketEvent]:
    if row.timestamp:
        at_ms = time_ms(row.timestamp * 1000, NAME, "timestamp")
    price = mark_price(_text(row.mark_price_e4), NAME, "mark_price_e4")
    if price is not None:
        marks.set(row.symbol, per_coin(price.scaleb(-4), instrument), at_ms)
    events: list[MarketEvent] = []
    units = _scaled(row.open_interest, 0, "open_interest")
    if units is None:
        units = _scaled(row.open_interest_e8, -8, "open_interest_e8")
    if units is not None:
        units /= market.SIDES_OF_A_CONTRACT
        events.append(
            open_interest(
                instrument,
                coins=None if instrument.inverse else units * instrument.contract_size,
                usd=units if instrument.inverse else None,
                mark=marks.get(row.symbol),
                time_ms=at_ms,
                received_time_us=received_time_us,
            )
        )
    rate = _scaled(row.funding_rate_e6, -6, "funding_rate_e6")
    if rate is not None:
        events.append(
            funding(
                instrument,
                rate=rate,
                interval_hours=None,
                next_funding_time_ms=_moment(row.next_funding_time),
                settled=False,
                time_ms=at_ms,
                received_time_us=received_time_us,
            )
        )
    return events


def _text(value: msgspec.Raw) -> str:
    return bytes(value).decode(errors="replace").strip('"')


def _scaled(value: msgspec.Raw, power: int, field: str) -> Decimal | None:
    text = _text(value)
    return number(text, NAME, field).scaleb(power) if text else None


def _moment(text: str) -> int | None:
    """Ms of an ISO 8601 time in UTC; None for an empty one and for 1970, which stands for none."""
    if not text or text.startswith("1970"):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise refusal(NAME, "next_funding_time", text, "a time like 2019-11-06T16:00:00Z") from exc
    return time_ms(int(moment.replace(tzinfo=UTC).timestamp() * 1000), NAME, "next_funding_time")
