"""Bybit v5, linear and inverse: open interest and funding, websocket and REST.

Sources, as of 2026-11-23 (bybit-exchange/docs, docs/v5, changelog of 2026-06-11, and live bodies):
- market/tickers, websocket/public/ticker: `openInterest` counts BOTH sides of every contract, `singleOpenInterest`
  (since 2026-06-11) one; without it half of the former. Linear: coins, `...Value` in USD; inverse: USD, `...Value` in
  coins.
  `fundingRate` is charged at `nextFundingTime` ("" or "0" for dated contracts); `fundingIntervalHour`.
- A websocket delta has only the fields that changed: what is absent has not changed, and gives nothing.
- market/open-interest: rows of {openInterest, singleOpenInterest, timestamp}, newest first, the symbol beside the list.
- market/funding/history: settled rates; needs startTime and endTime."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from producers.amounts import refusal, time_ms
from producers.exchange import MarketEvent
from producers.figures import (
    amount,
    funding,
    mark_price,
    market_rows,
    nearest_minute,
    number,
    open_interest,
    per_coin,
    read_row,
)
from producers.instruments import Instrument, Instruments
from producers.marks import Marks
from producers.settlements import intervals_hours
from schemas.errors import FrameRefused
from schemas.records import Funding
from schemas.words import Exchange

NAME: Final = Exchange.BYBIT.value
TICKERS: Final = "tickers."
SETTLED_ROWS_MAX: Final = 200  # of one answer, the exchange's limit: 24 h have at most 24
SIDES_OF_A_CONTRACT: Final = 2
SECONDS_DIGITS: Final = 10  # one captured row of open interest has seconds where the others have ms


class _Row(msgspec.Struct, gc=False):
    """A row of tickers, open-interest or funding/history."""

    symbol: str = ""
    markPrice: str = ""
    openInterest: str = ""
    openInterestValue: str = ""
    singleOpenInterest: str = ""
    singleOpenInterestValue: str = ""
    fundingRate: str = ""
    nextFundingTime: str = ""
    fundingIntervalHour: str = ""
    fundingRateTimestamp: str = ""
    timestamp: str = ""
    S: msgspec.Raw = msgspec.Raw()  # of liquidations, which are no market data


class _Result(msgspec.Struct):
    symbol: str = ""
    rows: list[msgspec.Raw] = msgspec.field(name="list", default_factory=list)


class _Body(msgspec.Struct):
    """A websocket frame, a REST answer, or one element of its list."""

    topic: str = ""
    data: msgspec.Raw = msgspec.Raw()
    ts: int = 0
    op: str = ""
    retCode: int | None = None
    retMsg: str = ""
    result: _Result | None = None
    time: int = 0
    symbol: str = ""
    S: msgspec.Raw = msgspec.Raw()


_SETTLED: Final = b'"fundingRateTimestamp"'
_BODIES: Final = msgspec.json.Decoder(_Body)
_LISTS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_ROWS: Final = msgspec.json.Decoder(_Row)


def decode(body: bytes, *, received_time_us: int, instruments: Instruments, marks: Marks) -> list[MarketEvent]:
    """A frame of tickers, or a body of the REST lists (or the list, or a row of it); see `MarketDecoder`."""
    try:
        if body.lstrip()[:1] == b"[":
            message = _Body(retCode=0, result=_Result(rows=_LISTS.decode(body)))
        else:
            message = _BODIES.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the body is not market data of this exchange: {exc}") from exc
    rows = _rows(message, body)
    stated_ms = message.ts or message.time
    at_ms = time_ms(stated_ms, NAME, "ts" if message.ts else "time") if stated_ms else received_time_us // 1000
    whole = message.result.symbol if message.result else ""
    hours = _intervals_hours(rows) if _SETTLED in body else {}

    def row_events(raw: msgspec.Raw) -> list[MarketEvent]:
        row = read_row(_ROWS, raw, NAME)
        if bytes(row.S):
            return []
        instrument = instruments[row.symbol or whole]
        if row.fundingRateTimestamp:
            return [_settled(row, instrument, hours, marks, received_time_us)]
        return _ticker(row, instrument, at_ms, received_time_us, marks)

    return market_rows(rows, row_events)


def _rows(message: _Body, body: bytes) -> list[msgspec.Raw]:
    """The rows of a body; none for acks and other topics. Raises FrameRefused for errors and unknown kinds."""
    if message.topic:
        return [message.data] if message.topic.startswith(TICKERS) else []
    if message.op:
        return []
    if message.retCode is not None:
        if message.retCode != 0 or message.result is None:
            raise FrameRefused(f"decoding {NAME}: the answer is {message.retCode} {message.retMsg[:200]!r}")
        return message.result.rows
    if message.symbol or bytes(message.S):
        return [msgspec.Raw(body)]
    raise FrameRefused(f"decoding {NAME}: the body has none of topic, op, retCode and symbol, so its kind is unknown")


def _ticker(row: _Row, instrument: Instrument, at_ms: int, received_time_us: int, marks: Marks) -> list[MarketEvent]:
    symbol = instrument.instrument
    at_ms = _stated_ms(row.timestamp) if row.timestamp else at_ms
    price = mark_price(row.markPrice, NAME, "markPrice")
    if price is not None:
        marks.set(symbol, per_coin(price, instrument), at_ms)
    if row.fundingIntervalHour:
        marks.interval_hours[symbol] = float(amount(row.fundingIntervalHour, NAME, "fundingIntervalHour"))
    events: list[MarketEvent] = []
    units = _one_sided(row.singleOpenInterest, row.openInterest, "openInterest")
    if units is not None:
        value = _one_sided(row.singleOpenInterestValue, row.openInterestValue, "openInterestValue")
        coins, usd = (value, units) if instrument.inverse else (units * instrument.contract_size, value)
        mark = marks.get(symbol)
        events.append(
            open_interest(instrument, coins=coins, usd=usd, mark=mark, time_ms=at_ms, received_time_us=received_time_us)
        )
    if row.fundingRate and row.nextFundingTime != "0":
        events.append(
            funding(
                instrument,
                rate=number(row.fundingRate, NAME, "fundingRate"),
                interval_hours=marks.interval_hours.get(symbol),
                next_funding_time_ms=_stated_ms(row.nextFundingTime) if row.nextFundingTime else None,
                settled=False,
                time_ms=at_ms,
                received_time_us=received_time_us,
            )
        )
    return events


def _one_sided(single: str, both: str, field: str) -> Decimal | None:
    """The one-sided figure, or half of the two-sided one; None where neither stands (a delta without it)."""
    if single:
        return amount(single, NAME, field)
    return amount(both, NAME, field) / SIDES_OF_A_CONTRACT if both else None


def _intervals_hours(rows: list[msgspec.Raw]) -> dict[int, float | None]:
    """Hours between the settlements of one answer, which is of one contract, by their times."""
    times = [_stated_ms(read_row(_ROWS, row, NAME).fundingRateTimestamp) for row in rows]
    return dict(zip(times, intervals_hours(times), strict=True))


def _settled(
    row: _Row, instrument: Instrument, hours: dict[int, float | None], marks: Marks, received_time_us: int
) -> Funding:
    """A settled rate; a row that is alone has the interval of today."""
    at_ms = _stated_ms(row.fundingRateTimestamp)
    return funding(
        instrument,
        rate=number(row.fundingRate, NAME, "fundingRate"),
        interval_hours=hours.get(at_ms) or marks.interval_hours.get(instrument.instrument),
        next_funding_time_ms=None,
        settled=True,
        time_ms=nearest_minute(at_ms),
        received_time_us=received_time_us,
    )


def _stated_ms(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) in (SECONDS_DIGITS, SECONDS_DIGITS + 3)):
        raise refusal(NAME, "a time", text, "ms since 1970 as a text of 13 digits")
    return time_ms(int(text) * (1000 if len(text) == SECONDS_DIGITS else 1), NAME, "a time")


def settled_window(from_ms: int, to_ms: int) -> Mapping[str, str | int]:
    """Parameters of funding/history for a span."""
    return {"startTime": from_ms, "endTime": to_ms, "limit": SETTLED_ROWS_MAX}
