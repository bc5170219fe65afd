"""Many values of one kind -> records, column by column: a quarter of the work of decoding them one by one.

It reads exactly what `Codec` with the newest schema writes of flat records in ASCII. Whatever else there may be
(another version, other letters, a damaged value, a number beyond 55 bits) is left to the codec, so that there is one
place that says why. Wire format: avro.apache.org/docs/1.12.0/specification, "Binary Encoding"."""

import typing
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.codec import HEADER, Codec, split_header
from schemas.errors import SchemaError
from schemas.records import Record
from schemas.registry import latest_schema

VALUES_MIN: Final = 24  # the columns of fewer cost as much as the codec
VALUE_BYTES_MAX: Final = 4_096  # a flat record takes 200; 1,000 values and what is made of them then take 50 MB at most
# A field is read where the one before it ended, which in a damaged value may be its very end: the widest text is cut
# there, and 20 fields of 8 bytes behind it are looked at before anybody notices.
PADDING: Final = bytes(256)
FIELDS_MAX: Final = 20
_STOP_BITS: Final = np.uint64(0x8080808080808080)
# Seven bits of each byte move together: pairs of bytes, of pairs, of fours.
_JOINS: Final = tuple(
    (np.uint64(low), np.uint64(high), np.uint64(shift))
    for low, high, shift in (
        (0x007F007F007F007F, 0x7F007F007F007F00, 1),
        (0x00003FFF00003FFF, 0x3FFF00003FFF0000, 2),
        (0x000000000FFFFFFF, 0x0FFFFFFF00000000, 4),
    )
)

Places = NDArray[np.int64]
Column = list[Any]


class Reading:
    """Values of one batch while their fields are read: `at` is where each stands, `good` whether it was fine so far."""

    def __init__(self, values: Sequence[bytes]) -> None:
        joined = b"".join([*values, PADDING])
        self.text = joined.decode("latin-1")  # of the letters in ASCII, which are the only ones that are taken out
        self.bytes = np.frombuffer(joined, np.uint8)
        self.words = np.ndarray((len(joined) - 7,), "<u8", joined, strides=(1,))  # the 8 bytes from each byte on
        self.doubles = np.ndarray((len(joined) - 7,), "<f8", joined, strides=(1,))
        self.not_ascii = np.concatenate(([0], np.cumsum(self.bytes >= 0x80)))  # how many stand before each byte
        sizes = np.fromiter(map(len, values), np.int64, len(values))
        self.end: Places = np.cumsum(sizes)
        self.at: Places = self.end - sizes
        self.good = sizes >= HEADER.size

    def header(self, header: bytes) -> None:
        """What stands before every value of the newest schema."""
        self.good &= self.words[self.at] & np.uint64(2**40 - 1) == np.uint64(int.from_bytes(header, "little"))
        self.at = self.at + HEADER.size


Read = Callable[[Reading], Column]


class Values:
    """Decodes values of one kind of record."""

    def __init__(self, codec: Codec, kind: type[Record]) -> None:
        self._codec, self._kind = codec, kind
        self._header: bytes | None = None
        self._reads = _reads_of(kind)
        self._make = _maker_of(kind)

    def decode(self, values: Sequence[bytes | None]) -> list[Record | SchemaError]:
        """A record for every value, or why it is none."""
        if len(values) < VALUES_MIN or not self._knows(values[0] or b""):
            return [self._decode_one(value) for value in values]
        assert self._reads is not None
        assert self._header is not None
        reading = Reading([b"" if value is None or len(value) > VALUE_BYTES_MAX else value for value in values])
        reading.header(self._header)
        columns = [read(reading) for read in self._reads]
        good = reading.good & (reading.at == reading.end)
        records = self._make(columns)
        for index in np.flatnonzero(~good).tolist():
            records[index] = self._decode_one(values[index])
        return records

    def _decode_one(self, value: bytes | None) -> Record | SchemaError:
        try:
            if value is None:
                raise SchemaError(f"decoding {self._kind.__name__}: the record has no value")
            return self._codec.decode(self._kind, value)
        except SchemaError as exc:
            return exc

    def _knows(self, value: bytes) -> bool:
        """Whether columns can be read here; learns from the first value of a batch which id the newest schema has."""
        header = value[: HEADER.size]
        if self._reads is not None and header != self._header:
            try:
                schema_id, _ = split_header(value)
                if self._codec.ids.writer_schema(schema_id) == latest_schema(self._kind):
                    self._header = header
            except SchemaError:
                pass  # that value is refused; those behind it need not be
        return self._header is not None


