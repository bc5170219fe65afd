"""What the simulated exchanges list.

The table is the simulator's own: prices and contract sizes are plausible, and only those that the exchanges document
(BTC and ETH at OKX, the coin-margined ones, the multiplier names) are theirs."""

import math
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, NamedTuple


class Asset(NamedTuple):
    """A coin: its price in USD when a scenario begins, and its part of the liquidations in calm times."""

    name: str
    price_usd: float
    weight: float


ASSETS: Final = (
    Asset("BTC", 85_000.0, 20.0), Asset("ETH", 2_750.0, 16.0), Asset("SOL", 140.0, 8.0), Asset("XRP", 1.5, 6.0),
    Asset("DOGE", 0.16, 5.0), Asset("BNB", 620.0, 3.0), Asset("ADA", 0.55, 3.0), Asset("LINK", 13.5, 3.0),
    Asset("AVAX", 18.0, 2.0), Asset("SUI", 2.1, 3.0), Asset("LTC", 82.0, 2.0), Asset("BCH", 410.0, 1.5),
    Asset("DOT", 3.6, 1.5), Asset("TON", 2.4, 1.0), Asset("TRX", 0.28, 1.0), Asset("NEAR", 2.2, 1.5),
    Asset("APT", 4.4, 1.5), Asset("ARB", 0.31, 1.5), Asset("OP", 0.52, 1.5), Asset("PEPE", 0.0000095, 3.0),
    Asset("WIF", 0.62, 2.0), Asset("BONK", 0.0000182, 1.5), Asset("SHIB", 0.0000121, 1.0), Asset("AAVE", 190.0, 1.0),
    Asset("UNI", 6.1, 1.0), Asset("FIL", 2.0, 1.0), Asset("ETC", 17.0, 1.0), Asset("ATOM", 3.9, 1.0),
    Asset("INJ", 9.5, 1.0), Asset("CELO", 0.096, 0.5),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Instrument:
    """One contract as its exchange lists it.

    contract_size: coins (inverse: USD) that one unit of the exchange's quantity stands for.
    price_coins: coins that the exchange's price is for. tick, step: grid of price and quantity, exchange's units."""

    symbol: str
    asset: str
    base: str
    quote: str
    settle: str
    contract_size: Decimal
    price_coins: Decimal
    inverse: bool
    tick: Decimal
    step: Decimal
    dated: bool = False

    @property
    def coin_margined(self) -> bool:
        """Settled in the coin itself."""
        return self.settle == self.base


# Coins that one unit of the name holds; coins that begin with a digit by themselves (1INCH, 0G, 2Z) have none.
_PREFIX: Final = re.compile(r"^(1000000|100000|10000|1000|1M)(?=[A-Z])")
_SUFFIX: Final = re.compile(r"(?<=[A-Z])(1000)$")
_MULTIPLIED: Final = {
    "binance": {"PEPE": "1000PEPE", "BONK": "1000BONK", "SHIB": "1000SHIB"},
    "bybit": {"PEPE": "1000PEPE", "BONK": "1000BONK", "SHIB": "SHIB1000"},
    "hyperliquid": {"PEPE": "kPEPE", "BONK": "kBONK", "SHIB": "kSHIB"},
}
# BTC, ETH: OKX's documents. The others, which only need to be listed so that a captured frame has a size: our own.
_OKX_CONTRACT_COINS: Final = {
    "BTC": "0.01", "ETH": "0.1", "BNB": "0.01", "BCH": "0.1", "AAVE": "0.1", "XRP": "100", "DOGE": "1000",
    "ADA": "100", "TRX": "1000", "NEAR": "10", "ARB": "10", "PEPE": "10000000", "BONK": "100000", "SHIB": "1000000",
    "FIL": "0.1", "ETC": "10", "CNPY": "1", "CELO": "1", "MUBARAK": "1", "IOST": "1000", "APT": "1",
}  # fmt: skip
# BTC, ETH: Gate's documents. The others: our own, about $10 a contract.
_GATE_CONTRACT_COINS: Final = {"BTC": "0.0001", "ETH": "0.01"}
_COIN_MARGINED_USD: Final = {"BTC": 100}  # Binance COIN-M and OKX alike; every other coin: 10
_BITGET_AMOUNT_STEP: Final = Decimal("0.00001")
_ONE: Final = Decimal(1)
# The assets that have coin-margined contracts here.
COIN_MARGINED_ASSETS: Final = {
    **dict.fromkeys(("binance", "bybit", "okx", "bitget"), frozenset({"BTC", "ETH"})), "gate": frozenset({"BTC"}),
    "hyperliquid": frozenset(),
}  # fmt: skip
_UNLISTED_PRICE_USD: Final = 1.0  # for instruments that only captured frames name: nothing is sent at this price


def _price_tick(price: float) -> Decimal:
    """Five significant digits."""
    return Decimal(1).scaleb(math.floor(math.log10(price)) - 4)


def _quantity_step(unit_value_usd: float) -> Decimal:
    """The power of ten, at most 1, that is worth at most $100 a step."""
    return Decimal(1).scaleb(min(0, 1 - math.floor(math.log10(unit_value_usd))))


def _coins_in_name(base: str) -> tuple[str, Decimal]:
    """`1000PEPE` -> PEPE, 1000; `SHIB1000` -> SHIB, 1000; `BTC` -> BTC, 1."""
    if found := _PREFIX.match(base):
        word = found.group(1)
        return base[found.end() :], Decimal(1_000_000 if word == "1M" else int(word))
    if found := _SUFFIX.search(base):
        return base[: found.start()], Decimal(found.group(1))
    return base, Decimal(1)


def _linear(symbol: str, base: str, quote: str, *, contract_coins: Decimal | None = None) -> Instrument:
    asset, coins = _coins_in_name(base)
    price = price_usd(asset) * float(coins)
    size = coins if contract_coins is None else contract_coins
    unit_value_usd = price * float(size / coins)
    return Instrument(
        symbol, asset, base, quote, quote, size, coins, False, _price_tick(price), _quantity_step(unit_value_usd)
    )


def _coin_margined(symbol: str, asset: str, *, dated: bool = False, size: Decimal | None = None) -> Instrument:
    size = size or Decimal(_COIN_MARGINED_USD.get(asset, 10))
    return Instrument(
        symbol, asset, asset, "USD", asset, size, _ONE, True, _price_tick(price_usd(asset)), _ONE, dated=dated
    )


def price_usd(asset: str) -> float:
    """Price of a coin when a scenario begins."""
    return {known.name: known.price_usd for known in ASSETS}.get(asset, _UNLISTED_PRICE_USD)


def binance_instrument(symbol: str) -> Instrument:
    """By Binance's naming: BTCUSDT, 1000PEPEUSDT, BTCUSD_PERP (coin-margined), BTCUSD_200925 (dated)."""
    pair, _, expiry = symbol.partition("_")
    for quote in ("USDT", "USDC"):
        if pair.endswith(quote):
            return _linear(symbol, pair.removesuffix(quote), quote)
    return _coin_margined(symbol, pair.removesuffix("USD"), dated=expiry not in ("", "PERP"))


def bybit_instrument(symbol: str) -> Instrument:
    """By Bybit's naming: BTCUSDT, SHIB1000USDT, BTCPERP (USDC-margined); BTCUSD, BTCUSDU23 (inverse, sizes in USD)."""
    base, quote, expiry = symbol.partition("USD")
    if base and quote and not expiry.startswith("T"):
        return _coin_margined(symbol, base, dated=bool(expiry), size=_ONE)
    if symbol.endswith("PERP"):
        return _linear(symbol, symbol.removesuffix("PERP"), "USDC")
    return _linear(symbol, symbol.partition("-")[0].removesuffix("USDT"), "USDT")


def okx_instrument(symbol: str) -> Instrument:
    """By OKX's naming: BTC-USDT-SWAP; BTC-USD-SWAP, BTC-USD-261225 (coin-margined). A coin outside our table has 1 a
    contract."""
    base, quote, expiry, *_ = [*symbol.split("-"), "", ""]
    dated = expiry.isdigit()
    if quote == "USD":
        return _coin_margined(symbol, base, dated=dated)
    coins = Decimal(_OKX_CONTRACT_COINS.get(base, "1"))
    return replace(_linear(symbol, base, quote, contract_coins=coins), dated=dated)


def gate_instrument(symbol: str) -> Instrument:
    """By Gate's naming: BTC_USDT; BTC_USD (BTC-margined, 1 contract = 1 USD)."""
    base, _, quote = symbol.partition("_")
    if quote == "USD":
        return _coin_margined(symbol, base, size=_ONE)
    known = _GATE_CONTRACT_COINS.get(base)
    coins = Decimal(known) if known else _ONE.scaleb(1 - math.floor(math.log10(price_usd(base))))
    return replace(_linear(symbol, base, quote.partition("_")[0], contract_coins=coins), step=_ONE)


def bitget_instrument(symbol: str) -> Instrument:
    """By Bitget's naming: BTCUSDT, BTCPERP (USDC-margined), BTCUSD_CM (coin-margined).

    Its quantities are amounts of the quote currency, which is what `inverse` means here for every contract."""
    asset, quote = symbol.removesuffix("USD_CM"), "USD"
    if not symbol.endswith("_CM"):
        quote = "USDC" if symbol.endswith("PERP") else "USDT"
        asset = symbol.removesuffix("PERP").removesuffix("USDT")
    coin, coins = _coins_in_name(asset)
    tick = _price_tick(price_usd(coin) * float(coins))
    return Instrument(
        symbol, coin, asset, quote, asset if quote == "USD" else quote, _ONE, coins, True, tick, _BITGET_AMOUNT_STEP
    )


def hyperliquid_instrument(symbol: str) -> Instrument:
    """By Hyperliquid's naming: BTC, kPEPE (1000 PEPE), settled in USDC."""
    asset = symbol[1:] if symbol[0] == "k" and symbol[1:].isupper() else symbol
    coins = Decimal(1 if asset == symbol else 1000)
    price = price_usd(asset) * float(coins)
    return Instrument(
        symbol, asset, symbol, "USD", "USDC", coins, coins, False, _price_tick(price), _quantity_step(price)
    )


def binance_listing() -> list[Instrument]:
    """Everything that Binance lists here: USDⓈ-M perpetuals and two coin-margined ones."""
    names = _MULTIPLIED["binance"]
    linear = [f"{names.get(asset.name, asset.name)}USDT" for asset in ASSETS]
    return [binance_instrument(symbol) for symbol in [*linear, "BTCUSDC", "BTCUSD_PERP", "ETHUSD_PERP"]]


def bybit_listing() -> list[Instrument]:
    """Everything that Bybit lists here: linear and inverse."""
    names = _MULTIPLIED["bybit"]
    linear = [f"{names.get(asset.name, asset.name)}USDT" for asset in ASSETS]
    return [bybit_instrument(symbol) for symbol in [*linear, "BTCPERP", "BTCUSD", "ETHUSD"]]


def okx_listing() -> list[Instrument]:
    """Everything that OKX lists here: swaps, with the coins that captured frames are about, and one dated future."""
    assets = dict.fromkeys([asset.name for asset in ASSETS] + list(_OKX_CONTRACT_COINS))
    linear = [f"{asset}-USDT-SWAP" for asset in assets]
    others = ["BTC-USDC-SWAP", "BTC-USD-SWAP", "ETH-USD-SWAP", "BTC-USD-261225"]
    return [okx_instrument(symbol) for symbol in [*linear, *others]]


def gate_listing() -> list[Instrument]:
    """Everything that Gate lists here, USDT- and BTC-margined."""
    return [gate_instrument(symbol) for symbol in [*(f"{asset.name}_USDT" for asset in ASSETS), "BTC_USD"]]


def bitget_listing() -> list[Instrument]:
    """Everything that Bitget lists here in its three product lines."""
    linear = [f"{asset.name}USDT" for asset in ASSETS]
    return [bitget_instrument(symbol) for symbol in [*linear, "BTCPERP", "1000BONKPERP", "BTCUSD_CM", "ETHUSD_CM"]]


def hyperliquid_listing() -> list[Instrument]:
    """Everything that Hyperliquid lists here on its first perpetual exchange."""
    names = _MULTIPLIED["hyperliquid"]
    return [hyperliquid_instrument(names.get(asset.name, asset.name)) for asset in ASSETS]
