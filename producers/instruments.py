"""Instruments: what one contract of an exchange is. Pure; where tables come from stands in catalogue.py.

A table file is JSON lines: {"exchange","instrument","asset","market","contract_size","inverse"}.
`contract_size` says what a quantity of 1 is: coins of `asset` (linear) or USD (`inverse`). For instruments quoted by a
multiple of the coin it holds the multiplier: 1000PEPEUSDT is asset PEPE with contract_size 1000."""

import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec

from schemas.errors import SettingsError, UnknownInstrument
from schemas.words import Exchange, Market

INSTRUMENTS_MAX: Final = 20_000  # an exchange lists some 1,000; beyond this an invented symbol is not remembered
SYMBOL_CHARACTERS_MAX: Final = 64  # the longest listed ones have about 30
CONTRACT_SIZE_MAX: Final = Decimal(10) ** 13  # the largest listed one is 10^10 coins


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One contract. `contract_size`: coins (linear) or USD (inverse) of a quantity of 1."""

    exchange: Exchange
    instrument: str
    asset: str
    market: Market
    contract_size: Decimal
    inverse: bool


Rule = Callable[[str], Instrument | None]
_LINES: Final = msgspec.json.Decoder(Instrument)
_DEPLOYER: Final = re.compile(r"[a-z][a-z0-9]{0,9}")  # too narrow for a colon that would break event ids
_WRITER: Final = msgspec.json.Encoder(decimal_format="number")


class Instruments(dict[str, Instrument]):
    """Instruments of one exchange by symbol; `rule` describes symbols that no table lists, where that is safe.

    `table[symbol]` raises UnknownInstrument."""

    def __init__(self, exchange: Exchange, known: Iterable[Instrument], rule: Rule) -> None:
        super().__init__()
        self.exchange, self._rule = exchange, rule
        self.replace(known)

    def replace(self, known: Iterable[Instrument]) -> None:
        """Take a new table; what the rule said is forgotten."""
        self.clear()
        self.update((row.instrument, row) for row in known if row.exchange is self.exchange)

    def __missing__(self, symbol: str) -> Instrument:
        instrument = self._rule(symbol) if is_instrument(symbol) else None
        if instrument is None:
            raise UnknownInstrument(
                f"decoding {self.exchange}: {symbol[:SYMBOL_CHARACTERS_MAX]!r} is in no table of instruments, so its "
                "contract size is not known; refresh the table or name a file with it"
            )
        if len(self) < INSTRUMENTS_MAX:
            self[symbol] = instrument
        return instrument


class SizelessInstruments(Instruments):
    """Gives for a contract whose size is in no table what its symbol tells, by `unsized_rule`, with a size of 1.

    `sizeless` has those that were given: no quantity and no notional of theirs is right. For the eye alone, never for
    a topic."""

    def __init__(self, exchange: Exchange, known: Iterable[Instrument], rule: Rule, unsized_rule: Rule) -> None:
        super().__init__(exchange, known, rule)
        self._unsized_rule = unsized_rule
        self.sizeless: dict[str, Instrument] = {}

    def __missing__(self, symbol: str) -> Instrument:
        try:
            return super().__missing__(symbol)
        except UnknownInstrument:
            told = self._unsized_rule(symbol) if is_instrument(symbol) else None
            if told is None or len(self.sizeless) >= INSTRUMENTS_MAX:
                raise
        self.sizeless[symbol] = told
        return told


def no_instrument(symbol: str) -> None:
    """The rule of an exchange whose symbols tell nothing more."""


def is_symbol(text: str) -> bool:
    """True when a text can be a symbol: printable, no space, no colon (event ids are joined by it)."""
    return 0 < len(text) <= SYMBOL_CHARACTERS_MAX and text.isprintable() and " " not in text and ":" not in text


def is_instrument(text: str) -> bool:
    """True when a text can name an instrument: a symbol, maybe behind a deployer's name and a colon (xyz:TSLA)."""
    deployer, colon, coin = text.rpartition(":")
    if not colon:
        return is_symbol(text)
    return _DEPLOYER.fullmatch(deployer) is not None and is_symbol(coin) and len(text) <= SYMBOL_CHARACTERS_MAX


def shipped(exchange: Exchange) -> list[Instrument]:
    """The main instruments of an exchange, as shipped with the project."""
    name = f"{exchange.value}.instruments.jsonl"
    return parse(files("producers.exchanges").joinpath(name).read_bytes(), name)


def read(path: Path) -> list[Instrument]:
    """Instruments of a file. Raises SettingsError when it cannot be read or a line does not fit."""
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as exc:
        raise SettingsError(f"reading instruments from {path}: {exc.strerror}; name a readable file") from exc


def parse(data: bytes, name: str) -> list[Instrument]:
    """Instruments of JSON lines; empty lines are skipped. Raises SettingsError naming the file and the line."""
    instruments = []
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = _LINES.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            raise SettingsError(f"reading instruments from {name}, line {number}: {exc}") from exc
        if not is_fit(row):
            raise SettingsError(
                f"reading instruments from {name}, line {number}: {row.instrument!r} needs a symbol and an asset "
                f"without spaces or colons and a contract_size in 0 to {CONTRACT_SIZE_MAX:.0e}, was {row.contract_size}"
            )
        instruments.append(row)
    return instruments


def is_fit(row: Instrument) -> bool:
    """True when symbol, asset and contract size of a row can be used."""
    size = row.contract_size
    return is_instrument(row.instrument) and is_symbol(row.asset) and size.is_finite() and 0 < size <= CONTRACT_SIZE_MAX


def to_lines(instruments: Iterable[Instrument]) -> bytes:
    """The same as JSON lines."""
    return b"".join(_WRITER.encode(row) + b"\n" for row in instruments)
