"""Binance: USD-M (USDT, USDC) and COIN-M (USD) futures; one module for each kind of data.

Sources, as of 2026-11-23:
- Address: developers.binance.info/docs/derivatives/usds-margined-futures/websocket-market-streams (change notice):
  forceOrder and markPrice are served under /market only; the unrouted /ws and /stream still accept the SUBSCRIBE and
  stay silent (since 2026-04-23). One connection carries USD-M and COIN-M (merged on 2026-06-30): a second one, to
  dstream, would count every order twice.
- Limits: a connection is cut after 24 h; 1,024 streams each; ping frames every 3 min, which the websocket library
  answers. REST: 2,400 weight a minute for fapi and dapi together; 429, then 418, with `Retry-After` in seconds."""

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
    InstrumentSource,
    Poll,
    Subscription,
    field_names,
)
from producers.exchanges.binance import instruments, liquidations, market
from producers.figures import price_evidence
from producers.instruments import Instrument
from schemas.words import Exchange, Market

STREAM: Final = "!forceOrder@arr"
PULSE: Final = "btcusdt@markPrice"  # every 3 s
STREAMS_MAX: Final = 1_024
ROLL_MS: Final = 85_800_000  # 23 h 50 min, before the cut at 24 h
WEIGHT_MAX: Final = 2_200  # a minute, of 2,400; the calls below take some 1,400, the rest is for starts and retries
FAPI: Final = "https://fapi.binance.com"
DAPI: Final = "https://dapi.binance.com"
# Open interest is one call a symbol: some 600 of them every 30 s are 1,200 weight a minute, COIN-M some 80, lists 40.
INTERVAL_MS: Final = 30_000
FUNDING_INFO_MS: Final = 300_000
HOUR_MS: Final = 3_600_000
_MARKET_FIELDS: Final = field_names(
    "stream generated data e E s p ap P i r T st ps symbol pair openInterest contractType time markPrice indexPrice "
    "estimatedSettlePrice lastFundingRate interestRate nextFundingTime fundingTime fundingRate rateType "
    "fundingIntervalHours adjustedFundingRateCap adjustedFundingRateFloor disclaimer updateTime "
    "sumOpenInterest sumOpenInterestValue CMCCirculatingSupply timestamp"
)
KNOWN_FIELDS: Final = {
    LIQUIDATION: field_names("stream data e E o s S f q p ap X l z T ps st"),
    OPEN_INTEREST: _MARKET_FIELDS,
    FUNDING: _MARKET_FIELDS,
}


class _Answer(msgspec.Struct):
    id: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_ANSWERS: Final = msgspec.json.Decoder(_Answer)


def control(frame: bytes) -> Control | None:
    """Acks are {"result":null,"id":n}; refusals {"error":{...},"id":n}."""
    if b'"forceOrder"' in frame:
        return None
    try:
        answer = _ANSWERS.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if bytes(answer.error) not in (b"", b"null"):
        return Control(ControlKind.REFUSED, bytes(answer.error).decode(errors="replace"))
    if bytes(answer.result) == b"null" and bytes(answer.id):
        return Control(ControlKind.ACK)
    return Control(ControlKind.OTHER) if bytes(answer.id) else None


def topics(listed: Iterable[Instrument]) -> list[str]:
    """One stream carries all symbols."""
    return [STREAM]


def subscribe(streams: Sequence[str]) -> list[Subscription]:
    """One SUBSCRIBE for all."""
    request = {"method": "SUBSCRIBE", "params": list(streams), "id": 1}
    return [Subscription(msgspec.json.encode(request).decode(), acks=1)]


def is_linear(instrument: Instrument) -> bool:
    """True for what fapi serves."""
    return not instrument.inverse


def is_inverse(instrument: Instrument) -> bool:
    """True for what dapi serves."""
    return instrument.inverse


def is_inverse_perpetual(instrument: Instrument) -> bool:
    """True for what dapi serves and pays funding."""
    return instrument.market is Market.USD and instrument.instrument.endswith("_PERP")


def _polls() -> tuple[Poll, ...]:
    """Intervals first, then marks with funding, as the others work with both."""
    lists = [
        Poll(kinds=(), origin=FAPI, path="/fapi/v1/fundingInfo", decode=market.decode, weight=1,
             interval_ms=FUNDING_INFO_MS),
        Poll(kinds=(), origin=DAPI, path="/dapi/v1/fundingInfo", decode=market.decode, weight=1,
             interval_ms=FUNDING_INFO_MS),
        Poll(kinds=(FUNDING,), origin=FAPI, path="/fapi/v1/premiumIndex", decode=market.decode, weight=10,
             interval_ms=INTERVAL_MS),
        Poll(kinds=(FUNDING,), origin=DAPI, path="/dapi/v1/premiumIndex", decode=market.decode, weight=10,
             interval_ms=INTERVAL_MS),
    ]  # fmt: skip
    by_symbol = [
        Poll(kinds=(OPEN_INTEREST,), origin=FAPI, path="/fapi/v1/openInterest", decode=market.decode, weight=1,
             interval_ms=INTERVAL_MS, per_instrument="symbol", wants=is_linear),
        Poll(kinds=(OPEN_INTEREST,), origin=DAPI, path="/dapi/v1/openInterest", decode=market.decode, weight=1,
             interval_ms=INTERVAL_MS, per_instrument="symbol", wants=is_inverse),
    ]  # fmt: skip
    settled = [
        Poll(kinds=(FUNDING,), origin=FAPI, path="/fapi/v1/fundingRate", decode=market.decode, weight=1,
             interval_ms=HOUR_MS, settled=True, window_params=market.settled_window, cursor=market.next_settled_page),
        Poll(kinds=(FUNDING,), origin=DAPI, path="/dapi/v1/fundingRate", decode=market.decode, weight=1,
             interval_ms=HOUR_MS, settled=True, window_params=market.settled_window, per_instrument="symbol",
             wants=is_inverse_perpetual),
    ]  # fmt: skip
    return (*lists, *by_symbol, *settled)


ADAPTER: Final = ExchangeAdapter(
    exchange=Exchange.BINANCE,
    connections=(
        Connection(
            origin="wss://fstream.binance.com",
            path="/market/stream",
            topics=topics,
            subscribe=subscribe,
            topics_max=STREAMS_MAX,
            pulse=PULSE,
        ),
    ),
    control=control,
    decoders={LIQUIDATION: liquidations.decode},
    market_decoder=market.decode,
    polls=_polls(),
    budget=Budget(weight_max=WEIGHT_MAX, window_ms=60_000),
    roll_ms=ROLL_MS,
    known_fields=KNOWN_FIELDS,
    side_evidence=price_evidence,
    frame_evidence=liquidations.limit_evidence,
    instrument_rule=instruments.instrument_rule,
    instrument_sources=(
        InstrumentSource(origin=FAPI, path="/fapi/v1/exchangeInfo", decode=instruments.decode_exchange_info),
        InstrumentSource(origin=DAPI, path="/dapi/v1/exchangeInfo", decode=instruments.decode_exchange_info),
    ),
)
