"""Symbols, amounts, instruments, recent ids and health, without any server."""

import doctest
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import producers.budget
import producers.clock
import producers.exchange
import producers.marks
import producers.recent
import producers.symbols
from producers.amounts import inverse, linear_by_coin, linear_by_unit
from producers.exchanges import ADAPTERS
from producers.instruments import Instruments, parse, read, shipped, to_lines
from schemas.errors import SettingsError, UnknownInstrument
from schemas.words import Exchange, Market


@pytest.mark.parametrize(
    "module",
    [
        producers.budget,
        producers.clock,
        producers.exchange,
        producers.marks,
        producers.recent,
        producers.symbols,
    ],
)
def test_examples_of_the_docstrings(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.failed == 0
    assert result.attempted > 0


@pytest.mark.parametrize(
    ("exchange", "symbol", "asset", "market", "size"),
    [
        ("binance", "BTCUSDC", "BTC", Market.USDC, "1"),
        ("binance", "1000000MOGUSDT", "MOG", Market.USDT, "1000000"),
        ("binance", "1MBABYDOGEUSDT", "BABYDOGE", Market.USDT, "1000000"),
        ("binance", "1000XUSDT", "1000X", Market.USDT, "1"),
        ("binance", "4USDT", "4", Market.USDT, "1"),
        ("binance", "BTCFDUSD", "BTC", Market.OTHER, "1"),
        ("binance", "BNBUSD_PERP", "BNB", Market.USD, "10"),
        ("bybit", "10000SATSUSDT", "SATS", Market.USDT, "10000"),
        ("bybit", "BTCUSDT-18SEP26", "BTC", Market.USDT, "1"),
        ("bybit", "1000BONKPERP", "BONK", Market.USDC, "1000"),
        ("bybit", "BTCUSDU23", "BTC", Market.USD, "1"),
    ],
)
def test_symbol_that_no_table_has(exchange: str, symbol: str, asset: str, market: Market, size: str) -> None:
    instrument = ADAPTERS[exchange].instrument_rule(symbol)
    assert instrument is not None
    assert (instrument.asset, instrument.market, instrument.contract_size) == (asset, market, Decimal(size))
    assert instrument.inverse is (market is Market.USD)


FIELDS = ("quantity", "price")


def micro(value: Fraction) -> int:
    return round(value * 1_000_000)  # Python rounds fractions half to even


@settings(max_examples=500)
@given(
    quantity=st.decimals("0.0001", "9999.9999", places=4).map(str),
    price=st.decimals("0.00000001", "9999.99999999", places=8).map(str),
    size=st.sampled_from(["0.0001", "0.01", "1", "10", "100"]).map(Decimal),
)
@example("0.5", "0.000005", Decimal(1))  # 2.5 micro-USD
@example("0.5", "0.000007", Decimal(1))  # 3.5
@example("9999.9999", "9999.99999999", Decimal(100))
@example("4096.0001", "2441.40625000", Decimal(1))
def test_notional_is_the_exact_product_in_whole_micro_usd(quantity: str, price: str, size: Decimal) -> None:
    exact = Fraction(quantity) * Fraction(price)
    by_unit = linear_by_unit(quantity, price, size, "x", FIELDS)
    by_coin = linear_by_coin(quantity, price, size, "x", FIELDS)
    by_usd = inverse(quantity, price, size, "x", FIELDS)
    assert by_unit.notional_usd == micro(exact) / 1_000_000
    assert by_coin.notional_usd == micro(exact * Fraction(size)) / 1_000_000
    assert by_usd.notional_usd == micro(Fraction(quantity) * Fraction(size)) / 1_000_000
    assert by_unit.price * by_unit.quantity == pytest.approx(float(exact))
    assert by_usd.price * by_usd.quantity == pytest.approx(float(Fraction(quantity) * Fraction(size)))


def test_table_survives_being_written(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    path.write_bytes(to_lines(shipped(Exchange.OKX)) + b"\n")
    assert read(path) == shipped(Exchange.OKX)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("nonsense", "line 2"),
        ('{"exchange":"okx","instrument":"X","asset":"X","market":"USDT","inverse":false}', "contract_size"),
        (
            '{"exchange":"kraken","instrument":"X","asset":"X","market":"USDT","contract_size":1,"inverse":false}',
            "kraken",
        ),
        ('{"exchange":"okx","instrument":"X","asset":"X","market":"USDT","contract_size":0,"inverse":false}', "was 0"),
        (
            '{"exchange":"okx","instrument":"X","asset":"X","market":"USDT","contract_size":"NaN","inverse":false}',
            "NaN",
        ),
        ('{"exchange":"okx","instrument":"X Y","asset":"X","market":"USDT","contract_size":1,"inverse":false}', "X Y"),
    ],
)
def test_bad_table_names_file_and_line(line: str, names: str) -> None:
    good = to_lines(shipped(Exchange.OKX)[:1])
    with pytest.raises(SettingsError, match=r"mine\.jsonl, line 2") as refused:
        parse(good + line.encode(), "mine.jsonl")
    assert names in str(refused.value)


def test_missing_table_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read(tmp_path / "none")


def test_what_the_rule_said_is_forgotten_with_a_new_table() -> None:
    adapter = ADAPTERS["binance"]
    table = Instruments(Exchange.BINANCE, [], adapter.instrument_rule)
    assert table["NEWUSDT"].asset == "NEW"
    assert "NEWUSDT" in table
    table.replace(shipped(Exchange.BINANCE))
    assert "NEWUSDT" not in table
    with pytest.raises(UnknownInstrument):
        table["a b"]
