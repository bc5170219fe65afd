"""OpenInterest and Funding of exchanges' texts: one-sided, in coins and USD, the same for every exchange. Pure.

Mark prices are USD per coin: a price per 1000PEPE is divided by the contract's multiplier first (`per_coin`)."""

from decimal import Context, Decimal, InvalidOperation
from typing import Final

from producers.amounts import refusal
from producers.instruments import Instrument
from schemas.records import Funding, OpenInterest

FIGURE_CHARACTERS_MAX: Final = 40  # OKX states USD with 14 decimals behind 10 digits: 25 characters
FIGURE_MAX: Final = Decimal(10) ** 18  # the largest open interest is some 10^14 coins of the cheapest
FIGURE_MIN: Final = Decimal(10) ** -18  # but for 0: the cheapest coins trade at 10^-10
OPEN_INTEREST_USD_MAX: Final = Decimal(10) ** 12  # a hundred times the largest contract of all
RATE_MAX: Final = Decimal(1)  # of one interval; exchanges cap it at a few percent
INTERVAL_HOURS_MAX: Final = Decimal(24)  # the longest listed one
INTERVAL_HOURS_DEFAULT: Final = Decimal(8)  # where the exchange says nothing: every exchange's ordinary one
MS_PER_HOUR: Final = 3_600_000
_EXACT: Final = Context(prec=80)


def number(text: str, exchange: str, field: str) -> Decimal:
    """A decimal text as it stands, with any sign, 0 or of 10^-18 to 10^18. Raises FrameRefused."""
    if text and len(text) <= FIGURE_CHARACTERS_MAX and not text.strip("0123456789.eE+-"):
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal("NaN")
        if value == 0 or (value.is_finite() and FIGURE_MIN <= abs(value) <= FIGURE_MAX):
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
    interval_hours: Decimal | None,
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
        interval_hours=float(hours),
        rate_8h=float(_EXACT.divide(rate * INTERVAL_HOURS_DEFAULT, hours)),
        next_funding_time_ms=next_funding_time_ms,
        settled=settled,
        event_time_ms=time_ms,
        received_time_us=received_time_us,
    )
