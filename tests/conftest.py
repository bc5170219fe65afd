"""Real servers for every test that asks: one Kafka, PostgreSQL and Redis a session, each started at its first use."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.embedded import EmbeddedStack


@pytest.fixture(scope="session")
def embedded_stack() -> Iterator[EmbeddedStack]:
    """The session's servers, none of them started; tests that kill one make their own stack."""
    folder = Path(tempfile.mkdtemp(prefix="liqcascade-tests-"))
    folder.chmod(0o755)  # PostgreSQL may have to run as an account that must enter here
    stack = EmbeddedStack(folder)
    yield stack
    stack.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def kafka(embedded_stack: EmbeddedStack) -> str:
    """`bootstrap.servers` of a running broker."""
    return embedded_stack.kafka.start()


@pytest.fixture(scope="session")
def postgres_url(embedded_stack: EmbeddedStack) -> str:
    """postgresql://… of a running database."""
    return embedded_stack.postgres.start()


@pytest.fixture(scope="session")
def redis_url(embedded_stack: EmbeddedStack) -> str:
    """redis://… of a running server."""
    return embedded_stack.redis.start()


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for topic and group names that no other test has."""
    return f"t{uuid.uuid4().hex[:8]}."
