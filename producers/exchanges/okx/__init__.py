"""OKX v5: swaps (USDT, USDC, USD) and futures, X-Perps among them; one module for each kind of data.

Sources, as of 2026-11-23:
- Address: wss://ws.okx.com/ws/v5/public on port 443; 8443 has been dead since 2026-10-31 (announcement
  okx-websocket-port-8443-discontinuation).
- Heartbeat: the text `ping`, answered by the text `pong`; cut after 30 s without data; notice 64008 announces a cut.
- REST: limits by call and address: instruments, open-interest 20 in 2 s; funding-rate, mark-price 10 in 2 s."""

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
    LegacyDecoder,
    Poll,
    Subscription,
    field_names,
)
from producers.exchanges.okx import instruments, legacy, liquidations, market
from producers.figures import price_evidence
from producers.instruments import Instrument
from schemas.words import Exchange

PULSE: Final = "BTC-USDT-SWAP"  # its mark price, at least every 10 s
REST: Final = "https://www.okx.com"
# The exchange limits each call by itself, the strictest to 10 in 2 s; one budget for all keeps within every limit.
WEIGHT_MAX: Final = 8
OPEN_INTEREST_MS: Final = 10_000
MARK_PRICE_MS: Final = 10_000
FUNDING_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
_MARKET_FIELDS: Final = field_names(
    "arg channel instId instType data code msg ts oi oiCcy oiUsd markPx fundingRate realizedRate fundingTime "
    "nextFundingTime nextFundingRate prevFundingTime formulaType impactValue interestRate maxFundingRate "
    "minFundingRate method premium settFundingRate settState"
)
KNOWN_FIELDS: Final = {
    LIQUIDATION: field_names(
        "id arg channel instType code msg data details instFamily instId uly totalLoss bkLoss bkPx ccy posSide side sz "
        "ts time"
    ),
    OPEN_INTEREST: _MARKET_FIELDS,
    FUNDING: _MARKET_FIELDS,
}


class _Answer(msgspec.Struct):
    event: str = ""
    code: str = ""
    msg: str = ""


_ANSWERS: Final = msgspec.json.Decoder(_Answer)


def control(frame: bytes) -> Control | None:
    """The pong is a bare text; acks, errors and notices carry `event`; a notice announces that the server will cut."""
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
        return Control(ControlKind.REFUSED, f"{answer.code} {answer.msg}".strip())
    if answer.event == "notice":
        return Control(ControlKind.RECONNECT, f"{answer.code} {answer.msg}".strip())
    return Control(ControlKind.OTHER) if answer.event else None


def topics(listed: Iterable[Instrument]) -> list[str]:
    """One subscription carries all instruments of a type."""
    return list(liquidations.INSTRUMENT_TYPES)


def subscribe(wanted: Sequence[str]) -> list[Subscription]:
    """One request, an ack for each argument: liquidations of a type, or the mark price of an instrument (the pulse)."""
    arguments = [
        {"channel": liquidations.CHANNEL, "instType": topic}
        if topic in liquidations.INSTRUMENT_TYPES
        else {"channel": "mark-price", "instId": topic}
        for topic in wanted
    ]
    return [Subscription(msgspec.json.encode({"op": "subscribe", "args": arguments}).decode(), acks=len(arguments))]


def _by_type(kinds: tuple[str, ...], path: str, interval_ms: int) -> tuple[Poll, ...]:
    return tuple(
        Poll(
            kinds=kinds, origin=REST, path=path, params={"instType": instrument_type}, decode=market.decode,
            weight=1, interval_ms=interval_ms,
        )
        for instrument_type in liquidations.INSTRUMENT_TYPES
    )  # fmt: skip


ADAPTER: Final = ExchangeAdapter(
    exchange=Exchange.OKX,
    connections=(
        Connection(
            origin="wss://ws.okx.com",
            path="/ws/v5/public",
            topics=topics,
            subscribe=subscribe,
            heartbeat=Heartbeat("ping", interval_ms=20_000, answer_ms_max=8_000),  # within the 30 s without data
            pulse=PULSE,
        ),
    ),
    control=control,
    decoders={LIQUIDATION: liquidations.decode},
    market_decoder=market.decode,
    polls=(
        *_by_type((), "/api/v5/public/mark-price", MARK_PRICE_MS),
        *_by_type((OPEN_INTEREST,), "/api/v5/public/open-interest", OPEN_INTEREST_MS),
        Poll(
            kinds=(FUNDING,), origin=REST, path="/api/v5/public/funding-rate", params={"instId": "ANY"},
            decode=market.decode, weight=1, interval_ms=FUNDING_MS,
        ),
        Poll(
            kinds=(FUNDING,), origin=REST, path="/api/v5/public/funding-rate-history", decode=market.decode, weight=1,
            interval_ms=HOUR_MS, per_instrument="instId", wants=instruments.pays_funding, settled=True,
            window_params=market.settled_window,
        ),
    ),
    budget=Budget(weight_max=WEIGHT_MAX, window_ms=2_000),
    first_frame_is_backlog=True,
    legacy=(
        LegacyDecoder(kind=LIQUIDATION, until_ms=legacy.LIQUIDATIONS_UNTIL_MS, decode=legacy.decode_liquidations),
    ),
    known_fields=KNOWN_FIELDS,
    side_evidence=price_evidence,
    instrument_rule=instruments.instrument_rule,
    unsized_rule=instruments.unsized_rule,
    instrument_sources=tuple(
        InstrumentSource(
            origin=REST,
            path="/api/v5/public/instruments",
            params={"instType": instrument_type},
            decode=instruments.decode_instrument_list,
        )
        for instrument_type in liquidations.INSTRUMENT_TYPES
    ),
)  # fmt: skip
