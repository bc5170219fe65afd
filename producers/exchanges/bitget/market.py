"""Bitget: open interest and funding, websocket and REST, v3 and v2.

Sources, as of 2026-11-23 (bitget.com/api-doc; live bodies of 2026-09):
- GET /api/v3/market/tickers?category= and the v3 topic `ticker`: `openInterest` in coins of the symbol (also of
  SHIBUSDT, and of 1000BONKPERP thousands), of coin-margined contracts in USD; GET /api/v2/mix/market/tickers and the
  v2 channel `ticker` have it as `holdingAmount`, /open-interest as `openInterest` or `size`. See OPEN_INTEREST_SIDES.
- GET /api/v2/mix|v3/market/current-fund-rate: the rate to be charged at `nextUpdate`, every `fundingRateInterval`
  hours; the text "null" stands for nothing. Tickers have the rate without an interval: what was learned before, else 8
  h.
- GET /api/v2/mix/market/history-fund-rate: settled, no intervals: by the times of its rows."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

from producers.exchange import MarketEvent
from producers.exchanges.bitget.instruments import TEST_LISTINGS, is_dated
from producers.exchanges.bitget.liquidations import text_time_ms
from producers.figures import amount, funding, mark_price, market_rows, nearest_minute, number, open_interest, per_coin
from producers.instruments import Instrument, Instruments
from producers.marks import Marks
from producers.settlements import intervals_hours
from schemas.errors import FrameRefused
from schemas.records import OpenInterest
from schemas.words import Exchange

NAME: Final = Exchange.BITGET.value
TICKER: Final = "ticker"
OPEN_INTEREST_SIDES: Final = 1  # UNSURE: no source says whether both sides are counted; the usual reading
NOTHING: Final = ("", "null")  # texts
_OK: Final = "00000"


class _Row(msgspec.Struct, gc=False):
    """A row of a ticker, of open-interest, current-fund-rate or history-fund-rate (`fundingTime`)."""

    symbol: str = ""
    instId: str = ""
    ts: str | int | None = None
    openInterest: str | None = None
    holdingAmount: str | None = None
    size: str | None = None
    markPrice: str | None = None
    fundingRate: str | None = None
    fundingRateInterval: str | None = None
    nextUpdate: str | None = None
    nextFundingTime: str | None = None
    fundingTime: str | None = None
    fundingRateTimestamp: str | None = None


class _Argument(msgspec.Struct):
    instType: str = ""
    topic: str = ""
    channel: str = ""
    symbol: str = ""
    instId: str = ""


class _Lists(msgspec.Struct):
    rows: list[_Row] = msgspec.field(name="list", default_factory=list)
    openInterestList: list[_Row] = []
    resultList: list[_Row] = []
    ts: str | int | None = None


class _Body(_Row):
    """A frame (`arg`), an answer (`code`), or a row alone."""

    arg: _Argument | None = None
    event: str = ""
    code: str | int = ""
    msg: str = ""
    requestTime: int = 0
    data: list[_Row] | _Lists | None = None


_BODIES: Final = msgspec.json.Decoder(_Body)
_LISTS: Final = msgspec.json.Decoder(list[_Row])


def decode(body: bytes, *, received_time_us: int, instruments: Instruments, marks: Marks) -> list[MarketEvent]:
    """A frame of `ticker`, or a body (or a list of rows, or one row) of the REST lists; see `MarketDecoder`."""
    if body == b"pong":
        return []
    try:
        message = _Body(data=_LISTS.decode(body)) if body.lstrip()[:1] == b"[" else _BODIES.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the body is not market data of this exchange: {exc}") from exc
    if message.event or (message.arg is not None and not _is_ticker(message.arg)):
        return []
    rows = _rows(message)
    at_ms = _stated_ms(message) or received_time_us // 1_000
    symbol = message.arg.symbol or message.arg.instId if message.arg is not None else ""
    settled = [row for row in rows if row.fundingTime or row.fundingRateTimestamp]
    if settled:
        return _settled(settled, received_time_us, instruments, marks)

    def row_events(row: _Row) -> list[MarketEvent]:
        return _row_events(row, row.symbol or row.instId or symbol, at_ms, received_time_us, instruments, marks)

    return market_rows(rows, row_events)


def decode_open_interest(
    body: bytes, *, received_time_us: int, instruments: Instruments, marks: Marks
) -> list[MarketEvent]:
    """The same of tickers, without their rates: those of current-fund-rate say more."""
    events = decode(body, received_time_us=received_time_us, instruments=instruments, marks=marks)
    return [event for event in events if isinstance(event, OpenInterest)]


def _is_ticker(argument: _Argument) -> bool:
    return TICKER in (argument.topic, argument.channel) and argument.instType.lower().endswith("futures")


def _rows(message: _Body) -> Sequence[_Row]:
    if message.code not in ("", _OK):
        raise FrameRefused(f"decoding {NAME}: the answer is {str(message.code)[:20]} {message.msg[:200]!r}")
    if isinstance(message.data, _Lists):
        lists = message.data
        return [*lists.rows, *lists.openInterestList, *lists.resultList]
    if message.data is not None:
        return message.data
    if not (message.symbol or message.instId):
        raise FrameRefused(f"decoding {NAME}: the body has neither data nor a symbol, so its kind is not known")
    return [message]


def _stated_ms(message: _Body) -> int | None:
    """Time of a whole frame or answer; of a row alone its own counts."""
    within = message.data.ts if isinstance(message.data, _Lists) else None
    for stated in (within, message.ts if message.data is not None else None, message.requestTime or None):
        if stated not in (None, *NOTHING):
            return text_time_ms(str(stated), "ts")
    return None


def _row_events(
    row: _Row, symbol: str, at_ms: int, received_time_us: int, instruments: Instruments, marks: Marks
) -> list[MarketEvent]:
    if not symbol:
        raise FrameRefused(f"decoding {NAME}: a row names no symbol, so it cannot be told whose figures they are")
    if symbol.startswith(TEST_LISTINGS):
        return []
    instrument = instruments[symbol]
    if row.ts is not None and row.ts not in NOTHING:
        at_ms = text_time_ms(str(row.ts), "ts")
    price = mark_price("" if row.markPrice is None else row.markPrice, NAME, "markPrice")
    if price is not None:
        marks.set(symbol, per_coin(price, instrument), at_ms)
    if row.fundingRateInterval is not None and row.fundingRateInterval not in NOTHING:
        marks.interval_hours[symbol] = float(number(row.fundingRateInterval, NAME, "fundingRateInterval"))
    events: list[MarketEvent] = []
    for stated in (row.openInterest, row.holdingAmount, row.size):
        if stated is not None and stated not in NOTHING:
            total = amount(stated, NAME, "openInterest") / OPEN_INTEREST_SIDES * instrument.contract_size
            events.append(_open_interest(instrument, total, at_ms, received_time_us, marks))
            break
    if row.fundingRate is not None and row.fundingRate not in NOTHING and not is_dated(symbol):
        due = next((each for each in (row.nextUpdate, row.nextFundingTime) if each not in (None, "0", *NOTHING)), None)
        events.append(
            funding(
                instrument, rate=number(row.fundingRate, NAME, "fundingRate"),
                interval_hours=marks.interval_hours.get(symbol),
                next_funding_time_ms=None if due is None else text_time_ms(due, "nextUpdate"),
                settled=False, time_ms=at_ms, received_time_us=received_time_us,
            )
        )  # fmt: skip
    return events


def _open_interest(
    instrument: Instrument, total: Decimal, at_ms: int, received_time_us: int, marks: Marks
) -> MarketEvent:
    return open_interest(
        instrument, coins=None if instrument.inverse else total, usd=total if instrument.inverse else None,
        mark=marks.get(instrument.instrument), time_ms=at_ms, received_time_us=received_time_us,
    )  # fmt: skip


def _settled(rows: Sequence[_Row], received_time_us: int, instruments: Instruments, marks: Marks) -> list[MarketEvent]:
    """A history of one contract: the call asks for one."""
    times = [
        nearest_minute(text_time_ms(row.fundingTime or row.fundingRateTimestamp or "", "fundingTime")) for row in rows
    ]
    if len({row.symbol for row in rows}) > 1:
        raise FrameRefused(f"decoding {NAME}: a history of funding is of one contract, this is of several")

    def row_events(placed: tuple[_Row, int, float | None]) -> list[MarketEvent]:
        row, at_ms, hours = placed
        return [
            funding(
                instruments[row.symbol], rate=number(row.fundingRate or "", NAME, "fundingRate"),
                interval_hours=hours or marks.interval_hours.get(row.symbol), next_funding_time_ms=None,
                settled=True, time_ms=at_ms, received_time_us=received_time_us,
            )
        ]  # fmt: skip

    return market_rows(list(zip(rows, times, intervals_hours(times), strict=True)), row_events)
