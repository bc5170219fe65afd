"""Records <-> bytes: Avro in the Confluent wire format."""

import io
import struct
from typing import Any, Final, TypeVar

import fastavro
import msgspec

from schemas.errors import SchemaError
from schemas.flat import Encode, flat_encoder
from schemas.records import Record
from schemas.registry import LocalIds, RegistryIds, SchemaIds, latest_schema
from schemas.topics import Topic

MAGIC: Final = 0
HEADER: Final = struct.Struct(">BI")
_DOES_NOT_FIT: Final = (ValueError, TypeError, KeyError, AttributeError, struct.error)
R = TypeVar("R", bound=Record)


class Codec:
    """Encodes and decodes the records of topics; one an application, safe to share between threads.

    `registry_url` None: ids of the repository's table."""

    def __init__(self, registry_url: str | None = None) -> None:
        self.ids: SchemaIds = RegistryIds(registry_url) if registry_url else LocalIds()
        self._headers: dict[str, bytes] = {}
        self._flat: dict[str, Encode] = {}

    def encode(self, topic: Topic, record: Record) -> bytes:
        """Bytes of one record for one topic.

        Raises SchemaError when the record is not of the topic or a value does not fit its field."""
        kind = type(record)
        if kind is not topic.record:
            raise SchemaError(f"{topic.name} holds {_name(topic.record)}, not {kind.__name__}")
        header = self.header(topic)
        flat = self._flat.get(topic.name)
        if flat is None:
            return self._encode(record, header, topic)
        try:
            return flat(record, header)
        except (IndexError, OverflowError):  # a text or a number that is longer than usual
            return self._encode(record, header, topic)
        except _DOES_NOT_FIT as exc:
            raise SchemaError(f"encoding {kind.__name__} for {topic.name}: {exc!r}") from exc

    def header(self, topic: Topic) -> bytes:
        """What stands before every record that this codec writes to a topic: magic byte and schema id."""
        header = self._headers.get(topic.name)
        if header is None:
            assert topic.record is not None, f"{topic.name} holds no records"
            header = self._start(topic, topic.record)
        return header

    def _encode(self, record: Record, header: bytes, topic: Topic) -> bytes:
        kind = type(record)
        buffer = io.BytesIO()
        buffer.write(header)
        try:
            fastavro.schemaless_writer(buffer, latest_schema(kind), to_plain(record))
        except (ValueError, TypeError, KeyError, OverflowError) as exc:
            raise SchemaError(f"encoding {kind.__name__} for {topic.name}: {exc}") from exc
        return buffer.getvalue()

    def _start(self, topic: Topic, kind: type[Record]) -> bytes:
        flat = flat_encoder(latest_schema(kind))
        if flat is not None:
            self._flat[topic.name] = flat
        header = self._headers[topic.name] = HEADER.pack(MAGIC, self.ids.id_for(kind, topic.name))
        return header

    def decode(self, kind: type[R], data: bytes) -> R:
        """One record, whichever version of its schema wrote it.

        Raises SchemaError when the bytes are not in the wire format or do not resolve to this record."""
        return from_plain(kind, self.decode_plain(kind, data))

    def decode_plain(self, kind: type[Record], data: bytes) -> dict[str, Any]:
        """The same as a dict of field names, as fastavro gives it. Raises SchemaError."""
        schema_id, body = split_header(data)
        reader = latest_schema(kind)
        writer = self.ids.writer_schema(schema_id)
        try:
            plain = fastavro.schemaless_reader(io.BytesIO(body), writer, None if writer is reader else reader)
        except (
            ValueError,
            TypeError,
            KeyError,
            IndexError,
            EOFError,
            StopIteration,
            fastavro.read.SchemaResolutionError,
        ) as exc:
            why = "it ends too early" if isinstance(exc, EOFError) else repr(exc)  # fastavro tells an address there
            raise SchemaError(
                f"decoding {kind.__name__} of {len(data)} bytes with schema id {schema_id}: {why}"
            ) from exc
        if not isinstance(plain, dict):
            raise SchemaError(f"decoding {kind.__name__}: schema id {schema_id} is not a record")
        return plain


def split_header(data: bytes) -> tuple[int, bytes]:
    """Schema id and Avro body of a value. Raises SchemaError when it is not in the wire format."""
    if len(data) < HEADER.size or data[0] != MAGIC:
        raise SchemaError(
            f"not the Confluent wire format: {len(data)} bytes that begin with {data[:5].hex() or 'nothing'}"
        )
    return HEADER.unpack_from(data)[1], data[HEADER.size :]


def to_plain(record: Record) -> dict[str, Any]:
    """A record as dicts, lists and plain values, bytes left as they are."""
    plain: dict[str, Any] = msgspec.to_builtins(record, builtin_types=(bytes,))
    return plain


def from_plain(kind: type[R], plain: dict[str, Any]) -> R:
    """A record of dicts and plain values. Raises SchemaError naming the field that does not fit."""
    try:
        return msgspec.convert(plain, kind, builtin_types=(bytes,))
    except msgspec.ValidationError as exc:
        raise SchemaError(f"{kind.__name__}: {exc}") from exc


def to_json(record: Record) -> bytes:
    """One line of JSON with the schema's field names; numbers are numbers, bytes are base64."""
    return msgspec.json.encode(record)


def _name(record: type[Record] | None) -> str:
    return record.__name__ if record else "no record"
