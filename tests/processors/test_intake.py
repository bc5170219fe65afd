"""The compiled reader of values: it takes what the codec takes, and leaves to the codec what it does not know."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.outputs.output import WRITTEN
from processors.settings import DetectorSettings
from processors.windows.intake import read_run
from processors.windows.run import LogRun
from processors.windows.seen import id_of
from processors.windows.store import NOTIONAL_USD_MAX, Store
from schemas.records import Liquidation
from schemas.topics import LIQUIDATIONS
from schemas.words import EXCHANGE_SLOTS, Completeness, Exchange, Market, PriceKind, Side
from tests.processors.logs import CODEC

HEADER = CODEC.header(LIQUIDATIONS)
texts = st.text(max_size=30)
liquidations = st.builds(
    Liquidation,
    event_id=texts,
    exchange=st.sampled_from(Exchange),
    asset=st.one_of(st.sampled_from(("BTC", "ETH", "")), texts),
    instrument=texts,
    market=st.sampled_from(Market),
    side=st.sampled_from(Side),
    price=st.floats(),
    quantity=st.floats(),
    notional_usd=st.one_of(st.floats(0, 1e6), st.floats(), st.just(NOTIONAL_USD_MAX)),
    price_kind=st.sampled_from(PriceKind),
    completeness=st.sampled_from(Completeness),
    event_time_ms=st.integers(-(2**62), 2**62),
    received_time_us=st.integers(-(2**62), 2**62),
    backlog=st.booleans(),
)


def read(values: list[bytes], *, slowly: bool = False) -> tuple[list[Any], list[tuple[int, str]], list[str]]:
    """Rows as they are read, what was refused, and the names of the assets."""
    store = Store(DetectorSettings(), partition=0, headers=[CODEC.header(topic) for topic in WRITTEN])
    run = LogRun([*range(len(values))], [*range(1_000, 1_000 + len(values))], [*values])
    given = read_run(run, store, b"\x00\xff\xff\xff\xff" if slowly else HEADER, lambda v: CODEC.decode(Liquidation, v))
    rows = [tuple(row) for row in given.events.tolist()]
    refused = [(one.offset, re.sub("0x[0-9a-f]+", "", str(one.reason))) for one in given.refused]
    return rows, refused, store.names


@settings(max_examples=150, deadline=None)
@given(st.lists(liquidations, max_size=6))
def test_values_are_read_as_the_codec_reads_them(events: list[Liquidation]) -> None:
    values = [CODEC.encode(LIQUIDATIONS, event) for event in events]
    rows, refused, names = read(values)
    assert repr((rows, refused)) == repr(read(values, slowly=True)[:2])  # repr: NaN is not itself
    assert sorted(names) == sorted({event.asset for event in events if names.count(event.asset)})


@settings(max_examples=150, deadline=None)
@given(liquidations, st.integers(0, 200), st.integers(0, 255), st.integers(0, 200))
def test_damaged_values_are_read_or_refused_as_the_codec_does(event: Liquidation, at: int, byte: int, cut: int) -> None:
    value = bytearray(CODEC.encode(LIQUIDATIONS, event))
    value[at % len(value)] = byte
    values = [bytes(value), bytes(value[: cut % (len(value) + 1)]), b"", bytes(value) + b"\x00"]
    assert repr(read(values)[:2]) == repr(read(values, slowly=True)[:2])


def test_fields_of_a_row() -> None:
    event = Liquidation(
        event_id="x:1", exchange=Exchange.OKX, asset="ETH", instrument="ETHUSDT", market=Market.USDT, side=Side.SHORT,
        price=2.5, quantity=3.0, notional_usd=7.5000005, price_kind=PriceKind.FILL, completeness=Completeness.PARTIAL,
        event_time_ms=77, received_time_us=5, backlog=True,
    )  # fmt: skip
    store = Store(DetectorSettings(), partition=0, headers=[HEADER] * 3)
    value = CODEC.encode(LIQUIDATIONS, event)
    (row,) = read_run(LogRun([4], [99], [value]), store, HEADER, lambda value: pytest.fail("read by the codec")).events
    named = {name: row[name].item() for name in row.dtype.names}
    assert named == {
        "offset": 4, "append_ms": 99, "begin": 0, "end": len(value), "id": id_of("x:1"), "event_ms": 77,
        "micro_usd": 7_500_000, "price": 2.5, "notional_usd": 7.5000005, "asset": 0,
        "slot": EXCHANGE_SLOTS["okx"], "side": 1, "tape": tuple(Completeness).index(Completeness.PARTIAL), "backlog": 1,
        "double": 0,
    }  # fmt: skip
    assert np.array_equal(store.names, ["ETH"])
