"""Bitget futures, margined in USDT, USDC and coins; one module for each kind of data.

Sources, as of 2026-11-23 (bitget.com/api-doc, UTA v3 and mix v2):
- wss://ws.bitget.com/v3/ws/public; liquidations exist only in v3 and cover classic accounts too. The client sends the
  text `ping` every 30 s, which the text `pong` answers; cut after about 2 min without. At most 10 messages/s.
- UNSURE for v3 (known of v2): 300 connects in 5 min and 240 subscriptions an hour for each connection. A connection
  here sends one request.
- REST: 5 to 20 requests/s for each endpoint and IP."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

import msgspec

from producers.exchange import (
    FUNDING,
    LIQUIDATION,
    OPEN_INTEREST,
    Budget,
    Connection,
    Control,
    ControlKind,
    ExchangeAdapter,
    Heartbeat,
    InstrumentSource,
    LegacyDecoder,
    Params,
    Poll,
    Subscription,
    field_names,
)
from producers.exchanges.bitget import instruments, legacy, liquidations, market
from producers.figures import price_evidence
from producers.instruments import Instrument
from schemas.words import Exchange, Market

PULSE: Final = "ticker"  # of BTCUSDT, several a second
PULSE_ARGUMENT: Final = {"instType": "usdt-futures", "topic": PULSE, "symbol": "BTCUSDT"}
REST: Final = "https://api.bitget.com"
INTERVAL_MS: Final = 30_000
FUNDING_INTERVAL_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
SETTLED_ROWS_MAX: Final = (
    100  # of a page of history-fund-rate, the exchange's limit; no contract settles more than hourly
)
CATEGORIES: Final = {Market.USDT: "USDT-FUTURES", Market.USDC: "USDC-FUTURES", Market.USD: "COIN-FUTURES"}
_MARKET_FIELDS: Final = field_names(
    "action arg instType topic channel instId symbol data ts code msg requestTime list category lastPrice "
    "openPrice24h highPrice24h lowPrice24h ask1Price bid1Price bid1Size ask1Size price24hPcnt volume24h turnover24h "
    "indexPrice markPrice fundingRate openInterest deliveryStartTime deliveryTime deliveryStatus nextFundingTime "
    "lastPr bidPr askPr bidSz askSz open24h high24h low24h change24h holdingAmount baseVolume quoteVolume "
    "usdtVolume openUtc symbolType deliveryPrice changeUtc24h fundingRateInterval nextUpdate minFundingRate "
    "maxFundingRate cashDividend cashDividendNextUpdate fundingTime fundingRateTimestamp cursor size "
    "openInterestList resultList"
)
KNOWN_FIELDS: Final = {
    LIQUIDATION: field_names(
        "action arg instType topic symbol data side price amount ts code msg requestTime list cursor"
    ),
    OPEN_INTEREST: _MARKET_FIELDS,
    FUNDING: _MARKET_FIELDS,
}


class _Argument(msgspec.Struct):
    instType: str = ""
    topic: str = ""


class _Answer(msgspec.Struct):
    event: str = ""
    code: int | str = ""
    msg: str = ""
    arg: _Argument | None = None


_ANSWERS: Final = msgspec.json.Decoder(_Answer)


def control(frame: bytes) -> Control | None:
    """The pong is a bare text; acks and refusals carry `event`, an ack each argument."""
    if frame == b"pong":
        return Control(ControlKind.PONG)
    if b'"event"' not in frame:
        return None
    try:
        answer = _ANSWERS.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if answer.event == "subscribe":
        return Control(ControlKind.ACK)
    if answer.event == "error":
        named = answer.arg.instType if answer.arg is not None and answer.arg.topic == liquidations.TOPIC else None
        return Control(ControlKind.REFUSED, f"{answer.code} {answer.msg}".strip(), named or None)
    return Control(ControlKind.OTHER) if answer.event else None


def topics(listed: Iterable[Instrument]) -> list[str]:
    """One subscription carries all contracts of a product line."""
    return list(liquidations.MARKETS)


def subscribe(lines: Sequence[str]) -> list[Subscription]:
    """One request, an ack each argument."""
    arguments = [PULSE_ARGUMENT if line == PULSE else {"instType": line, "topic": liquidations.TOPIC} for line in lines]
    return [Subscription(msgspec.json.encode({"op": "subscribe", "args": arguments}).decode(), acks=len(arguments))]


def settled_window(from_ms: int, to_ms: int) -> Params:
    """Parameters of history-fund-rate, which takes no times: as many of the newest rows as the span has hours.

    >>> settled_window(0, 24 * HOUR_MS)
    {'pageSize': 25}
    """
    return {"pageSize": min(SETTLED_ROWS_MAX, (to_ms - from_ms) // HOUR_MS + 1)}


def is_perpetual_of(margin: Market, instrument: Instrument) -> bool:
    """True for what a product line serves and pays funding."""
    return instrument.market is margin and not instruments.is_dated(instrument.instrument)


def _polls() -> tuple[Poll, ...]:
    """Intervals are learned with the rates; of coin-margined contracts from the list of one contract after another."""
    polls = []
    for margin, category in CATEGORIES.items():
        by_coin = margin is Market.USD
        polls += [
            Poll(
                kinds=(FUNDING,), origin=REST, decode=market.decode, weight=1, interval_ms=FUNDING_INTERVAL_MS,
                path="/api/v3/market/current-fund-rate" if by_coin else "/api/v2/mix/market/current-fund-rate",
                params={"category": category} if by_coin else {"productType": category},
                per_instrument="symbol" if by_coin else None, wants=partial(is_perpetual_of, margin),
            ),
            Poll(
                kinds=(OPEN_INTEREST,), origin=REST, decode=market.decode_open_interest, weight=1,
                interval_ms=INTERVAL_MS, path="/api/v3/market/tickers", params={"category": category},
            ),
            Poll(
                kinds=(FUNDING,), origin=REST, decode=market.decode, weight=1, interval_ms=HOUR_MS, settled=True,
                path="/api/v2/mix/market/history-fund-rate", params={"productType": category},
                per_instrument="symbol", wants=partial(is_perpetual_of, margin), window_params=settled_window,
            ),
        ]  # fmt: skip
    return tuple(polls)


ADAPTER: Final = ExchangeAdapter(
    exchange=Exchange.BITGET,
    connections=(
        Connection(
            origin="wss://ws.bitget.com",
            path="/v3/ws/public",
            topics=topics,
            subscribe=subscribe,
            heartbeat=Heartbeat("ping", interval_ms=25_000, answer_ms_max=10_000),
            pulse=PULSE,
        ),
    ),
    control=control,
    decoders={LIQUIDATION: liquidations.decode},
    market_decoder=market.decode,
    polls=_polls(),
    budget=Budget(weight_max=20, window_ms=2_000),  # half of the 20/s of the slowest endpoint that is asked often
    legacy=(
        LegacyDecoder(kind=OPEN_INTEREST, until_ms=legacy.UNTIL_MS, decode=legacy.decode),
        LegacyDecoder(kind=FUNDING, until_ms=legacy.UNTIL_MS, decode=legacy.decode),
    ),
    known_fields=KNOWN_FIELDS,
    side_evidence=price_evidence,
    instrument_rule=instruments.instrument_rule,
    instrument_sources=tuple(
        InstrumentSource(
            origin=REST,
            path="/api/v3/market/instruments",
            params={"category": category},
            decode=instruments.decode_instruments,
        )
        for category in CATEGORIES.values()
    ),
)
