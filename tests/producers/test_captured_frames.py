"""Frames that exchanges really sent, against figures worked out here from the raw texts, without the decoders."""

import json
import os
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import pytest

from producers.exchange import LIQUIDATION
from producers.exchanges import ADAPTERS
from producers.instruments import Instrument, Instruments, shipped
from schemas.errors import FrameRefused
from schemas.records import Liquidation
from schemas.words import Exchange, Market, Side

REAL_DATA = Path(os.environ.get("LIQCASCADE_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
FRAMES = REAL_DATA / "frames"
pytestmark = pytest.mark.skipif(
    not FRAMES.is_dir(), reason=f"captured frames are not at {FRAMES}; set LIQCASCADE_REAL_DATA to their folder"
)
OKX_SIZES = {"CNPY-USDT-SWAP": "1", "MUBARAK-USDT-SWAP": "100", "APT-USDT-SWAP": "1"}  # not in the shipped table


def payloads(name: str) -> list[Any]:
    lines = (FRAMES / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["payload"] for line in lines]


def decode(exchange: str, payload: Any) -> list[Liquidation]:
    adapter = ADAPTERS[exchange]
    extra = [
        Instrument(
            exchange=Exchange.OKX, instrument=symbol, asset=symbol.split("-")[0], market=Market.USDT,
            contract_size=Decimal(size), inverse=False,
        )
        for symbol, size in OKX_SIZES.items()
    ]  # fmt: skip
    table = Instruments(adapter.exchange, shipped(adapter.exchange) + extra, adapter.instrument_rule)
    frame = json.dumps(payload, ensure_ascii=False).encode()
    return adapter.decoders[LIQUIDATION](frame, received_time_us=0, instruments=table)


def usd(amount: Decimal) -> float:
    return float(amount.quantize(Decimal("0.000001"), ROUND_HALF_EVEN))


def figures(event: Liquidation) -> tuple[str, Side, float, float, float, int]:
    return event.instrument, event.side, event.quantity, event.price, event.notional_usd, event.event_time_ms


def test_binance() -> None:
    for payload in payloads("binance_liquidation.jsonl"):
        order = payload.get("data", payload)["o"]
        quantity, price = Decimal(order["z"]), Decimal(order["ap"])
        side = Side.LONG if order["S"] == "SELL" else Side.SHORT
        if "USD_" in order["s"]:  # the one coin-margined frame: contracts of 100 USD
            coins, notional = quantity * 100 / price, quantity * 100
        else:
            coins, notional = quantity, quantity * price
        expected = (order["s"], side, float(coins), float(price), usd(notional), order["T"])
        assert [figures(event) for event in decode("binance", payload)] == [expected]


def test_binance_orders_are_worse_than_their_fills() -> None:
    """The physics of the side: a sold order (long) is limited below its average fill, a bought one above."""
    orders = [payload.get("data", payload)["o"] for payload in payloads("binance_liquidation.jsonl")]
    assert {order["S"] for order in orders} == {"BUY", "SELL"}
    for order, payload in zip(orders, payloads("binance_liquidation.jsonl"), strict=True):
        (event,) = decode("binance", payload)
        assert event.side is (Side.LONG if Decimal(order["p"]) <= Decimal(order["ap"]) else Side.SHORT)


def test_bybit() -> None:
    for payload in payloads("bybit_liquidation.jsonl"):
        expected = [
            (
                row["s"],
                Side.LONG if row["S"] == "Buy" else Side.SHORT,
                float(row["v"]),
                float(row["p"]),
                usd(Decimal(row["v"]) * Decimal(row["p"])),
                row["T"],
            )
            for row in payload["data"]
        ]
        assert [figures(event) for event in decode("bybit", payload)] == expected


def test_okx() -> None:
    sizes = {row.instrument: row.contract_size for row in shipped(Exchange.OKX)}
    sizes |= {symbol: Decimal(size) for symbol, size in OKX_SIZES.items()}
    rest = payloads("okx_liquidation_rest.jsonl")
    assert sum(len(row["details"]) for payload in rest for row in payload["data"]) == 20
    for payload in payloads("okx_liquidation.jsonl") + rest:
        expected = []
        for row in payload.get("data", [payload]):  # one is an element of `data` alone
            for detail in row["details"]:
                coins, price = Decimal(detail["sz"]) * sizes[row["instId"]], Decimal(detail["bkPx"])
                side = Side.LONG if detail["posSide"] == "long" else Side.SHORT
                figure = (row["instId"], side, float(coins), float(price), usd(coins * price), int(detail["ts"]))
                expected.append(figure)
        assert [figures(event) for event in decode("okx", payload)] == expected


def test_legacy_frames_are_refused_by_the_decoders_of_today() -> None:
    for exchange in ("bybit", "okx"):
        for payload in payloads(f"{exchange}_liquidation_legacy.jsonl"):
            with pytest.raises(FrameRefused):
                decode(exchange, payload)


def test_every_row_has_an_id_of_its_own() -> None:
    ids = [
        event.event_id
        for exchange in ("binance", "bybit", "okx")
        for payload in payloads(f"{exchange}_liquidation.jsonl")
        for event in decode(exchange, payload)
    ]
    assert len(ids) == len(set(ids)) == 11 + 6 + 6
