"""Named tuples of arrays by their address. Passed by value, forty arrays are three hundred words at every call, and
unpacking them from Python takes as long as folding a hundred events.

The type of a field is what `Annotated` says: a Numba array type, or another such tuple. In memory an array is a pointer
and its shape; a tuple in a tuple lies in its place. Compiled code reads this block as if it never changed, which is so
during a call; nothing is checked there, so `Holder` checks the arrays, and holds them."""

from collections.abc import Callable, Iterator
from operator import is_not
from typing import Any, Final, Generic, TypeVar, cast, get_type_hints

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, register_model
from numba.np.arrayobj import populate_array
from numba.np.numpy_support import as_dtype

WORD: Final = 8  # bytes
T = TypeVar("T")


class Reference(types.Type):  # type: ignore[misc]
    """A tuple of arrays by its address, for compiled code."""

    def __init__(self, of: type[Any]) -> None:
        self.fields: dict[str, tuple[Any, int]] = {}  # type and place in bytes
        self.dtypes: dict[str, np.dtype[Any]] = {}  # of those that are arrays: to ask Numba takes as long as all else
        self.size: int
        at = 0
        for name, hint in get_type_hints(of, include_extras=True).items():
            kind = hint.__metadata__[0] if hasattr(hint, "__metadata__") else Reference(hint)
            self.fields[name] = kind, at
            if isinstance(kind, Reference):
                at += kind.size
            else:
                self.dtypes[name] = as_dtype(kind.dtype)
                at += WORD * (1 + kind.ndim)
        self.size = at
        super().__init__(name=f"Reference({of.__name__}: {', '.join(f'{k}={v}' for k, v in self.fields.items())})")


@register_model(Reference)
class _Model(models.OpaqueModel):  # type: ignore[misc]
    """A pointer."""


@infer_getattr
class _Fields(AttributeTemplate):  # type: ignore[misc]
    key = Reference

    def generic_resolve(self, reference: Reference, name: str) -> Any:
        """The type of a field."""
        return reference.fields[name][0] if name in reference.fields else None


@lower_getattr_generic(Reference)  # type: ignore[untyped-decorator]
def _field(context: Any, builder: Any, reference: Reference, address: Any, name: str) -> Any:
    kind, at = reference.fields[name]
    place = builder.gep(address, [ir.Constant(ir.IntType(32), at)])
    if isinstance(kind, Reference):
        return place
    array = context.make_array(kind)(context, builder)
    word = context.get_value_type(types.intp)
    words = builder.bitcast(place, word.as_pointer())
    data = _load(builder, builder.bitcast(words, array.data.type.as_pointer()))
    shape = [_load(builder, builder.gep(words, [ir.Constant(ir.IntType(32), 1 + axis)])) for axis in range(kind.ndim)]
    itemsize = ir.Constant(word, reference.dtypes[name].itemsize)
    strides = [itemsize]
    for length in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], length))
    populate_array(
        array, data, cgutils.pack_array(builder, shape), cgutils.pack_array(builder, strides), itemsize, None
    )
    return array._getvalue()


def _load(builder: Any, place: Any) -> Any:
    word = builder.load(place, align=WORD)
    word.set_metadata("invariant.load", builder.module.add_metadata([]))
    return word


def reader_of(of: type[T]) -> Callable[[int], T]:
    """A function for compiled code: the tuple at an address."""
    reference = Reference(of)

    @intrinsic  # type: ignore[untyped-decorator]
    def read(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(reference))

        return reference(types.intp), generate

    return cast(Callable[[int], T], read)


class Holder(Generic[T]):
    """The block of one tuple, and its arrays for as long as compiled code may look at them."""

    def __init__(self, of: type[T]) -> None:
        self._reference = Reference(of)
        self._block = np.zeros(self._reference.size // WORD, np.int64)
        self._address = int(self._block.ctypes.data)
        self._held: tuple[Any, ...] = ()

    def hold(self, parts: T) -> int:
        """The address of the tuple, which it keeps when arrays are replaced by others."""
        given = cast(tuple[Any, ...], parts)
        if not self._held or any(map(is_not, given, self._held)):
            self._block[:] = list(_words(self._reference, given))
            self._held = given
        return self._address


def _words(reference: Reference, parts: tuple[Any, ...]) -> Iterator[int]:
    for (name, (kind, _)), part in zip(reference.fields.items(), parts, strict=True):
        if isinstance(kind, Reference):
            yield from _words(kind, part)
            continue
        fits = part.dtype == reference.dtypes[name] and part.ndim == kind.ndim and part.flags.c_contiguous
        assert fits, f"{name} must be {kind}, was {part.dtype} of {part.ndim} axes"
        yield part.ctypes.data
        yield from part.shape
