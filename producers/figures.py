"""OpenInterest and Funding of exchanges' texts: one-sided, in coins and USD, the same for every exchange. Pure.

Mark prices are USD per coin: a price per 1000PEPE is divided by the contract's multiplier first (`per_coin`)."""

from collections.abc import Callable, Sequence
from decimal import Context, Decimal, InvalidOperation
from typing import Final, TypeVar

import msgspec

from producers.amounts import refusal
from producers.exchange import MarketEvent, Row, decode_rows
from producers.instruments import Instrument
from schemas.errors import FrameRefused, UnknownInstrument
from schemas.records import Funding, Liquidation, OpenInterest
from schemas.words import Side

FIGURE_CHARACTERS_MAX: Final = 40  # some state USD with 14 decimals behind 10 digits: 25 characters
FIGURE_MAX: Final = Decimal(10) ** 18  # the largest open interest is some 10^14 coins of the cheapest
FIGURE_MIN: Final = Decimal(10) ** -18  # but for 0: the cheapest coins trade at 10^-10
OPEN_INTEREST_USD_MAX: Final = Decimal(10) ** 12  # a hundred times the largest contract of all
RATE_MAX: Final = Decimal(1)  # of one interval; exchanges cap it at a few percent
INTERVAL_HOURS_MAX: Final = 24.0  # the longest listed one
INTERVAL_HOURS_DEFAULT: Final = 8.0  # where the exchange says nothing: every exchange's ordinary one
MS_PER_HOUR: Final = 3_600_000
MS_PER_MINUTE: Final = 60_000
# A price nearer to mark tells nothing of the side: marks are some seconds old and differ from the last trade.
EVIDENCE_MIN: Final = 0.001
_EXACT: Final = Context(prec=80)
Read = TypeVar("Read")


def number(text: str, exchange: str, field: str) -> Decimal:
    """A decimal text as it stands, with any sign, 0 or of 10^-18 to 10^18. Raises FrameRefused."""
    if text and len(text) <= FIGURE_CHARACTERS_MAX and not text.strip("0123456789.eE+-"):
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal("NaN")
        if value == 0 or (value.is_finite() and FIGURE_MIN <= value.copy_abs() <= FIGURE_MAX):
            return value
    raise refusal(exchange, field, text, f"a decimal number of {FIGURE_MIN:.0e} to {FIGURE_MAX:.0e}")


def amount(text: str, exchange: str, field: str) -> Decimal:
    """A decimal text >= 0. Raises FrameRefused."""
    value = number(text, exchange, field)
    if value < 0:
        raise refusal(exchange, field, text, "a number that is not negative")
    return value


def mark_price(text: str, exchange: str, field: str) -> Decimal | None:
    """A mark price as the exchange quotes it; None for an empty text and 0, which contracts before trading have."""
    return (amount(text, exchange, field) or None) if text else None


def per_coin(price: Decimal, instrument: Instrument) -> Decimal:
    """USD per coin of a price that is quoted per `contract_size` coins (1000PEPE); inverse prices are per coin."""
    if instrument.inverse or instrument.contract_size == 1:
        return price
    return _EXACT.divide(price, instrument.contract_size)


def open_interest(
    instrument: Instrument,
    *,
    coins: Decimal | None = None,
    usd: Decimal | None = None,
    mark: Decimal | None,
    time_ms: int,
    received_time_us: int,
) -> OpenInterest:
    """The record; of coins and USD the one that is None is worked out by `mark` (USD per coin), if that is known.

    Raises FrameRefused for an absurd amount."""
    assert coins is not None or usd is not None
    for stated in (coins, usd):
        if stated is not None and stated < 0:
            raise refusal(instrument.exchange, "the open interest", str(stated), "a number that is not negative")
    if mark is not None and mark > 0:
        if usd is None and coins is not None:
            usd = _EXACT.multiply(coins, mark)
        elif coins is None and usd is not None:
            coins = _EXACT.divide(usd, mark)
    if usd is not None and usd > OPEN_INTEREST_USD_MAX:
        limit = f"at most {OPEN_INTEREST_USD_MAX:.0e} USD"
        raise refusal(instrument.exchange, "the open interest", f"{usd:.6g} USD", limit)
    return OpenInterest(
        event_id=f"{instrument.exchange}:{instrument.instrument}:{time_ms}",
        exchange=instrument.exchange,
        asset=instrument.asset,
        instrument=instrument.instrument,
        market=instrument.market,
        open_interest=None if coins is None else float(coins),
        open_interest_usd=None if usd is None else float(usd),
        event_time_ms=time_ms,
        received_time_us=received_time_us,
    )


def funding(
    instrument: Instrument,
    *,
    rate: Decimal,
    interval_hours: float | None,
    next_funding_time_ms: int | None,
    settled: bool,
    time_ms: int,
    received_time_us: int,
) -> Funding:
    """The record; `interval_hours` None counts as 8. Raises FrameRefused for an absurd rate or interval."""
    hours = INTERVAL_HOURS_DEFAULT if interval_hours is None else interval_hours
    if abs(rate) > RATE_MAX:
        raise refusal(instrument.exchange, "the funding rate", str(rate), f"within {RATE_MAX} an interval")
    if not 0 < hours <= INTERVAL_HOURS_MAX:
        raise refusal(instrument.exchange, "the funding interval", str(hours), f"0 to {INTERVAL_HOURS_MAX} hours")
    return Funding(
        event_id=f"{instrument.exchange}:{instrument.instrument}:{time_ms}:{'settled' if settled else 'predicted'}",
        exchange=instrument.exchange,
        asset=instrument.asset,
        instrument=instrument.instrument,
        market=instrument.market,
        rate=float(rate),
        interval_hours=hours,
        rate_8h=float(_EXACT.divide(rate * 8, Decimal(hours))),
        next_funding_time_ms=next_funding_time_ms,
        settled=settled,
        event_time_ms=time_ms,
        received_time_us=received_time_us,
    )


def read_row(decoder: "msgspec.json.Decoder[Read]", raw: msgspec.Raw, exchange: str) -> Read:
    """A row of a list as the decoder's struct. Raises FrameRefused."""
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameRefused(f"decoding {exchange}: a row of market data cannot be read: {exc}") from exc


def market_rows(rows: Sequence[Row], decode_row: Callable[[Row], list[MarketEvent]]) -> list[MarketEvent]:
    """Events of every row, as `decode_rows`; contracts of a list that are in no table are left out, as the list has
    those too that are not quoted in dollars or do not trade. A body of one row raises UnknownInstrument."""
    if len(rows) == 1:
        return decode_row(rows[0])

    def known(row: Row) -> list[MarketEvent]:
        try:
            return decode_row(row)
        except UnknownInstrument:
            return []

    return decode_rows(rows, known)


def nearest_minute(time_ms: int) -> int:
    """A settlement's time, which exchanges stamp some ms late, at its minute.

    >>> nearest_minute(1_790_352_000_002)
    1790352000000
    """
    return (time_ms + MS_PER_MINUTE // 2) // MS_PER_MINUTE * MS_PER_MINUTE


def price_evidence(event: Liquidation, mark: Decimal) -> bool | None:
    """Whether price and side agree: longs are closed below the mark (USD per coin), shorts above it.

    None where they are too near to each other to tell."""
    distance = event.price / float(mark) - 1
    if abs(distance) < EVIDENCE_MIN:
        return None
    return (distance < 0) is (event.side is Side.LONG)
