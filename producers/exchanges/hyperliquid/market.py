"""Hyperliquid: open interest and funding, websocket and REST.

Sources, as of 2026-11-23 (hyperliquid.gitbook.io; live bodies of 2026):
- `activeAssetCtx` and POST /info {"type":"metaAndAssetCtxs"} -> [meta, [context...]] in the order of meta.universe:
  `openInterest` in coins of the name (kPEPE: thousands), one-sided; `funding` the rate of the current hour, settled at
  the full hour; no times. `midPx`, `premium` and `impactPxs` may be null; delisted ones remain in the lists.
- `allDexsAssetCtxs` names no coins, so it is not decoded.
- POST /info {"type":"fundingHistory","coin","startTime"}: settled, a bit late; every 8 h until 2023-06-08, then hourly
  (hyperliquid-python-sdk, tests/cassettes/info_test/test_get_funding_history: there the rates fall to an eighth).
  `null` for an unknown coin."""

from collections.abc import Sequence
from typing import Final

import msgspec

from producers.amounts import time_ms
from producers.exchange import MarketEvent
from producers.exchanges.hyperliquid.instruments import is_spot
from producers.figures import amount, funding, mark_price, market_rows, nearest_minute, number, open_interest, per_coin
from producers.instruments import Instruments
from producers.marks import Marks
from producers.settlements import next_hour_ms
from schemas.errors import FrameRefused
from schemas.words import Exchange

NAME: Final = Exchange.HYPERLIQUID.value
CONTEXT: Final = "activeAssetCtx"
INTERVAL_HOURS: Final = 1.0
INTERVAL_HOURS_OF_OLD: Final = 8.0
LAST_OF_OLD_MS: Final = 1_686_182_400_000  # 2023-06-08, the last settlement of 8 h


class _Context(msgspec.Struct, gc=False):
    funding: str
    openInterest: str
    markPx: str


class _Named(msgspec.Struct):
    coin: str
    ctx: _Context


class _Listed(msgspec.Struct):
    name: str
    isDelisted: bool = False


class _Meta(msgspec.Struct):
    universe: list[_Listed]


class _Settled(msgspec.Struct):
    coin: str
    fundingRate: str
    time: int


class _Object(msgspec.Struct):
    """A frame, or one element of a list."""

    channel: str = ""
    data: msgspec.Raw = msgspec.Raw()
    ctx: msgspec.Raw = msgspec.Raw()
    fundingRate: msgspec.Raw = msgspec.Raw()
    px: msgspec.Raw = msgspec.Raw()  # of trades and fills, which are no market data
    events: msgspec.Raw = msgspec.Raw()


_OBJECTS: Final = msgspec.json.Decoder(_Object)
_CONTEXTS: Final = msgspec.json.Decoder(_Named)
_LISTS: Final = msgspec.json.Decoder(tuple[_Meta, list[_Context]])
_HISTORIES: Final = msgspec.json.Decoder(list[_Settled])
_SETTLED: Final = msgspec.json.Decoder(_Settled)
_Contexts = Sequence[tuple[str, _Context]]


def decode(body: bytes, *, received_time_us: int, instruments: Instruments, marks: Marks) -> list[MarketEvent]:
    """A frame of `activeAssetCtx`, or a body (or one element) of metaAndAssetCtxs or fundingHistory; see
    `MarketDecoder`."""
    try:
        contexts, settled = _read(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {NAME}: the body is not market data of this exchange: {exc}") from exc
    if settled:
        return _history(settled, received_time_us, instruments)

    def context_events(named: tuple[str, _Context]) -> list[MarketEvent]:
        return _context(*named, received_time_us, instruments, marks)

    return market_rows([each for each in contexts if not is_spot(each[0])], context_events)


def _read(body: bytes) -> tuple[_Contexts, Sequence[_Settled]]:
    """Contexts with their coins, or a history; both empty for other channels. Raises FrameRefused, msgspec's errors."""
    start = body.lstrip()
    if start[:1] == b"[":
        if b'"universe"' not in body:
            return [], _HISTORIES.decode(body)
        meta, contexts = _LISTS.decode(body)
        if len(meta.universe) != len(contexts):
            raise FrameRefused(
                f"decoding {NAME}: {len(meta.universe)} coins have {len(contexts)} contexts, so it cannot be told whose"
            )
        pairs = zip(meta.universe, contexts, strict=True)
        return [(listed.name, context) for listed, context in pairs if not listed.isDelisted], []
    if start.rstrip() == b"null":
        return [], []
    message = _OBJECTS.decode(body)
    if message.channel:
        named = _CONTEXTS.decode(message.data) if message.channel == CONTEXT else None
        return ([] if named is None else [(named.coin, named.ctx)]), []
    if bytes(message.px) or bytes(message.events):
        return [], []
    if bytes(message.ctx):
        named = _CONTEXTS.decode(body)
        return [(named.coin, named.ctx)], []
    if bytes(message.fundingRate):
        return [], [_SETTLED.decode(body)]
    raise FrameRefused(f"decoding {NAME}: the body has none of channel, ctx and fundingRate, so its kind is not known")


def _context(
    coin: str, context: _Context, received_time_us: int, instruments: Instruments, marks: Marks
) -> list[MarketEvent]:
    instrument, at_ms = instruments[coin], received_time_us // 1_000
    price = mark_price(context.markPx, NAME, "markPx")
    if price is not None:
        marks.set(coin, per_coin(price, instrument), at_ms)
    # The receive time is the only one there is; decoding by hand it may not be known (0), nor then the next hour.
    return [
        open_interest(
            instrument, coins=amount(context.openInterest, NAME, "openInterest") * instrument.contract_size,
            mark=marks.get(coin), time_ms=at_ms, received_time_us=received_time_us,
        ),
        funding(
            instrument, rate=number(context.funding, NAME, "funding"), interval_hours=INTERVAL_HOURS,
            next_funding_time_ms=next_hour_ms(at_ms) if at_ms else None, settled=False, time_ms=at_ms,
            received_time_us=received_time_us,
        ),
    ]  # fmt: skip


def _history(rows: Sequence[_Settled], received_time_us: int, instruments: Instruments) -> list[MarketEvent]:
    def row_events(row: _Settled) -> list[MarketEvent]:
        at_ms = nearest_minute(time_ms(row.time, NAME, "time"))
        return [
            funding(
                instruments[row.coin], rate=number(row.fundingRate, NAME, "fundingRate"),
                interval_hours=INTERVAL_HOURS if at_ms > LAST_OF_OLD_MS else INTERVAL_HOURS_OF_OLD,
                next_funding_time_ms=None, settled=True, time_ms=at_ms, received_time_us=received_time_us,
            )
        ]  # fmt: skip

    return market_rows(rows, row_events)
