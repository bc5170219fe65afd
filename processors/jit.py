"""Compiled functions: Numba, typed for mypy, cached on disk so that only the first start of an installation compiles.

Numba drops a cached function when its own file changes, but not when a file that it calls into does: a level could be
judged by yesterday's thresholds. So the cache lies in a folder named after the content of all compiled files and of
those whose numbers they use."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba

PACKAGE: Final = Path(__file__).parent
# folders whose files may hold compiled functions
COMPILED: Final = ("windows", "metrics", "cascade", "outputs", "market")
_OPTIONS: Final[dict[str, Any]] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
F = TypeVar("F", bound=Callable[..., Any])


def _fingerprint() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    constants = (Path(__file__), PACKAGE / "settings.py", PACKAGE.parent / "schemas" / "words.py")
    for path in sorted([*constants, *(file for name in COMPILED for file in (PACKAGE / name).glob("*.py"))]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


# where this folder cannot be written, Numba falls back to the cache folder of the user
numba.config.CACHE_DIR = str(Path(numba.config.CACHE_DIR or PACKAGE / "__pycache__") / f"numba-{_fingerprint()}")


# the loops are short: vectorising them doubles the time to compile and gains nothing
numba.config.LOOP_VECTORIZE = numba.config.SLP_VECTORIZE = 0


def jit(function: F) -> F:
    """Compile at the first call. Divisions follow IEEE 754 and no operation is reordered: results are reproducible.

    It must not make arrays, nor call what returns new ones: references are not counted, which else takes half of the
    time. Whoever calls it from Python holds the arrays."""
    return cast(F, numba.njit(cache=True, _nrt=False, **_OPTIONS)(function))


def part(function: F) -> F:
    """The same for a function that only compiled functions call. Numba compiles what a function calls anew with it, so
    whatever stands between Python and the leaves costs time; `inlined` takes a level out."""
    return cast(F, numba.njit(no_cpython_wrapper=True, _nrt=False, **_OPTIONS)(function))


def leaf(function: F) -> F:
    """The same for a few instructions, which take less than a call."""
    return cast(F, numba.njit(no_cpython_wrapper=True, forceinline=True, _nrt=False, **_OPTIONS)(function))


def inlined(function: F) -> F:
    """The same for a function that is called in one or two places: its text is put there."""
    return cast(F, numba.njit(inline="always", _nrt=False, **_OPTIONS)(function))


def owning(function: F) -> F:
    """Like `jit`, for a function that makes arrays; only another one may call one that returns them."""
    return cast(F, numba.njit(cache=True, _nrt=True, **_OPTIONS)(function))
