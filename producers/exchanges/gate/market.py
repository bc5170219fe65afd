"""Gate.io: open interest and funding, websocket and REST.

Sources, as of 2026-11-23:
- GET /api/v4/futures/{settle}/contracts: `position_size` is one-sided ("current total long position size");
  `funding_rate` is the current period's, `funding_interval` and `funding_next_apply` are in seconds.
- GET /api/v4/futures/{settle}/tickers and `futures.tickers`: `total_size` counts both sides (640,887,002 is twice the
  position_size 320,443,501 of the same hour). They name no interval: what the contracts said, else 8 h.
- `futures.contract_stats` and its REST list: `open_interest` counts both sides too; the REST rows name no contract, so
  they are refused.
- POST /api/v4/futures/{settle}/funding_rates {"contracts": [...]}: settled rates, stamped some seconds late. Rows of
  GET /funding_rate name no contract."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

from producers.amounts import time_ms
from producers.exchange import MarketEvent
from producers.exchanges.gate.instruments import contract, price_unit
from producers.figures import amount, funding, mark_price, market_rows, nearest_minute, number, open_interest
from producers.instruments import Instrument, Instruments
from producers.marks import Marks
from producers.settlements import intervals_hours
from schemas.errors import FrameRefused
from schemas.words import Exchange

NAME: Final = Exchange.GATE.value
TICKERS: Final = "futures.tickers"
STATISTICS: Final = "futures.contract_stats"
OPEN_INTEREST_SIDES: Final = 2  # counted in total_size and in open_interest of contract_stats
SECONDS_PER_HOUR: Final = 3_600
Number = str | int | float


class _Settled(msgspec.Struct):
    t: int  # seconds
    r: Number


class _Row(msgspec.Struct):
    """A row of contracts (`name`), tickers, contract_stats or funding_rates (`data`)."""

    name: str = ""
    contract: str = ""
    quanto_multiplier: Number | None = None
    mark_price: Number = ""
    position_size: Number | None = None  # contracts, one-sided
    total_size: Number | None = None  # contracts, both sides
    open_interest: Number | None = None  # contracts, both sides
    funding_rate: Number = ""
    funding_interval: int = 0  # seconds
    funding_next_apply: int | float = 0  # seconds
    time: int = 0  # seconds, of contract_stats
    data: list[_Settled] | None = None
    order_size: Number | None = None  # of liq_orders, which are no market data


class _Frame(msgspec.Struct):
    channel: str = ""
    event: str = ""
    time: int = 0
    time_ms: int = 0
    result: msgspec.Raw = msgspec.Raw()


_FRAMES: Final = msgspec.json.Decoder(_Frame)
_ROWS: Final = msgspec.json.Decoder(_Row)
_LISTS: Final = msgspec.json.Decoder(list[_Row])
_LISTS_OF_LISTS: Final = msgspec.json.Decoder(list[list[_Row]])  # what the docs show for funding_rates


def decode(body: bytes, *, received_time_us: int, instruments: Instruments, marks: Marks) -> list[MarketEvent]:
    """A body or an element of contracts, tickers or funding_rates, or a frame of `futures.tickers` or
    `futures.contract_stats`; see `MarketDecoder`."""
    at_ms = received_time_us // 1_000
    try:
        frame = None if body.lstrip()[:1] == b"[" else _FRAMES.decode(body)
        if frame is None or not frame.channel:
            rows = _rows(body)
        elif frame.channel in (TICKERS, STATISTICS) and frame.event == "update":
            rows = _rows(bytes(frame.result))
            at_ms = time_ms(frame.time_ms or frame.time * 1_000, NAME, "time")
        else:
            return []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the body is not market data of this exchange: {exc}") from exc
    latest = {row.name or row.contract or place: row for place, row in enumerate(rows)}  # a frame may repeat a contract

    def row_events(row: _Row) -> list[MarketEvent]:
        return _row_events(row, at_ms, received_time_us, instruments, marks)

    return market_rows(list(latest.values()), row_events)


def _rows(body: bytes) -> list[_Row]:
    start = body.lstrip()[:1]
    if start == b"{":
        return [_ROWS.decode(body)]
    if start == b"[" and body.lstrip()[1:].lstrip()[:1] == b"[":
        return [row for rows in _LISTS_OF_LISTS.decode(body) for row in rows]
    return _LISTS.decode(body)


def _row_events(
    row: _Row, at_ms: int, received_time_us: int, instruments: Instruments, marks: Marks
) -> list[MarketEvent]:
    symbol = row.name or row.contract
    if row.order_size is not None:
        return []
    if not symbol:
        raise FrameRefused(f"decoding {NAME}: a row names no contract, so it cannot be told whose figures they are")
    own = None if row.quanto_multiplier is None else contract(symbol, row.quanto_multiplier)
    instrument = own or instruments[symbol]
    if row.data is not None:
        return _settled(instrument, row.data, received_time_us, marks)
    if row.time:
        at_ms = time_ms(row.time * 1_000, NAME, "time")
    if row.funding_interval:
        marks.interval_hours[symbol] = row.funding_interval / SECONDS_PER_HOUR
    price = mark_price(str(row.mark_price), NAME, "mark_price")
    if price is not None:
        marks.set(symbol, price / price_unit(instrument), at_ms)
    events: list[MarketEvent] = []
    contracts = _one_sided(row)
    if contracts is not None:
        total = contracts * instrument.contract_size
        events.append(
            open_interest(
                instrument, coins=None if instrument.inverse else total, usd=total if instrument.inverse else None,
                mark=marks.get(symbol), time_ms=at_ms, received_time_us=received_time_us,
            )
        )  # fmt: skip
    if row.funding_rate != "":
        due_ms = round(row.funding_next_apply) * 1_000
        events.append(
            funding(
                instrument, rate=number(str(row.funding_rate), NAME, "funding_rate"),
                interval_hours=marks.interval_hours.get(symbol),
                next_funding_time_ms=time_ms(due_ms, NAME, "funding_next_apply") if due_ms else None,
                settled=False, time_ms=at_ms, received_time_us=received_time_us,
            )
        )  # fmt: skip
    if not events:
        raise FrameRefused(f"decoding {NAME}: the row of {symbol[:40]!r} has neither open interest nor a funding rate")
    return events


def _one_sided(row: _Row) -> Decimal | None:
    """Contracts that are open, counted once."""
    if row.position_size is not None:
        return amount(str(row.position_size), NAME, "position_size")
    both, field = (row.total_size, "total_size") if row.total_size is not None else (row.open_interest, "open_interest")
    return None if both is None else amount(str(both), NAME, field) / OPEN_INTEREST_SIDES


def _settled(
    instrument: Instrument, rows: Sequence[_Settled], received_time_us: int, marks: Marks
) -> list[MarketEvent]:
    times = [nearest_minute(time_ms(row.t * 1_000, NAME, "data.t")) for row in rows]
    known = marks.interval_hours.get(instrument.instrument)
    return [
        funding(
            instrument, rate=number(str(row.r), NAME, "data.r"), interval_hours=hours or known,
            next_funding_time_ms=None, settled=True, time_ms=at_ms, received_time_us=received_time_us,
        )
        for row, at_ms, hours in zip(rows, times, intervals_hours(times), strict=True)
    ]  # fmt: skip
