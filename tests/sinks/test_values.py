"""Many values at once are what the codec makes of them one by one, whatever they are."""

import re
import struct
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.errors import SchemaError
from schemas.records import FeedHealth, Funding, Liquidation, OpenInterest, Record
from schemas.topics import LIQUIDATIONS
from sinks.values import VALUES_MIN, Values
from tests.schemas.strategies import records
from tests.sinks.records import CODEC, TOPIC_OF, liquidation, window

FLAT = [Liquidation, OpenInterest, Funding, FeedHealth]
GOOD = [
    CODEC.encode(LIQUIDATIONS, liquidation(number, event_time_ms=1_760_000_000_000)) for number in range(VALUES_MIN)
]


def same(kind: type[Record], values: Sequence[bytes | None]) -> bool:
    return list(map(told, Values(CODEC, kind).decode(values))) == [told(codecs(kind, value)) for value in values]


def told(one: Record | SchemaError) -> str:
    """As text, since a double may be no number; without addresses in memory, which are another every time."""
    return re.sub("0x[0-9a-f]+", "", repr(one))


def codecs(kind: type[Record], value: bytes | None) -> Record | SchemaError:
    try:
        if value is None:
            raise SchemaError(f"decoding {kind.__name__}: the record has no value")
        return CODEC.decode(kind, value)
    except SchemaError as exc:
        return exc


@pytest.mark.parametrize("kind", FLAT)
@given(data=st.data())
def test_every_flat_record(kind: type[Record], data: st.DataObject) -> None:
    some = data.draw(st.lists(records(kind), min_size=1, max_size=4))
    assert same(kind, [CODEC.encode(TOPIC_OF[kind], one) for one in some] * VALUES_MIN)


def test_records_that_are_not_flat() -> None:
    values = [CODEC.encode(TOPIC_OF[type(one)], one) for one in map(window, range(VALUES_MIN))]
    assert same(type(window()), values)


@given(
    at=st.integers(0, VALUES_MIN - 1),
    cut=st.slices(len(GOOD[0])),
    byte=st.binary(max_size=3),
)
def test_a_damaged_value_is_the_codecs_matter_and_its_neighbours_are_read(at: int, cut: slice, byte: bytes) -> None:
    values = list(GOOD)
    value = values[at]
    values[at] = value[: cut.start] + byte + value[cut.stop :]
    assert same(Liquidation, values)


@given(at=st.integers(0, VALUES_MIN), value=st.binary(max_size=300) | st.none())
def test_whatever_else_lies_in_the_topic_is_refused_alone(at: int, value: bytes) -> None:
    assert same(Liquidation, [*GOOD[:at], value, *GOOD[at:]])


@pytest.mark.parametrize("field", ["event_id", "asset", "instrument"])
@pytest.mark.parametrize("text", ["", "x" * 63, "x" * 64, "x" * 8_191, "x" * 8_192, "x" * 100_000, "币安", "\x7f\x80"])
def test_long_texts_and_other_letters(field: str, text: str) -> None:
    odd = CODEC.encode(LIQUIDATIONS, liquidation(1, **{field: text}))
    assert same(Liquidation, [odd, *GOOD, odd])


@pytest.mark.parametrize("time", [0, -1, 63, 64, 2**54, 2**55 - 1, 2**55, 2**63 - 1, -(2**55), -(2**55) - 1, -(2**63)])
def test_numbers_of_any_length(time: int) -> None:
    odd = CODEC.encode(LIQUIDATIONS, liquidation(1, event_time_ms=time, received_time_us=time))
    assert same(Liquidation, [*GOOD, odd])


@pytest.mark.parametrize("count", [0, 1, VALUES_MIN - 1, VALUES_MIN])
def test_any_number_of_values(count: int) -> None:
    assert same(Liquidation, GOOD[:count])


def test_a_first_value_that_is_none_does_not_slow_the_next_batches() -> None:
    values = Values(CODEC, Liquidation)
    assert isinstance(values.decode([b"none", *GOOD])[0], SchemaError)
    assert values.decode(GOOD)[0] == CODEC.decode(Liquidation, GOOD[0])


class Shifted:
    """A registry in which the newest schema has another id."""

    def id_for(self, record: type[Record], topic: str) -> int:
        return 77

    def writer_schema(self, schema_id: int) -> object:
        if schema_id != 77:
            raise SchemaError(f"no schema {schema_id}")
        return CODEC.ids.writer_schema(CODEC.ids.id_for(Liquidation, ""))


def test_the_id_of_the_newest_schema_is_the_registrys() -> None:
    codec = Codec()
    codec.ids = Shifted()
    values = Values(codec, Liquidation)
    elsewhere = [value[:1] + struct.pack(">I", 77) + value[5:] for value in GOOD]
    decoded = values.decode([*elsewhere, GOOD[0]])
    assert decoded[:-1] == [CODEC.decode(Liquidation, value) for value in GOOD]
    assert isinstance(decoded[-1], SchemaError)


def test_records_are_as_typed_as_the_codecs() -> None:
    (first, *_) = Values(CODEC, Liquidation).decode(GOOD)
    assert isinstance(first, Liquidation)
    types = {type(getattr(first, name)) for name in msgspec.structs.asdict(first)}
    assert types == {type(getattr(CODEC.decode(Liquidation, GOOD[0]), name)) for name in msgspec.structs.asdict(first)}
