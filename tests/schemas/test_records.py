"""The mirrors say what the schemas say; every record survives the wire; an independent reader agrees."""

import io
import json
from typing import Any, get_args, get_origin, get_type_hints

import avro.io
import avro.schema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import words
from schemas.codec import HEADER, Codec, from_plain, to_json, to_plain
from schemas.errors import SchemaError
from schemas.records import Liquidation, Record
from schemas.registry import LATEST_IDS, schema_json
from schemas.topics import LIQUIDATIONS, OPEN_INTEREST, TOPICS
from tests.schemas.strategies import records

KINDS = {topic.record.__name__: (topic, topic.record) for topic in TOPICS.values() if topic.record is not None}
AVRO_NAMES = {str: "string", float: "double", int: ("long", "int"), bool: "boolean", bytes: "bytes"}


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec()


def named(schema: Any, found: dict[str, Any]) -> dict[str, Any]:
    """All named types of a schema by name."""
    if isinstance(schema, list):
        for part in schema:
            named(part, found)
    elif isinstance(schema, dict):
        if schema["type"] in ("record", "enum"):
            found[schema["name"]] = schema
        for part in [field["type"] for field in schema.get("fields", [])] + [
            schema[key] for key in ("items", "values") if key in schema
        ]:
            named(part, found)
    return found


def same(python: Any, avro_type: Any) -> bool:
    """A Python annotation and an Avro type mean the same."""
    if isinstance(avro_type, list):
        return type(None) in get_args(python) and avro_type[0] == "null" and same(get_args(python)[0], avro_type[1])
    if isinstance(avro_type, str):
        if python in AVRO_NAMES:
            return avro_type in AVRO_NAMES[python]
        return bool(avro_type == f"liqcascade.{python.__name__}")
    if avro_type["type"] == "array":
        return get_origin(python) is tuple and same(get_args(python)[0], avro_type["items"])
    if avro_type["type"] == "map":
        return get_origin(python) is dict and same(get_args(python)[1], avro_type["values"])
    return bool(python.__name__ == avro_type["name"])


def parts() -> list[tuple[str, Any]]:
    found: dict[str, Any] = {}
    for name in LATEST_IDS:
        for part, schema in named(json.loads(schema_json(LATEST_IDS[name])), {}).items():
            assert found.setdefault(part, schema) == schema, f"{part} differs between schemas"
    return sorted(found.items())


@pytest.mark.parametrize(("name", "schema"), parts(), ids=lambda part: part if isinstance(part, str) else "")
def test_mirror_has_the_schemas_fields(name: str, schema: dict[str, Any]) -> None:
    if schema["type"] == "enum":
        assert [str(word) for word in getattr(words, name)] == schema["symbols"]
        assert schema["default"] == schema["symbols"][0] == "UNKNOWN"
        return
    import schemas.records

    mirror = getattr(schemas.records, name)
    assert issubclass(mirror, Record)
    hints = get_type_hints(mirror)
    assert list(mirror.__struct_fields__) == [field["name"] for field in schema["fields"]]
    for field in schema["fields"]:
        assert field["doc"].endswith("."), f"{name}.{field['name']} needs a doc sentence"
        assert same(hints[field["name"]], field["type"]), field


def test_every_record_of_a_topic_has_a_schema_id() -> None:
    assert set(KINDS) == set(LATEST_IDS)


@pytest.mark.parametrize("name", sorted(KINDS))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_record_survives_the_wire(name: str, data: st.DataObject) -> None:
    topic, kind = KINDS[name]
    record = data.draw(records(kind))
    codec = Codec()
    assert codec.decode(kind, codec.encode(topic, record)) == record


@pytest.mark.parametrize("name", sorted(KINDS))
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_an_independent_reader_agrees(name: str, data: st.DataObject) -> None:
    topic, kind = KINDS[name]
    record = data.draw(records(kind))
    value = Codec().encode(topic, record)
    schema = avro.schema.parse(schema_json(LATEST_IDS[name]))
    reader = avro.io.DatumReader(schema, schema)
    assert from_plain(kind, reader.read(avro.io.BinaryDecoder(io.BytesIO(value[HEADER.size :])))) == record


@settings(max_examples=50, deadline=None)
@given(record=records(Liquidation))
def test_json_has_the_fields_names_and_numbers(record: Liquidation) -> None:
    assert msgspec.json.decode(to_json(record)) == to_plain(record)


def test_record_of_another_topic_is_refused(codec: Codec) -> None:
    with pytest.raises(SchemaError, match=r"market\.open-interest holds OpenInterest, not Liquidation"):
        codec.encode(OPEN_INTEREST, example())


@pytest.mark.parametrize(
    "value", [b"", b"\0\0\0", b"{}garbage", b"\0\0\0\0\xff....", b"\0\0\0\0\x01\x02", b"\0\0\0\0\x07" + b"\xff" * 40]
)
def test_bytes_that_do_not_fit_are_a_schema_error(codec: Codec, value: bytes) -> None:
    with pytest.raises(SchemaError):
        codec.decode(Liquidation, value)


def test_truncated_value_is_a_schema_error(codec: Codec) -> None:
    value = codec.encode(LIQUIDATIONS, example())
    for cut in range(5, len(value)):
        with pytest.raises(SchemaError):
            codec.decode(Liquidation, value[:cut])


def example() -> Liquidation:
    return Liquidation(
        event_id="bybit:BTCUSDT:1791565600992:Buy:0.006:82396.90:0",
        exchange=words.Exchange.BYBIT,
        asset="BTC",
        instrument="BTCUSDT",
        market=words.Market.USDT,
        side=words.Side.LONG,
        price=82396.9,
        quantity=0.006,
        notional_usd=494.3814,
        price_kind=words.PriceKind.BANKRUPTCY,
        completeness=words.Completeness.ALL,
        event_time_ms=1791565600992,
        received_time_us=1791565601482000,
    )
