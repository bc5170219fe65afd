"""Quick Avro encoders of flat records: every field a string, an enum, a number, a boolean, or one of these or null.

fastavro walks the schema anew for each record and wants a dict. Here the walk is done once: the schema is turned into
one Python expression, so there is nothing that could drift from it. Texts beyond 8,191 bytes (IndexError) and integers
beyond 56 bits (OverflowError) are left to fastavro. Wire format: avro.apache.org/docs/1.12.0/specification,
"Binary Encoding"."""

import struct
from collections.abc import Callable
from typing import Any, Final

from schemas.records import Record

Encode = Callable[[Record, bytes], bytes]  # record, what stands before it

_GROUP: Final = 1 << 14  # two bytes of a variable-length integer hold 2 x 7 bits
_GROUP_2: Final = _GROUP**2
_GROUP_3: Final = _GROUP**3
_GROUP_4: Final = _GROUP**4  # µs since 1970 take 52 bits; what is longer is left to fastavro
_MASK: Final = _GROUP - 1
# 2 x 16,384 pieces of 35 bytes are 1.2 MB, made in 5 ms; looking them up is five times quicker than shifting bytes out.
_MORE: Final = tuple(bytes((low & 0x7F | 0x80, low >> 7 | 0x80)) for low in range(_GROUP))
_LAST: Final = tuple(
    bytes((last,)) if last < 0x80 else bytes((last & 0x7F | 0x80, last >> 7)) for last in range(_GROUP)
)
_LENGTHS: Final = _LAST[0:_GROUP:2]  # of strings: a length is a long, never negative


def long(value: int) -> bytes:
    """A zigzag variable-length integer. Raises OverflowError beyond 56 bits.

    >>> [long(value).hex() for value in (0, -1, 1, -64, 64, 1_791_391_082_119)]
    ['00', '01', '02', '7f', '8001', '8e9ad5f3a268']
    """
    zigzag = value << 1 if value >= 0 else ~(value << 1)
    if zigzag < _GROUP:
        return _LAST[zigzag]
    if zigzag < _GROUP_2:
        return _MORE[zigzag & _MASK] + _LAST[zigzag >> 14]
    if zigzag < _GROUP_3:
        return _MORE[zigzag & _MASK] + _MORE[zigzag >> 14 & _MASK] + _LAST[zigzag >> 28]
    if zigzag < _GROUP_4:
        return _MORE[zigzag & _MASK] + _MORE[zigzag >> 14 & _MASK] + _MORE[zigzag >> 28 & _MASK] + _LAST[zigzag >> 42]
    raise OverflowError(f"{value} takes more than 56 bits")


def flat_encoder(schema: Any) -> Encode | None:
    """An encoder of records of this parsed schema, or None when the schema is not flat."""
    names: dict[str, Any] = {"long": long, "lengths": _LENGTHS, "true": b"\x01", "false": b"\x00", "join": b"".join}
    parts = ["before"]
    doubles: list[str] = []
    for field in [*schema["fields"], None]:
        if field is not None and field["type"] == "double":
            doubles.append(f"record.{field['name']}")  # neighbours are packed at once
            continue
        if doubles:
            names[pack := f"pack{len(doubles)}"] = struct.Struct(f"<{len(doubles)}d").pack
            parts.append(f"{pack}({', '.join(doubles)})")
            doubles = []
        if field is not None:
            pieces = _pieces(field["name"], field["type"], names)
            if pieces is None:
                return None
            parts += pieces
    encode: Encode = eval(f"lambda record, before: join(({', '.join(parts)}))", names)
    return encode


def _pieces(name: str, kind: Any, names: dict[str, Any]) -> list[str] | None:
    """Expressions that give the bytes of one field; `names` gets what they refer to. None when it is not flat."""
    value = f"record.{name}"
    if isinstance(kind, list):
        if len(kind) != 2 or kind[0] != "null":
            return None
        names["pack1"] = struct.Struct("<1d").pack
        inner = [f"pack1({value})"] if kind[1] == "double" else _pieces(name, kind[1], names)
        return inner and [f"(false if {value} is None else join((long(1), {', '.join(inner)})))"]
    if kind == "string":
        return [f"lengths[len({name} := {value}.encode())]", name]
    if kind == "long":
        return [f"long({value})"]
    if kind == "boolean":
        return [f"(true if {value} else false)"]
    if isinstance(kind, dict) and kind["type"] == "enum":
        names[words := f"{name}_words"] = {symbol: long(index) for index, symbol in enumerate(kind["symbols"])}
        return [f"{words}[{value}]"]
    return None
