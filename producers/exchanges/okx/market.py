"""OKX v5: open interest, funding and mark prices of swaps and futures, websocket and REST.

Sources, as of 2026-11-23 (www.okx.com/docs-v5, live bodies):
- open-interest: `oi` contracts, `oiCcy` coins, `oiUsd` USD (absent until 2022); inverse: oi x contract size is oiUsd.
  One side (the usual reading, not proven).
- funding-rate: `fundingRate` is charged at `fundingTime`, which is the NEXT settlement; `nextFundingTime` is the one
  after, so the interval is their difference. A row without `fundingRate` has only the rate of the one after: nothing.
- funding-rate-history: `realizedRate` was charged at `fundingTime`.
- mark-price: `markPx` in USD per coin."""

from collections.abc import Mapping
from typing import Final

import msgspec

from producers.exchange import MarketEvent
from producers.exchanges.okx.instruments import described, pays_funding
from producers.exchanges.okx.liquidations import stated_ms
from producers.figures import (
    INTERVAL_HOURS_MAX,
    MS_PER_HOUR,
    amount,
    funding,
    mark_price,
    market_rows,
    nearest_minute,
    number,
    open_interest,
    read_row,
)
from producers.instruments import Instrument, Instruments
from producers.marks import Marks
from producers.settlements import intervals_hours
from schemas.errors import FrameRefused, UnknownInstrument
from schemas.records import Funding, OpenInterest
from schemas.words import Exchange

NAME: Final = Exchange.OKX.value
CHANNELS: Final = ("open-interest", "funding-rate", "mark-price")
OPTION: Final = "OPTION"


class _Row(msgspec.Struct, gc=False):
    """A row of open-interest, funding-rate, funding-rate-history or mark-price."""

    instId: str
    instType: str = ""
    ts: str = ""
    oi: str = ""
    oiCcy: str = ""
    oiUsd: str = ""
    markPx: str = ""
    fundingRate: str = ""
    realizedRate: str = ""
    fundingTime: str = ""
    nextFundingTime: str = ""


class _Argument(msgspec.Struct):
    channel: str = ""


class _Body(msgspec.Struct):
    """A websocket frame, a REST answer, or one element of its list."""

    arg: _Argument | None = None
    event: str = ""
    code: str = ""
    msg: str = ""
    data: list[msgspec.Raw] = []
    instId: str = ""
    details: msgspec.Raw = msgspec.Raw()


_BODIES: Final = msgspec.json.Decoder(_Body)
_LISTS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_ROWS: Final = msgspec.json.Decoder(_Row)
_SETTLED: Final = b'"realizedRate"'


def decode(body: bytes, *, received_time_us: int, instruments: Instruments, marks: Marks) -> list[MarketEvent]:
    """A frame of the three channels, or a body of the REST lists, its `data` or a row of it; see `MarketDecoder`."""
    rows = _rows(body)
    hours = _intervals_hours(rows) if _SETTLED in body else {}

    def row_events(raw: msgspec.Raw) -> list[MarketEvent]:
        row = read_row(_ROWS, raw, NAME)
        if row.instType == OPTION:
            return []
        instrument = described(row.instId, instruments)
        at_ms = stated_ms(row.ts, "ts") if row.ts else received_time_us // 1000
        price = mark_price(row.markPx, NAME, "markPx")
        if price is not None:
            marks.set(row.instId, price, at_ms)
        events: list[MarketEvent] = []
        if row.oi:
            events.append(_open_interest(row, instrument, instruments, at_ms, received_time_us, marks))
        if row.realizedRate:
            events.append(_settled(row, instrument, hours, marks, received_time_us))
        elif row.fundingRate and pays_funding(instrument):
            events.append(_predicted(row, instrument, at_ms, received_time_us, marks))
        return events

    return market_rows(rows, row_events)


def _rows(body: bytes) -> list[msgspec.Raw]:
    """The rows of a body; none for acks, pongs and other channels. Raises FrameRefused for errors and unknown kinds."""
    if body == b"pong":
        return []
    try:
        message = _Body(code="0", data=_LISTS.decode(body)) if body.lstrip()[:1] == b"[" else _BODIES.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the body is not market data of this exchange: {exc}") from exc
    if message.event or bytes(message.details):
        return []
    if message.arg is not None:
        return message.data if message.arg.channel in CHANNELS else []
    if message.code:
        if message.code != "0":
            raise FrameRefused(f"decoding {NAME}: the answer is {message.code[:20]} {message.msg[:200]!r}")
        return message.data
    if message.instId:
        return [msgspec.Raw(body)]
    raise FrameRefused(f"decoding {NAME}: the body has none of arg, event, code and instId, so its kind is unknown")


def _open_interest(
    row: _Row, instrument: Instrument, instruments: Instruments, at_ms: int, received_time_us: int, marks: Marks
) -> OpenInterest:
    """Coins and USD as stated; what is not stated by the contract's size, as far as that is known."""
    contracts = amount(row.oi, NAME, "oi")
    coins = amount(row.oiCcy, NAME, "oiCcy") if row.oiCcy else None
    usd = amount(row.oiUsd, NAME, "oiUsd") if row.oiUsd else None
    if usd is None and instrument.inverse:
        usd = contracts * instrument.contract_size
    if coins is None and not instrument.inverse and row.instId in instruments:
        coins = contracts * instrument.contract_size
    if coins is None and usd is None:
        raise UnknownInstrument(
            f"decoding {NAME}: {row.instId[:64]!r} states contracts alone and its contract size is not known"
        )
    return open_interest(
        instrument,
        coins=coins,
        usd=usd,
        mark=marks.get(row.instId),
        time_ms=at_ms,
        received_time_us=received_time_us,
    )


def _predicted(row: _Row, instrument: Instrument, at_ms: int, received_time_us: int, marks: Marks) -> Funding:
    next_ms = stated_ms(row.fundingTime, "fundingTime")
    if row.nextFundingTime:
        hours = (stated_ms(row.nextFundingTime, "nextFundingTime") - next_ms) / MS_PER_HOUR
        if 0 < hours <= INTERVAL_HOURS_MAX:
            marks.interval_hours[row.instId] = hours
    return funding(
        instrument,
        rate=number(row.fundingRate, NAME, "fundingRate"),
        interval_hours=marks.interval_hours.get(row.instId),
        next_funding_time_ms=next_ms,
        settled=False,
        time_ms=at_ms,
        received_time_us=received_time_us,
    )


def _intervals_hours(rows: list[msgspec.Raw]) -> dict[int, float | None]:
    """Hours between the settlements of one answer, which is of one contract, by their times."""
    times = [stated_ms(read_row(_ROWS, row, NAME).fundingTime, "fundingTime") for row in rows]
    return dict(zip(times, intervals_hours(times), strict=True))


def _settled(
    row: _Row, instrument: Instrument, hours: dict[int, float | None], marks: Marks, received_time_us: int
) -> Funding:
    """A settled rate; a row that is alone has the interval of today."""
    at_ms = stated_ms(row.fundingTime, "fundingTime")
    return funding(
        instrument,
        rate=number(row.realizedRate, NAME, "realizedRate"),
        interval_hours=hours.get(at_ms) or marks.interval_hours.get(row.instId),
        next_funding_time_ms=None,
        settled=True,
        time_ms=nearest_minute(at_ms),
        received_time_us=received_time_us,
    )


def settled_window(from_ms: int, to_ms: int) -> Mapping[str, str | int]:
    """Parameters of funding-rate-history for a span: rows later than `before` and earlier than `after`."""
    return {"before": from_ms - 1, "after": to_ms + 1}
