"""Every captured record through what `liqcascade decode` does: nothing of them is refused, whichever kind is asked for.

What the events say is held against the raw texts by the other tests of captured frames."""

import json
import re

import pytest

from producers.decode import decode_lines
from producers.exchange import KINDS
from producers.exchanges import ADAPTERS
from tests.producers.test_captured_frames import FRAMES, payloads

pytestmark = pytest.mark.skipif(
    not FRAMES.is_dir(), reason=f"captured frames are not at {FRAMES}; set LIQCASCADE_REAL_DATA to their folder"
)
BEFORE_ALL_CHANGES_MS = 1_500_000_000_000
# Events of each kind; the rows of contract_stats name no contract, so nobody can say whose they are.
EVENTS = {
    "binance_liquidation": (11, 0, 0),
    "binance_markprice_funding": (0, 0, 11),
    "binance_openinterest": (0, 3, 0),
    "bitget_funding": (0, 0, 2),
    "bitget_funding_legacy": (0, 0, 1),
    "bitget_liquidation": (1, 0, 0),
    "bitget_tickers": (0, 2, 2),
    "bitget_tickers_legacy": (0, 2, 2),
    "bitget_tickers_rest": (0, 2, 2),
    "bybit_funding": (0, 0, 2),
    "bybit_liquidation": (6, 0, 0),
    "bybit_liquidation_legacy": (5, 0, 0),
    "bybit_openinterest": (0, 3, 0),
    "bybit_openinterest_legacy": (0, 3, 0),
    "bybit_tickers": (0, 5, 4),
    "bybit_tickers_legacy": (0, 2, 2),
    "bybit_tickers_rest": (0, 2, 2),
    "gate_contracts_rest": (0, 2, 2),
    "gate_liq_orders_rest": (21, 0, 0),
    "gate_liquidation": (4, 0, 0),
    "gate_tickers": (0, 4, 3),
    "gate_tickers_rest": (0, 2, 2),
    "hyperliquid_ctx": (0, 2, 2),
    "hyperliquid_fills_liquidation": (2, 0, 0),
    "hyperliquid_funding": (0, 0, 3),
    "hyperliquid_trades": (0, 0, 0),
    "okx_funding": (0, 0, 6),
    "okx_liquidation": (6, 0, 0),
    "okx_liquidation_legacy": (3, 0, 0),
    "okx_liquidation_rest": (20, 0, 0),
    "okx_markprice": (0, 0, 0),
    "okx_openinterest": (0, 10, 0),
}
UNSIZED = {  # contracts that no public list names
    "gate": {
        "HEI_USDT", "LAB_USDT", "H_USDT", "龙虾_USDT", "USELESS_USDT", "PONS_USDT", "PUMP_USDT", "UAI_USDT",
        "BONER_USDT", "JUP_USDT", "AKE_USDT", "SUI_USDT", "ETC_USD",
    },
    "okx": {"CNPY-USDT-SWAP", "MUBARAK-USDT-SWAP"},
}  # fmt: skip


def lines_of(name: str) -> list[str]:
    return [json.dumps(payload, ensure_ascii=False) for payload in payloads(f"{name}.jsonl")]


def test_every_file_is_decoded_here() -> None:
    assert {path.stem for path in FRAMES.glob("*.jsonl")} - {"control_frames", "gate_contract_stats"} == set(EVENTS)


@pytest.mark.parametrize("name", EVENTS)
def test_every_record_is_understood(name: str) -> None:
    exchange = name.partition("_")[0]
    at_ms = BEFORE_ALL_CHANGES_MS if name.endswith("_legacy") else None
    unsized = set()
    found = []
    for kind in KINDS:
        decoded = decode_lines(lines_of(name), exchange=exchange, kind=kind, instruments=None, at_ms=at_ms)
        events = [json.loads(line) for line in decoded]
        assert [event for event in events if "error" in event] == []
        assert {event["instrument"] for event in events if "contracts" in event} == set(decoded.unsized)
        assert all(("contracts" in event) is (event.get("quantity", 0) is None) for event in events if "side" in event)
        unsized |= set(decoded.unsized)
        found.append(len(events))
    assert tuple(found) == EVENTS[name]
    assert unsized <= UNSIZED.get(exchange, set())


@pytest.mark.parametrize("exchange", ADAPTERS)
@pytest.mark.parametrize("kind", KINDS)
def test_control_frames_give_nothing(exchange: str, kind: str) -> None:
    word = {"okx": "okex"}.get(exchange, exchange)  # what else the sources of the records call it
    records = map(json.loads, (FRAMES / "control_frames.jsonl").read_text(encoding="utf-8").splitlines())
    mine = [
        json.dumps(record["payload"])
        for record in records
        if {exchange, word} & set(re.findall(r"[a-z]+", f"{record['source']} {record.get('note', '')}"))
    ]
    decoded = decode_lines(mine, exchange=exchange, kind=kind, instruments=None)
    assert list(decoded) == []
