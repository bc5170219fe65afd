"""The quick encoder writes the bytes that fastavro writes, or leaves the record to it."""

import doctest
import io
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import flat
from schemas.codec import HEADER, Codec, from_plain, to_plain
from schemas.errors import SchemaError
from schemas.flat import flat_encoder, long
from schemas.records import CascadeAlert, FeedHealth, Funding, Liquidation, OpenInterest, Record
from schemas.registry import latest_schema
from schemas.topics import LIQUIDATIONS
from tests.schemas.strategies import records

FLAT: list[type[Record]] = [Liquidation, OpenInterest, Funding, FeedHealth]
INT64 = st.integers(-(2**63), 2**63 - 1)


def by_fastavro(schema: Any, value: Any) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, value)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", FLAT, ids=lambda kind: kind.__name__)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_same_bytes_as_fastavro(kind: type[Record], data: st.DataObject) -> None:
    encode = flat_encoder(latest_schema(kind))
    assert encode is not None
    record = data.draw(records(kind))
    assert encode(record, b"before") == b"before" + by_fastavro(latest_schema(kind), to_plain(record))


@settings(max_examples=300, deadline=None)
@given(value=INT64 | st.integers(-20_000, 20_000) | st.integers(40, 56).flatmap(lambda bits: st.just(1 << bits)))
def test_long_is_fastavros_or_too_long(value: int) -> None:
    if -(2**55) <= value < 2**55:
        assert long(value) == by_fastavro("long", value)
    else:
        with pytest.raises(OverflowError):
            long(value)


@settings(max_examples=50, deadline=None)
@given(record=records(Liquidation), time=INT64, length=st.integers(0, 40_000))
def test_long_strings_and_numbers_are_encoded_all_the_same(record: Liquidation, time: int, length: int) -> None:
    wide = msgspec.structs.replace(record, event_time_ms=time, event_id="x" * length)
    value = Codec().encode(LIQUIDATIONS, wide)
    assert value[HEADER.size :] == by_fastavro(latest_schema(Liquidation), to_plain(wide))
    assert Codec().decode(Liquidation, value) == wide


@pytest.mark.parametrize(
    "wrong",
    [
        {"side": "BOTH"}, {"price": "1"}, {"price": None}, {"asset": None}, {"asset": 5}, {"asset": "\ud800"},
        {"event_time_ms": "1"}, {"event_time_ms": 2**63}, {"event_time_ms": 1.5},
    ],
    ids=str,
)  # fmt: skip
def test_value_that_does_not_fit_is_a_schema_error(wrong: dict[str, Any]) -> None:
    record = msgspec.structs.replace(EXAMPLE, **wrong)
    with pytest.raises(SchemaError, match="Liquidation"):
        Codec().encode(LIQUIDATIONS, record)


def test_nested_record_is_not_flat() -> None:
    assert flat_encoder(latest_schema(CascadeAlert)) is None


def test_documented_examples() -> None:
    assert doctest.testmod(flat).failed == 0


EXAMPLE = from_plain(
    Liquidation,
    {
        "event_id": "e", "exchange": "bybit", "asset": "BTC", "instrument": "BTCUSDT", "market": "USDT", "side": "LONG",
        "price": 2.0, "quantity": 3.0, "notional_usd": 6.0, "price_kind": "AVERAGE", "completeness": "ALL",
        "event_time_ms": 1_791_565_600_992, "received_time_us": 0,
    },
)  # fmt: skip
