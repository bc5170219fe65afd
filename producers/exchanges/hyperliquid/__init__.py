"""Hyperliquid perpetuals, margined in USDC; one module for each kind of data.

Sources, as of 2026-11-23 (hyperliquid.gitbook.io; hyperliquid-python-sdk):
- wss://api.hyperliquid.xyz/ws: a request for each coin or user, each answered by `subscriptionResponse`; the server
  closes when it has sent nothing for 60 s, {"method":"ping"} is answered by {"channel":"pong"}.
- For each IP: 100 connections, 1,000 subscriptions, 10 users, 2,000 messages a minute. REST: 1,200 weight a minute,
  most calls 20 and one more for every 20 rows.
- The first message of `trades` is a snapshot of recent trades, that of `userFills` of old fills: by their times a
  backlog.
- Perpetuals of other deployers (`xyz:AAPL`) are decoded, but not listened to: they are stocks and the like, which the
  liquidators do not take over."""

import re
from collections.abc import Iterable, Sequence
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
    Params,
    Poll,
    Subscription,
    field_names,
)
from producers.exchanges.hyperliquid import instruments, liquidations, market
from producers.figures import price_evidence
from producers.instruments import Instrument
from schemas.words import Exchange

PULSE: Final = "activeAssetCtx"  # of BTC, several a second
PULSE_COIN: Final = "BTC"
SUBSCRIPTIONS_MAX: Final = 900  # of the 1,000 of this address
REST: Final = "https://api.hyperliquid.xyz"
INTERVAL_MS: Final = 30_000
HOUR_MS: Final = 3_600_000
WEIGHT: Final = 20
HISTORY_WEIGHT: Final = 22  # 24 rows
WEIGHT_MAX: Final = 1_000  # a minute: the rest of the 1,200 is left to others behind the same address
_NAMED: Final = re.compile(r'"(?:coin|user)":\s*"([^"]{1,64})"')
_CONTEXT_FIELDS: Final = field_names(
    "channel data coin ctx funding openInterest prevDayPx dayNtlVlm dayBaseVlm premium oraclePx markPx midPx "
    "impactPxs universe name szDecimals maxLeverage marginTableId onlyIsolated isDelisted marginMode marginTables "
    "collateralToken growthMode lastGrowthModeChangeTime lastFeeScaleChangeTime deployerFeeScale description "
    "maintenanceMarginTiers marginTiers lowerBound fundingRate time"
)
KNOWN_FIELDS: Final = {
    LIQUIDATION: field_names(
        "channel data coin side px sz time hash tid users user isSnapshot fills startPosition dir closedPnl oid "
        "crossed fee feeToken builderFee deployerFee builder cloid twapId liquidation liquidatedUser markPx method "
        "local_time block_time block_number events"
    ),
    OPEN_INTEREST: _CONTEXT_FIELDS,
    FUNDING: _CONTEXT_FIELDS,
}


class _Answer(msgspec.Struct):
    channel: str = ""
    data: msgspec.Raw = msgspec.Raw()


_ANSWERS: Final = msgspec.json.Decoder(_Answer)
_ACK: Final = "subscriptionResponse"


def control(frame: bytes) -> Control | None:
    """Acks, pongs and errors have channels of their own; an error quotes the request, so names its coin or user."""
    if b'"subscriptionResponse"' not in frame and b'"pong"' not in frame and b'"error"' not in frame:
        return None
    try:
        answer = _ANSWERS.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if answer.channel == _ACK:
        return Control(ControlKind.ACK)
    if answer.channel == "pong":
        return Control(ControlKind.PONG)
    if answer.channel != "error":
        return None
    detail = bytes(answer.data).decode(errors="replace").replace('\\"', '"')
    if "Already subscribed" in detail:
        return Control(ControlKind.ACK)
    named = _NAMED.search(detail)
    return Control(ControlKind.REFUSED, detail[:200] or "no reason", named[1] if named else None)


def topics(listed: Iterable[Instrument]) -> list[str]:
    """Fills of every known liquidator, and trades of every coin, in which liquidators may take part."""
    return [*liquidations.LIQUIDATORS, *(row.instrument for row in listed)]


def subscribe(wanted: Sequence[str]) -> list[Subscription]:
    """A request for each user, coin or the pulse."""
    return [
        Subscription(msgspec.json.encode({"method": "subscribe", "subscription": _subscription(each)}).decode(), acks=1)
        for each in wanted
    ]


def _subscription(topic: str) -> dict[str, str]:
    if topic == PULSE:
        return {"type": PULSE, "coin": PULSE_COIN}
    if topic in liquidations.LIQUIDATORS:
        return {"type": "userFills", "user": topic}
    return {"type": "trades", "coin": topic}


def history_window(from_ms: int, to_ms: int) -> Params:
    """Parameters of fundingHistory for a span."""
    return {"startTime": from_ms, "endTime": to_ms}


ADAPTER: Final = ExchangeAdapter(
    exchange=Exchange.HYPERLIQUID,
    connections=(
        Connection(
            origin="wss://api.hyperliquid.xyz",
            path="/ws",
            topics=topics,
            subscribe=subscribe,
            topics_max=SUBSCRIPTIONS_MAX,
            heartbeat=Heartbeat('{"method":"ping"}', interval_ms=30_000, answer_ms_max=10_000),
            pulse=PULSE,
        ),
    ),
    control=control,
    decoders={LIQUIDATION: liquidations.decode},
    market_decoder=market.decode,
    polls=(
        Poll(
            kinds=(OPEN_INTEREST, FUNDING), origin=REST, path="/info", method="POST", decode=market.decode,
            body='{"type":"metaAndAssetCtxs"}', weight=WEIGHT, interval_ms=INTERVAL_MS,
        ),
        Poll(
            kinds=(FUNDING,), origin=REST, path="/info", method="POST", decode=market.decode,
            body='{"type":"fundingHistory"}', weight=HISTORY_WEIGHT, interval_ms=HOUR_MS,
            settled=True, window_params=history_window, per_instrument="coin",
        ),
    ),
    budget=Budget(weight_max=WEIGHT_MAX, window_ms=60_000),
    known_fields=KNOWN_FIELDS,
    side_evidence=price_evidence,
    instrument_rule=instruments.instrument_rule,
    instrument_sources=(
        InstrumentSource(
            origin=REST, path="/info", method="POST", body='{"type":"meta"}', weight=WEIGHT,
            decode=instruments.decode_meta,
        ),
    ),
)  # fmt: skip
