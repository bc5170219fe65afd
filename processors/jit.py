"""Compiled functions: Numba, typed for mypy, cached on disk so that only the first start of an installation compiles.

Numba drops a cached function when its own file changes, but not when a file that it calls into does: a level could be
judged by yesterday's thresholds. So the cache lies in a folder named after the content of all compiled files."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba

PACKAGE: Final = Path(__file__).parent
COMPILED: Final = ("windows", "metrics", "cascade")  # folders whose files may hold compiled functions
F = TypeVar("F", bound=Callable[..., Any])


def _fingerprint() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted([Path(__file__), *(file for name in COMPILED for file in (PACKAGE / name).glob("*.py"))]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


# where this folder cannot be written, Numba falls back to the cache folder of the user
numba.config.CACHE_DIR = str(Path(numba.config.CACHE_DIR or PACKAGE / "__pycache__") / f"numba-{_fingerprint()}")


# the loops are short: vectorising them doubles the time to compile and gains nothing
numba.config.LOOP_VECTORIZE = numba.config.SLP_VECTORIZE = 0


def jit(function: F) -> F:
    """Compile at the first call. Divisions follow IEEE 754 and no operation is reordered: results are reproducible."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)(function))
