"""Hypothesis strategies for every record, made from the mirrors' annotations."""

from enum import StrEnum
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from schemas.records import Record

R = TypeVar("R", bound=Record)
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(-(2**31), 2**31 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=12),
}


def records(kind: type[R]) -> st.SearchStrategy[R]:
    """Any record of a kind; integers stay within an Avro int."""
    return st.builds(kind, **{name: value(hint) for name, hint in get_type_hints(kind).items()})


def value(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of an annotation."""
    if hint in SIMPLE:
        return SIMPLE[hint]
    if get_origin(hint) is tuple:
        return st.lists(value(get_args(hint)[0]), max_size=3).map(tuple)
    if get_origin(hint) is dict:
        return st.dictionaries(TEXT, value(get_args(hint)[1]), max_size=3)
    if type(None) in get_args(hint):
        return st.none() | value(get_args(hint)[0])
    if issubclass(hint, StrEnum):
        return st.sampled_from(list(hint))
    return records(hint)
