"""Gate.io v4 futures, settled in USDT and in BTC; one module for each kind of data.

Sources, as of 2026-11-23 (www.gate.com/docs/developers, futures websocket and REST v4):
- wss://fx-ws.gateio.ws/v4/ws/{settle}; a request has the time of its sending in seconds. The server sends ping frames,
  which the websocket library answers; no limit of subscriptions; a slow consumer is cut.
- Contracts settled in USD1 (since 2026-08-19) are decoded, but not listened to: no REST list of them is documented,
  and without it their sizes are not known.
- REST: 200 requests in 10 s for each endpoint and IP; X-Gate-RateLimit-Reset-Timestamp says when there is room."""

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
    CrossCheck,
    ExchangeAdapter,
    InstrumentSource,
    Params,
    Poll,
    Subscription,
    field_names,
)
from producers.exchanges.gate import instruments, liquidations, market
from producers.figures import price_evidence
from producers.instruments import Instrument
from schemas.words import Exchange

PULSES: Final = {"usdt": "BTC_USDT", "btc": "BTC_USD"}  # by settlement currency: its busiest contract
REST: Final = "https://api.gateio.ws"
INTERVAL_MS: Final = 30_000
HOUR_MS: Final = 3_600_000
LIST_ROWS_MAX: Final = 1_000  # of liq_orders, the exchange's limit
LIST_SPAN_S_MAX: Final = 3_600
CROSS_CHECK_MS: Final = 60_000
_MARKET_FIELDS: Final = field_names(
    "channel event time time_ms result error contract last low_24h high_24h volume_24h volume_24h_base "
    "volume_24h_quote volume_24h_settle volume_24h_usd volume_24h_btc volume_24_usd volume_24_btc change_percentage "
    "change_price funding_rate funding_rate_indicative index_price mark_price total_size highest_bid highest_size "
    "lowest_ask lowest_size quanto_multiplier quanto_base_rate settle_price basis_value basis_rate price_type "
    "change_from name type mark_price_round funding_offset in_delisting risk_limit_base interest_rate "
    "order_price_round order_size_min enable_decimal ref_rebate_rate ref_discount_rate order_price_deviate "
    "maintenance_rate mark_type funding_interval risk_limit_step enable_bonus enable_credit leverage_min "
    "leverage_max last_price order_size_max funding_next_apply short_users long_users config_change_time "
    "create_time trade_size position_size funding_impact_value cross_leverage_default risk_limit_max maker_fee_rate "
    "taker_fee_rate orders_limit trade_id orderbook_id funding_cap_ratio voucher_leverage is_pre_market status "
    "launch_time delisting_time delisted_time enable_circuit_breaker funding_rate_limit market_order_slip_ratio "
    "market_order_size_max contract_type data t r open_interest open_interest_usd lsr_taker lsr_account "
    "top_lsr_size top_lsr_account long_liq_size short_liq_size long_liq_usd short_liq_usd long_liq_amount "
    "short_liq_amount long_liq_usd_new short_liq_usd_new top_long_size top_short_size top_long_account "
    "top_short_account long_taker_size short_taker_size last_funding_rate"
)
KNOWN_FIELDS: Final = {
    LIQUIDATION: field_names(
        "channel event time time_ms result error contract price size left order_size order_price fill_price"
    ),
    OPEN_INTEREST: _MARKET_FIELDS,
    FUNDING: _MARKET_FIELDS,
}


class _Error(msgspec.Struct):
    code: int | str = ""
    message: str = ""


class _Answer(msgspec.Struct):
    channel: str = ""
    event: str = ""
    error: _Error | None = None


_ANSWERS: Final = msgspec.json.Decoder(_Answer)


def control(frame: bytes) -> Control | None:
    """Acks and refusals are of event `subscribe`, a refusal has `error`; a pong is of channel `futures.pong`."""
    if b'"update"' in frame:
        return None
    try:
        answer = _ANSWERS.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if answer.channel == "futures.pong":
        return Control(ControlKind.PONG)
    if answer.error is not None:
        return Control(
            ControlKind.REFUSED, f"{answer.error.code} {answer.error.message}".strip(), answer.channel or None
        )
    if answer.event == "subscribe":
        return Control(ControlKind.ACK)
    return Control(ControlKind.OTHER) if answer.event == "unsubscribe" else None


def topics(listed: Iterable[Instrument]) -> list[str]:
    """One channel carries all contracts of an address."""
    return [liquidations.CHANNEL]


def subscribe(pulse_contract: str, channels: Sequence[str]) -> list[Subscription]:
    """A request for each channel: all contracts, but of tickers only the pulse's."""
    payloads = {channel: "!all" if channel == liquidations.CHANNEL else pulse_contract for channel in channels}
    requests = [
        {"time": 0, "channel": channel, "event": "subscribe", "payload": [payload]}
        for channel, payload in payloads.items()
    ]
    return [Subscription(msgspec.json.encode(request).decode(), acks=1, time_field="time") for request in requests]


def orders_window(from_ms: int, to_ms: int) -> Params:
    """Parameters of liq_orders for a span, of which the last hour is given at most."""
    to_s = to_ms // 1_000
    return {"from": max(from_ms // 1_000, to_s - LIST_SPAN_S_MAX), "to": to_s, "limit": LIST_ROWS_MAX}


def is_settled_in(settle: str, instrument: Instrument) -> bool:
    """True for perpetual contracts of an address: BTC_USDT of usdt, BTC_USD of btc."""
    return instrument.instrument.endswith(PULSES[settle].removeprefix("BTC"))


def _polls(settle: str) -> tuple[Poll, ...]:
    folder = f"/api/v4/futures/{settle}"
    return (
        Poll(kinds=(OPEN_INTEREST, FUNDING), origin=REST, path=f"{folder}/contracts", decode=market.decode, weight=1,
             interval_ms=INTERVAL_MS),
        Poll(kinds=(FUNDING,), origin=REST, path=f"{folder}/funding_rates", decode=market.decode, weight=1,
             interval_ms=HOUR_MS, settled=True, method="POST", body="{}", per_instrument="contracts", in_list=True,
             wants=partial(is_settled_in, settle)),
    )  # fmt: skip


ADAPTER: Final = ExchangeAdapter(
    exchange=Exchange.GATE,
    connections=tuple(
        Connection(
            origin="wss://fx-ws.gateio.ws",
            path=f"/v4/ws/{settle}",
            topics=topics,
            subscribe=partial(subscribe, pulse_contract),
            headers={"X-Gate-Size-Decimal": "1"},
            pulse=market.TICKERS,
        )
        for settle, pulse_contract in PULSES.items()
    ),
    control=control,
    decoders={LIQUIDATION: liquidations.decode},
    market_decoder=market.decode,
    polls=tuple(poll for settle in PULSES for poll in _polls(settle)),
    budget=Budget(
        weight_max=200, window_ms=10_000, retry_after_headers=("Retry-After", "X-Gate-RateLimit-Reset-Timestamp")
    ),
    known_fields=KNOWN_FIELDS,
    side_evidence=price_evidence,
    cross_check=CrossCheck(
        origin=REST,
        path="/api/v4/futures/usdt/liq_orders",
        decode=liquidations.decode,
        weight=1,
        interval_ms=CROSS_CHECK_MS,
        window_params=orders_window,
    ),
    instrument_rule=instruments.instrument_rule,
    unsized_rule=instruments.unsized_rule,
    instrument_sources=tuple(
        InstrumentSource(origin=REST, path=f"/api/v4/futures/{settle}/contracts", decode=instruments.decode_contracts)
        for settle in PULSES
    ),
)
