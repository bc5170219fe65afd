"""The example in docs/add-an-exchange.md works as it stands."""

import json
import re
from pathlib import Path

from producers.exchange import LIQUIDATION, ControlKind, ExchangeAdapter
from producers.instruments import Instruments

PAGE = (Path(__file__).parent.parent.parent / "docs" / "add-an-exchange.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert isinstance(text, str)
    return text


def test_example_decodes_its_sample() -> None:
    namespace: dict[str, object] = {"__name__": "kraken"}
    exec(compile(block("python").replace("Exchange.KRAKEN", "Exchange.UNKNOWN"), "kraken.py", "exec"), namespace)
    adapter = namespace["ADAPTER"]
    assert isinstance(adapter, ExchangeAdapter)
    instruments = Instruments(adapter.exchange, (), adapter.instrument_rule)
    case = json.loads(block("json"))
    frame = json.dumps(case["frame"]).encode()
    (event,) = adapter.decoders[LIQUIDATION](frame, received_time_us=0, instruments=instruments)
    assert (event.side, event.quantity, event.notional_usd) == (case["side"], case["quantity"], case["notional_usd"])
    ordinary = json.dumps(case["frame"] | {"type": "fill"}).encode()
    assert adapter.decoders[LIQUIDATION](ordinary, received_time_us=0, instruments=instruments) == []
    ack = adapter.control(b'{"event":"subscribed","feed":"trade","product_ids":["PI_XBTUSD"]}')
    assert ack is not None
    assert ack.kind is ControlKind.ACK
