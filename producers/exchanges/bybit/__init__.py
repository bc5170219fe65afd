"""Bybit v5: linear (USDT, USDC) and inverse (USD) contracts; one module for each kind of data.

Sources, as of 2026-11-23 (bybit-exchange/docs, docs/v5, read 2026-07-24):
- websocket/wss-authentication: one address for linear and one for inverse; topics by symbol only; text ping
  {"op":"ping"} every 20 s; 21,000 characters of args; no cut at a fixed age.
- rate-limit: 600 requests in 5 s and address, then 403 for 10 min."""

from collections.abc import Callable, Iterable, Sequence
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
    Poll,
    Subscription,
    batches,
    field_names,
)
from producers.exchanges.bybit import instruments, legacy, liquidations, market
from producers.figures import price_evidence
from producers.instruments import Instrument
from schemas.words import Exchange

TOPICS_PER_REQUEST_MAX: Final = 200  # five requests of 200 on one connection were accepted on 2026-09-18
# UNSURE whether the docs' 21,000 characters hold for a request or a connection: a connection, to be safe.
TOPIC_CHARACTERS_MAX: Final = 20_000
HEARTBEAT: Final = Heartbeat('{"op":"ping"}', interval_ms=20_000, answer_ms_max=10_000)
WEBSOCKET: Final = "wss://stream.bybit.com"
REST: Final = "https://api.bybit.com"
WEIGHT_MAX: Final = 300  # in 5 s: half of the 600, the rest is left to others behind the same address
TICKERS_MS: Final = 10_000  # one call holds a whole category
HOUR_MS: Final = 3_600_000
_MARKET_FIELDS: Final = field_names(
    "topic type data ts cs retCode retMsg retExtInfo result category list nextPageCursor time symbol tickDirection "
    "price24hPcnt lastPrice prevPrice24h highPrice24h lowPrice24h prevPrice1h markPrice indexPrice openInterest "
    "openInterestValue singleOpenInterest singleOpenInterestValue turnover24h volume24h fundingRate nextFundingTime "
    "predictedDeliveryPrice basisRate deliveryFeeRate deliveryTime basis basisRateYear fundingIntervalHour fundingCap "
    "ask1Price ask1Size bid1Price bid1Size preOpenPrice preQty curPreListingPhase timestamp fundingRateTimestamp"
)
KNOWN_FIELDS: Final = {
    LIQUIDATION: field_names("topic type ts data T s S v p"),
    OPEN_INTEREST: _MARKET_FIELDS,
    FUNDING: _MARKET_FIELDS,
}


class _Answer(msgspec.Struct):
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""


_ANSWERS: Final = msgspec.json.Decoder(_Answer)


def control(frame: bytes) -> Control | None:
    """Acks, pongs and refusals carry `op`; a refusal names the topic: "error:handler not found,topic:<topic>"."""
    if b'"topic"' in frame:
        return None
    try:
        answer = _ANSWERS.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if answer.op == "subscribe":
        if answer.success:
            return Control(ControlKind.ACK)
        return Control(ControlKind.REFUSED, answer.ret_msg, answer.ret_msg.partition("topic:")[2] or None)
    if answer.op in ("ping", "pong"):
        return Control(ControlKind.PONG)
    return Control(ControlKind.OTHER) if answer.op else None


def linear_topics(listed: Iterable[Instrument]) -> list[str]:
    """One topic a linear instrument; there is no wildcard."""
    return [liquidations.TOPIC + row.instrument for row in listed if not row.inverse]


def inverse_topics(listed: Iterable[Instrument]) -> list[str]:
    """One topic an inverse instrument."""
    return [liquidations.TOPIC + row.instrument for row in listed if row.inverse]


def subscribe(wanted: Sequence[str]) -> list[Subscription]:
    """Requests of at most 200 topics, an ack each."""
    return [
        Subscription(msgspec.json.encode({"op": "subscribe", "args": list(part)}).decode(), acks=1)
        for part in batches(wanted, TOPICS_PER_REQUEST_MAX)
    ]


def is_linear_perpetual(instrument: Instrument) -> bool:
    """True for what pays funding in category linear."""
    return not instrument.inverse and instruments.is_perpetual(instrument)


def is_inverse_perpetual(instrument: Instrument) -> bool:
    """True for what pays funding in category inverse."""
    return instrument.inverse and instruments.is_perpetual(instrument)


def _connection(category: str, topics: Callable[[Iterable[Instrument]], list[str]], pulse: str) -> Connection:
    return Connection(
        origin=WEBSOCKET,
        path=f"/v5/public/{category}",
        topics=topics,
        subscribe=subscribe,
        topic_characters_max=TOPIC_CHARACTERS_MAX,
        heartbeat=HEARTBEAT,
        pulse=market.TICKERS + pulse,
    )


def _tickers(category: str) -> Poll:
    return Poll(
        kinds=(OPEN_INTEREST, FUNDING), origin=REST, path="/v5/market/tickers", params={"category": category},
        decode=market.decode, weight=1, interval_ms=TICKERS_MS,
    )  # fmt: skip


def _settled(category: str, wants: Callable[[Instrument], bool]) -> Poll:
    return Poll(
        kinds=(FUNDING,), origin=REST, path="/v5/market/funding/history", params={"category": category},
        decode=market.decode, weight=1, interval_ms=HOUR_MS, per_instrument="symbol", wants=wants, settled=True,
        window_params=market.settled_window,
    )  # fmt: skip


def _listing(category: str) -> InstrumentSource:
    return InstrumentSource(
        origin=REST, path="/v5/market/instruments-info", params={"category": category, "limit": "1000"},
        decode=instruments.decode_instruments_info,
    )  # fmt: skip


ADAPTER: Final = ExchangeAdapter(
    exchange=Exchange.BYBIT,
    connections=(
        _connection("linear", linear_topics, "BTCUSDT"),
        _connection("inverse", inverse_topics, "BTCUSD"),
    ),
    control=control,
    decoders={LIQUIDATION: liquidations.decode},
    market_decoder=market.decode,
    polls=(
        _tickers("linear"),
        _tickers("inverse"),
        _settled("linear", is_linear_perpetual),
        _settled("inverse", is_inverse_perpetual),
    ),
    budget=Budget(weight_max=WEIGHT_MAX, window_ms=5_000, ban_ms_default=600_000),
    legacy=(
        LegacyDecoder(kind=LIQUIDATION, until_ms=legacy.LIQUIDATIONS_UNTIL_MS, decode=legacy.decode_liquidations),
        LegacyDecoder(kind=OPEN_INTEREST, until_ms=legacy.MARKET_UNTIL_MS, decode=legacy.decode_market),
        LegacyDecoder(kind=FUNDING, until_ms=legacy.MARKET_UNTIL_MS, decode=legacy.decode_market),
    ),
    known_fields=KNOWN_FIELDS,
    side_evidence=price_evidence,
    instrument_rule=instruments.instrument_rule,
    instrument_sources=(_listing("linear"), _listing("inverse")),
)
