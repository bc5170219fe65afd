"""What lies in topics stays readable: published schemas never change, and newer ones read what older ones wrote."""

import hashlib
import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import fastavro
import pytest
from fastavro.utils import generate_many

import schemas
from schemas.codec import HEADER, MAGIC, Codec
from schemas.records import FeedHealth
from schemas.registry import SCHEMA_IDS, schema_json
from schemas.topics import FEED_HEALTH
from schemas.words import Exchange, FeedState

PUBLISHED = json.loads((Path(__file__).parent / "published.json").read_text())
FOLDER = Path(schemas.__file__).parent / "avsc"


def reads(older: Any, newer: Any) -> bool:
    """Whether everything that `older` may write resolves to `newer`."""
    writer, reader = fastavro.parse_schema(older), fastavro.parse_schema(newer)
    for record in generate_many(writer, 50):
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, writer, record)
        buffer.seek(0)
        try:
            fastavro.schemaless_reader(buffer, writer, reader)
        except (fastavro.read.SchemaResolutionError, ValueError):
            return False
    return True


def test_published_schemas_are_as_they_were_published() -> None:
    now = {f"{number}": [name, digest(number)] for number, name in SCHEMA_IDS.items()}
    assert now == PUBLISHED, (
        "a published schema changed or has no line in published.json: bytes of it lie in topics. "
        "Put it back, and add the change as a new file <name>.<version>.avsc with a new id"
    )


def test_every_file_has_an_id() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.avsc")) == sorted(SCHEMA_IDS.values())


def test_each_version_reads_the_one_before() -> None:
    versions: dict[str, list[int]] = {}
    for number, name in sorted(SCHEMA_IDS.items()):
        versions.setdefault(name.split(".")[0], []).append(number)
    for numbers in versions.values():
        for older, newer in pairwise(numbers):
            assert reads(json.loads(schema_json(older)), json.loads(schema_json(newer)))


def changed(**change: Any) -> Any:
    schema = json.loads(schema_json(1))
    field = {"name": "new", "type": "string", "doc": "New."} | change
    schema["fields"].append(field)
    return schema


def test_a_field_without_default_would_break_readers() -> None:
    assert not reads(json.loads(schema_json(1)), changed())
    assert reads(json.loads(schema_json(1)), changed(default=""))


def test_another_type_would_break_readers() -> None:
    schema = json.loads(schema_json(1))
    next(field for field in schema["fields"] if field["name"] == "price")["type"] = "string"
    assert not reads(json.loads(schema_json(1)), schema)


def test_a_newer_symbol_reads_as_unknown_and_a_newer_field_is_left_out() -> None:
    newer = json.loads(schema_json(4))
    newer["fields"].append({"name": "more", "type": "int", "default": 0})
    newer["fields"][0]["type"]["symbols"].append("kraken")
    codec = Codec()
    health = FeedHealth(
        exchange=Exchange.BYBIT, channel="liquidation", state=FeedState.LIVE, since_ms=1, detail="", event_time_ms=2
    )
    plain = codec.decode_plain(FeedHealth, codec.encode(FEED_HEALTH, health)) | {"exchange": "kraken", "more": 5}
    buffer = io.BytesIO()
    writer = fastavro.parse_schema(newer)
    fastavro.schemaless_writer(buffer, writer, plain)
    codec.ids = OneSchema(writer)
    decoded = codec.decode(FeedHealth, HEADER.pack(MAGIC, 77) + buffer.getvalue())
    assert decoded.exchange is Exchange.UNKNOWN
    assert decoded.state is FeedState.LIVE


class OneSchema:
    """A registry that knows one schema."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema

    def id_for(self, record: Any, topic: str) -> int:
        raise AssertionError("only read")

    def writer_schema(self, schema_id: int) -> Any:
        return self._schema


@pytest.fixture(autouse=True, scope="module")
def _deterministic() -> None:
    import random

    random.seed(20261123)


def digest(number: int) -> str:
    return hashlib.sha256(schema_json(number).encode()).hexdigest()
