"""Every metric that processors.metrics holds, found by discovery."""

import copy
import doctest
import importlib
import pkgutil
from types import ModuleType

import numpy as np
import pytest

import processors.metrics
from processors.metrics.metric import Metric
from schemas.records import AssetState, CascadeAlert, ExchangeFigures, Record, WindowFigures

NAMES = sorted(
    module.name for module in pkgutil.iter_modules(processors.metrics.__path__) if module.name not in ("metric",)
)
ZERO_WITHOUT_DATA = ("velocity", "acceleration", "volume")  # nothing happened in an empty window: that is 0 a second


@pytest.fixture(params=NAMES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"processors.metrics.{request.param}")


def test_there_are_metrics() -> None:
    assert {"velocity", "acceleration", "volume", "correlation", "leading_exchange", "first_mover"} <= set(NAMES)


def test_it_says_what_it_is(module: ModuleType) -> None:
    metric = module.METRIC
    assert isinstance(metric, Metric)
    assert metric.name
    assert metric.unit
    assert module.__doc__


def test_its_field_is_published(module: ModuleType) -> None:
    published: tuple[type[Record], ...] = (WindowFigures, ExchangeFigures, AssetState, CascadeAlert)
    assert any(module.METRIC.field in kind.__struct_fields__ for kind in published)


def test_its_examples_are_true(module: ModuleType) -> None:
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ZERO_WITHOUT_DATA])
def test_without_data_it_is_none_and_leaves_its_arguments(name: str) -> None:
    metric = importlib.import_module(f"processors.metrics.{name}").METRIC
    before = copy.deepcopy(metric.without_data)
    assert metric.compute(*metric.without_data) is None
    for given, kept in zip(metric.without_data, before, strict=True):
        assert np.array_equal(given, kept)
