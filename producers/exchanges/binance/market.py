"""Binance: open interest and funding of USD-M and COIN-M contracts, websocket and REST.

Sources, as of 2026-11-23 (developers.binance.com, derivatives; live bodies of 2026):
- GET /fapi/v1/openInterest?symbol= `openInterest` in coins of the symbol (1000PEPE: thousands); /dapi the same in
  contracts of `contractSize` USD. One-sided (the usual reading, no source proves it).
- GET /fapi|dapi/v1/premiumIndex: `lastFundingRate`, despite its name, is the running rate to be charged at
  `nextFundingTime`. Delivery contracts have no rate, or `nextFundingTime` 0.
- GET /fapi|dapi/v1/fundingInfo lists only the symbols whose interval was changed; the others have 8 h.
- GET /futures/data/openInterestHist?symbol= `sumOpenInterest` in coins, `sumOpenInterestValue` in USD. COIN-M rows name
  a pair instead, and the docs contradict each other on their units: refused.
- GET /fapi|dapi/v1/fundingRate: settled; `fundingTime` may be some ms past the hour. No intervals: by the times of a
  contract's rows, else what fundingInfo said.
- `<symbol>@markPrice`, `!markPrice@arr`: `p` mark, `r` running rate, `T` next settlement; `ap` is a moving average."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from producers.amounts import refusal, time_ms
from producers.exchange import MarketEvent, Params
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
from schemas.records import Funding, OpenInterest
from schemas.words import Exchange

NAME: Final = Exchange.BINANCE.value
_SETTLED: Final = b'"fundingTime"'
SETTLED_ROWS_MAX: Final = 1_000  # of one page of fundingRate, the exchange's limit
_STREAMS: Final = ("@markPrice", "!markPrice", "@openInterest")  # the last one in recordings of polled open interest


class _Row(msgspec.Struct, gc=False):
    """A row of openInterest(Hist), premiumIndex, fundingRate, fundingInfo (`symbol`) or of markPrice (`s`)."""

    symbol: str = ""
    s: str = ""
    e: str = ""
    E: int = 0
    time: int = 0
    openInterest: str | None = None
    sumOpenInterest: str | None = None
    sumOpenInterestValue: str = ""
    timestamp: int | str = 0
    markPrice: str = ""
    p: str = ""
    lastFundingRate: str = ""
    nextFundingTime: int = 0
    r: str = ""
    T: int = 0
    fundingRate: str = ""
    fundingTime: int = 0
    fundingIntervalHours: float | None = None


class _Body(msgspec.Struct):
    """What tells bodies that are no list apart."""

    stream: str = ""
    data: msgspec.Raw = msgspec.Raw()
    e: str = ""
    symbol: str = ""
    id: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_ROWS: Final = msgspec.json.Decoder(_Row)
_BODIES: Final = msgspec.json.Decoder(_Body)
_LISTS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def decode(body: bytes, *, received_time_us: int, instruments: Instruments, marks: Marks) -> list[MarketEvent]:
    """A frame of markPrice, or a body (or one element) of the REST lists; see `MarketDecoder`."""
    rows = _rows(body)
    hours = _intervals_hours(rows) if _SETTLED in body else {}

    def row_events(raw: msgspec.Raw) -> list[MarketEvent]:
        row = read_row(_ROWS, raw, NAME)
        if row.fundingTime:
            return [_settled(row, hours, received_time_us, instruments, marks)]
        return _row_events(row, received_time_us, instruments, marks)

    return market_rows(rows, row_events)


def _rows(body: bytes) -> list[msgspec.Raw]:
    """The rows of a body; none for acks and other streams. Raises FrameRefused for a body of an unknown kind."""
    try:
        if body.lstrip()[:1] == b"[":
            return _LISTS.decode(body)
        message = _BODIES.decode(body)
        if message.stream:
            if not any(name in message.stream for name in _STREAMS):
                return []
            return _LISTS.decode(message.data) if bytes(message.data)[:1] == b"[" else [message.data]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the body is not market data of this exchange: {exc}") from exc
    if message.symbol or message.e == "markPriceUpdate":
        return [msgspec.Raw(body)]
    if message.e or bytes(message.id) or bytes(message.error):
        return []
    raise FrameRefused(f"decoding {NAME}: the body has none of stream, e, symbol, id and error, so its kind is unknown")


def _row_events(row: _Row, received_time_us: int, instruments: Instruments, marks: Marks) -> list[MarketEvent]:
    if row.e not in ("", "markPriceUpdate"):
        return []
    symbol = row.symbol or row.s
    if not symbol:
        raise FrameRefused(f"decoding {NAME}: a row names no symbol, so it cannot be told whose figures they are")
    instrument = instruments[symbol]
    if row.fundingIntervalHours is not None:
        marks.interval_hours[symbol] = row.fundingIntervalHours
        return []
    if row.sumOpenInterest is not None:
        return [_open_interest_of_old(row, instrument, received_time_us)]
    stated_ms = row.time or row.E
    at_ms = time_ms(stated_ms, NAME, "time" if row.time else "E") if stated_ms else received_time_us // 1000
    price = mark_price(row.markPrice or row.p, NAME, "markPrice" if row.markPrice else "p")
    if price is not None:
        marks.set(symbol, per_coin(price, instrument), at_ms)
    if row.openInterest is not None:
        return [_open_interest(row.openInterest, instrument, at_ms, received_time_us, marks)]
    rate, next_ms = row.lastFundingRate or row.r, row.nextFundingTime or row.T
    if not rate or not next_ms:
        return []
    return [
        funding(
            instrument,
            rate=number(rate, NAME, "lastFundingRate" if row.lastFundingRate else "r"),
            interval_hours=marks.interval_hours.get(symbol),
            next_funding_time_ms=time_ms(next_ms, NAME, "nextFundingTime" if row.nextFundingTime else "T"),
            settled=False,
            time_ms=at_ms,
            received_time_us=received_time_us,
        )
    ]


def _open_interest(text: str, instrument: Instrument, at_ms: int, received_time_us: int, marks: Marks) -> OpenInterest:
    """Units of `contract_size`: coins of a linear contract, USD of an inverse one."""
    total = amount(text, NAME, "openInterest") * instrument.contract_size
    return open_interest(
        instrument,
        coins=None if instrument.inverse else total,
        usd=total if instrument.inverse else None,
        mark=marks.get(instrument.instrument),
        time_ms=at_ms,
        received_time_us=received_time_us,
    )


def _open_interest_of_old(row: _Row, instrument: Instrument, received_time_us: int) -> OpenInterest:
    if instrument.inverse:
        raise FrameRefused(f"decoding {NAME}: the units of openInterestHist are not known of COIN-M contracts")
    stated = str(row.timestamp)
    if not (stated.isascii() and stated.isdigit()):
        raise refusal(NAME, "timestamp", row.timestamp, "ms since 1970")
    return open_interest(
        instrument,
        coins=amount(row.sumOpenInterest or "", NAME, "sumOpenInterest") * instrument.contract_size,
        usd=amount(row.sumOpenInterestValue, NAME, "sumOpenInterestValue"),
        mark=None,
        time_ms=time_ms(int(stated), NAME, "timestamp"),
        received_time_us=received_time_us,
    )


def _intervals_hours(rows: Sequence[msgspec.Raw]) -> dict[tuple[str, int], float | None]:
    """Hours between the settlements of each contract of an answer, by their times."""
    times: dict[str, list[int]] = {}
    for raw in rows:
        try:
            row = read_row(_ROWS, raw, NAME)
        except FrameRefused:
            continue  # refused where its event would be made, beside the events of the others
        times.setdefault(row.symbol, []).append(nearest_minute(row.fundingTime))
    return {
        (symbol, at_ms): hours
        for symbol, settled in times.items()
        for at_ms, hours in zip(settled, intervals_hours(settled), strict=True)
    }


def _settled(
    row: _Row,
    hours: Mapping[tuple[str, int], float | None],
    received_time_us: int,
    instruments: Instruments,
    marks: Marks,
) -> Funding:
    if not row.fundingRate:
        raise refusal(NAME, "fundingRate", row.fundingRate, "a decimal number")
    at_ms = nearest_minute(time_ms(row.fundingTime, NAME, "fundingTime"))
    return funding(
        instruments[row.symbol],
        rate=number(row.fundingRate, NAME, "fundingRate"),
        interval_hours=hours.get((row.symbol, at_ms)) or marks.interval_hours.get(row.symbol),
        next_funding_time_ms=None,
        settled=True,
        time_ms=at_ms,
        received_time_us=received_time_us,
    )


def settled_window(from_ms: int, to_ms: int) -> Mapping[str, str | int]:
    """Parameters of fundingRate for a span."""
    return {"startTime": from_ms, "endTime": to_ms, "limit": SETTLED_ROWS_MAX}


def next_settled_page(body: bytes) -> Params | None:
    """The page after a full one begins at its last settlement: rows of one settlement may lie on both."""
    try:
        rows = _LISTS.decode(body)
        times = [_ROWS.decode(row).fundingTime for row in (rows[0], rows[-1])] if len(rows) >= SETTLED_ROWS_MAX else []
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return {"startTime": max(times[1], times[0] + 1)} if times else None
