"""Bitget: market data of the first API, for recordings of its time.

Sources: captured frames of 2021 and 2022 (crypto-crawler/crypto-msg-parser, tests/bitget.rs; cryptofeed's sample
data).
- mix v1 `ticker`, instType `mc`: `holding` in coins, `capitalRate` to be charged at `nextSettleTime`, `systemTime`; no
  intervals: 8 h, the only one then. instType `sp` is spot.
- swap v1, table `swap/funding_rate`: `funding_rate` to be charged at `funding_time`; instrument_id `btcusd` is
  coin-margined, `cmt_btcusdt` margined in USDT. No time of the frame."""

from typing import Final

import msgspec

from producers.amounts import time_ms
from producers.exchange import MarketEvent
from producers.exchanges.bitget.liquidations import text_time_ms
from producers.figures import amount, funding, mark_price, number, open_interest, per_coin
from producers.instruments import Instruments
from producers.marks import Marks
from schemas.errors import FrameRefused
from schemas.words import Exchange

NAME: Final = Exchange.BITGET.value
UNTIL_MS: Final = 1_764_288_000_000  # 2025-11-28: the first API was switched off (general knowledge: UNSURE)
TABLE: Final = "swap/funding_rate"
MIX: Final = "mc"


class _Row(msgspec.Struct):
    instId: str = ""
    holding: str = ""
    capitalRate: str = ""
    nextSettleTime: int = 0
    systemTime: int = 0
    markPrice: str = ""
    instrument_id: str = ""
    funding_rate: str = ""
    funding_time: str = ""


class _Argument(msgspec.Struct):
    instType: str = ""
    channel: str = ""


class _Frame(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw()
    arg: _Argument | None = None
    table: str = ""


_FRAMES: Final = msgspec.json.Decoder(_Frame)
_ROWS: Final = msgspec.json.Decoder(list[_Row])


def decode(body: bytes, *, received_time_us: int, instruments: Instruments, marks: Marks) -> list[MarketEvent]:
    """One frame of mix v1 or swap v1; whatever has another shape gives []; see `MarketDecoder`."""
    if body == b"pong":
        return []
    try:
        frame = _FRAMES.decode(body)
        if frame.table == TABLE:
            return [_rate(row, received_time_us, instruments) for row in _ROWS.decode(frame.data)]
        if frame.arg is None or (frame.arg.instType, frame.arg.channel) != (MIX, "ticker"):
            return []
        rows = _ROWS.decode(frame.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the frame is not one of the first API: {exc}") from exc
    return [event for row in rows for event in _ticker(row, received_time_us, instruments, marks)]


def _ticker(row: _Row, received_time_us: int, instruments: Instruments, marks: Marks) -> list[MarketEvent]:
    instrument, at_ms = instruments[row.instId], time_ms(row.systemTime, NAME, "systemTime")
    price = mark_price(row.markPrice, NAME, "markPrice")
    if price is not None:
        marks.set(row.instId, per_coin(price, instrument), at_ms)
    coins = amount(row.holding, NAME, "holding") * (1 if instrument.inverse else instrument.contract_size)
    return [
        open_interest(
            instrument, coins=coins, mark=marks.get(row.instId), time_ms=at_ms, received_time_us=received_time_us,
        ),
        funding(
            instrument, rate=number(row.capitalRate, NAME, "capitalRate"), interval_hours=None,
            next_funding_time_ms=time_ms(row.nextSettleTime, NAME, "nextSettleTime"),
            settled=False, time_ms=at_ms, received_time_us=received_time_us,
        ),
    ]  # fmt: skip


def _rate(row: _Row, received_time_us: int, instruments: Instruments) -> MarketEvent:
    return funding(
        instruments[row.instrument_id.removeprefix("cmt_").upper()],
        rate=number(row.funding_rate, NAME, "funding_rate"), interval_hours=None,
        next_funding_time_ms=text_time_ms(row.funding_time, "funding_time"),
        settled=False, time_ms=received_time_us // 1_000, received_time_us=received_time_us,
    )  # fmt: skip