def _maker_of(kind: type[Record]) -> Callable[[list[Column]], list[Any]]:
    """Columns in the order of the fields -> records."""
    names = kind.__struct_fields__
    fields = ", ".join(f"{name}={name}" for name in names)
    make: Callable[[list[Column]], list[Any]] = eval(
        f"lambda columns: [kind({fields}) for {', '.join(names)} in zip(*columns)]", {"kind": kind}
    )
    return make


def _reads_of(kind: type[Record]) -> list[Read] | None:
    """How each field is read, or None when the schema is not flat."""
    fields = latest_schema(kind)["fields"]
    hints = typing.get_type_hints(kind)
    reads = [_read_of(field["type"], hints[field["name"]]) for field in fields]
    if None in reads or len(reads) > FIELDS_MAX:
        return None
    return [read for read in reads if read is not None]


def _read_of(schema: Any, hint: Any) -> Read | None:
    if isinstance(schema, list):
        inner = _read_of(schema[1], typing.get_args(hint)[0]) if len(schema) == 2 and schema[0] == "null" else None
        return inner and (lambda reading: _optional(reading, inner))
    if isinstance(schema, dict) and schema["type"] == "enum":
        words = [hint(symbol) for symbol in schema["symbols"]]
        return lambda reading: _enum(reading, words)
    if isinstance(schema, str):
        return {"string": _string, "long": _long, "double": _double, "boolean": _boolean}.get(schema)
    return None


def _string(reading: Reading) -> Column:
    low, high = reading.bytes[reading.at], reading.bytes[reading.at + 1]
    is_long = low >= 0x80  # 64 letters and more: their number takes two bytes
    zigzag = np.where(is_long, low & 0x7F | high.astype(np.int64) << 7, low)
    begin = reading.at + 1 + is_long
    stop = begin + (zigzag >> 1)
    reading.good &= (zigzag & 1 == 0) & ~(is_long & (high >= 0x80)) & (stop <= reading.end)
    reading.at = stop = np.minimum(stop, reading.end)
    reading.good &= reading.not_ascii[begin] == reading.not_ascii[stop]
    text = reading.text
    return [text[first:last] for first, last in zip(begin.tolist(), stop.tolist(), strict=True)]


def _long(reading: Reading) -> Column:
    word = reading.words[reading.at]
    stops = ~word & _STOP_BITS
    reading.good &= stops != 0  # none: nine or ten bytes
    below = (stops & -stops) - np.uint64(1)  # all bits before that of the first byte which does not go on
    reading.at = reading.at + (np.bitwise_count(below).astype(np.int64) + 1 >> 3)
    word &= below
    for low, high, shift in _JOINS:
        word = word & low | (word & high) >> shift
    values = (word >> np.uint64(1)).astype(np.int64) ^ -(word & np.uint64(1)).astype(np.int64)
    column: Column = values.tolist()
    return column


def _double(reading: Reading) -> Column:
    column: Column = reading.doubles[reading.at].tolist()
    reading.at = reading.at + 8
    return column


def _boolean(reading: Reading) -> Column:
    values = reading.bytes[reading.at]
    reading.good &= values <= 1
    reading.at = reading.at + 1
    column: Column = (values == 1).tolist()
    return column


def _enum(reading: Reading, words: Sequence[Any]) -> Column:
    zigzag = reading.bytes[reading.at]  # at most 64 words
    reading.good &= (zigzag & 1 == 0) & (zigzag < 2 * len(words))
    reading.at = reading.at + 1
    return [words[index] for index in np.minimum(zigzag >> 1, len(words) - 1).tolist()]


def _optional(reading: Reading, inner: Read) -> Column:
    branch = reading.bytes[reading.at]
    reading.good &= (branch == 0) | (branch == 2)
    absent = reading.at + 1
    reading.at = absent
    good = reading.good.copy()
    column = inner(reading)
    is_there = branch == 2
    reading.at = np.where(is_there, reading.at, absent)
    reading.good = np.where(is_there, reading.good, good)
    return [value if there else None for value, there in zip(column, is_there.tolist(), strict=True)]
