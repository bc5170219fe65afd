"""Topics under a prefix of the test, records in them, and the servers behind the sinks."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.settings import KafkaSettings
from tests.sinks.stores import STORES, Store
from tests.sinks.topics import Log


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, Store]]:
    """The store of every sink, not started; these are killed, unlike the session's shared ones."""
    folder = Path(tempfile.mkdtemp(prefix="liqcascade-sinks-"))
    folder.chmod(0o755)
    stores: dict[str, Store] = {}
    for name, kind in STORES.items():
        (folder / name).mkdir(mode=0o755)
        stores[name] = kind(folder / name)
    yield stores
    for store in stores.values():
        store.server.stop()
    shutil.rmtree(folder)


# One that lands with the put, one that lands with a script, one that gathers until the flush.
@pytest.fixture(params=("timescale", "redis", "parquet"))
def store(request: pytest.FixtureRequest, servers: dict[str, Store]) -> Store:
    """Each store in turn, running and empty."""
    store = servers[request.param]
    store.server.start()
    store.empty()
    return store


@pytest.fixture
def kafka_settings(kafka: str, topic_prefix: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=4)


@pytest.fixture
def log(kafka_settings: KafkaSettings) -> Log:
    """The topics of this test, made."""
    return Log(kafka_settings)
