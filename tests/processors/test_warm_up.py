"""Nothing is compiled once the stream runs."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import processors
from processors.settings import DetectorSettings
from processors.warm_up import warm_up
from tests.processors.logs import cascade_log, fold_all, new_detector, random_log
from tests.processors.market.states import fold as fold_market
from tests.processors.market.states import random_log as random_market_log

COMPILED = tuple(f"processors.{name}" for name in ("windows", "metrics", "cascade", "outputs", "market"))


def signatures() -> dict[str, int]:
    return {name: len(function.signatures) for name, function in compiled()}


def compiled() -> Iterator[tuple[str, Any]]:
    for package in COMPILED:
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__, package + "."):
            for name, thing in vars(importlib.import_module(module.name)).items():
                if hasattr(thing, "nopython_signatures") and thing.py_func.__module__ == module.name:
                    yield f"{module.name}.{name}", thing


def test_warm_up_compiles_everything() -> None:
    warm_up(DetectorSettings())
    before = signatures()
    assert len(before) > 15
    detector = new_detector()
    fold_all(detector, cascade_log(8))
    fold_all(detector, random_log(8, 300))
    rows = detector.snapshot()
    restored = new_detector()
    restored.restore(rows)
    fold_all(restored, cascade_log(9))
    fold_market(random_market_log(9))
    assert signatures() == before


def test_compiled_functions_stand_only_where_the_cache_looks() -> None:
    """The cache is named after the content of these folders' files; a compiled function elsewhere could go stale."""
    for module in pkgutil.walk_packages(processors.__path__, "processors."):
        if module.name.startswith(COMPILED) or module.name in ("processors.jit", "processors.app"):
            continue
        if module.name.startswith("processors.host"):
            continue
        for name, thing in vars(importlib.import_module(module.name)).items():
            own = getattr(getattr(thing, "py_func", None), "__module__", "")
            assert own != module.name, f"{module.name}.{name}"
