"""What exchanges' symbols have in common: multiplier prefixes and what a contract is margined in."""

import re
from typing import Final

from schemas.words import Market

# 1000PEPE is a thousand PEPE. Only these factors, and only before a letter: 1INCH, 0G and 2Z are names.
_MULTIPLIER: Final = re.compile(r"(1000000|100000|10000|1000|1M)(?=[A-Z])")
_FACTORS: Final = {"1M": 1_000_000}
NAMES_LIKE_MULTIPLIERS: Final = frozenset({"1000X"})  # names that only look like it (general knowledge: UNSURE, grows)
# Currencies that a notional may be taken as USD in; one in BTC or EUR has no notional_usd.
DOLLARS: Final = frozenset({"USD", "USDT", "USDC", "BUSD", "FDUSD", "TUSD", "USD1", "USDE"})


def split_multiplier(base: str) -> tuple[str, int]:
    """Asset and how many of its coins the exchange's base stands for.

    >>> split_multiplier("1000PEPE"), split_multiplier("1MBABYDOGE"), split_multiplier("1INCH")
    (('PEPE', 1000), ('BABYDOGE', 1000000), ('1INCH', 1))
    """
    match = _MULTIPLIER.match(base)
    if match is None or base in NAMES_LIKE_MULTIPLIERS:
        return base, 1
    prefix = match.group(1)
    return base[len(prefix) :], _FACTORS.get(prefix) or int(prefix)


def linear_market(margin: str) -> Market:
    """Market of a linear contract margined in this currency; USD stands for coin-margined ones alone."""
    return {"USDT": Market.USDT, "USDC": Market.USDC}.get(margin, Market.OTHER)
