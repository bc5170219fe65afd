"""Real servers for every test that asks: one Kafka, PostgreSQL and Redis a session, each started at its first use."""

import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import trustme
from cryptography.hazmat.primitives import serialization
from pydantic import SecretStr

from runtime.settings import KafkaSettings
from stack.embedded import EmbeddedStack, Security

DOCKER_SOCKET = Path("/var/run/docker.sock")
TIMESCALE_IMAGE = "timescale/timescaledb:2.19.3-pg15"  # as in docker-compose.yml
KAFKA_USER, KAFKA_PASSWORD = "tester", "not secret: 'quoted', = and spaces"


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """What a test sets up of logs ends with it: its stderr is closed then, and whoever logs next would fail."""
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    root.handlers = [one for one in root.handlers if not isinstance(one.formatter, structlog.stdlib.ProcessorFormatter)]
    root.setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def embedded_stack() -> Iterator[EmbeddedStack]:
    """The session's servers, none of them started; tests that kill one make their own stack."""
    folder = Path(tempfile.mkdtemp(prefix="liqcascade-tests-"))
    folder.chmod(0o755)  # PostgreSQL may have to run as an account that must enter here
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    _write_for_broker(authority.issue_cert("127.0.0.1", "localhost"), folder / "broker.pem")
    stack = EmbeddedStack(folder, security=Security(KAFKA_USER, KAFKA_PASSWORD, folder / "broker.pem"))
    yield stack
    stack.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def kafka(embedded_stack: EmbeddedStack) -> str:
    """`bootstrap.servers` of a running broker."""
    return embedded_stack.kafka.start()


@pytest.fixture(scope="session")
def secure_kafka(embedded_stack: EmbeddedStack) -> KafkaSettings:
    """The same broker through its listener with TLS and SCRAM-SHA-512."""
    embedded_stack.kafka.start()
    return KafkaSettings(
        bootstrap_servers=embedded_stack.kafka.secure_url,
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username=KAFKA_USER,
        sasl_password=SecretStr(KAFKA_PASSWORD),
        ssl_ca_file=embedded_stack.data.path / "ca.pem",
    )


@pytest.fixture(scope="session")
def postgres_url(embedded_stack: EmbeddedStack) -> Iterator[str]:
    """postgresql://… of a running database, with TimescaleDB where this machine or its Docker engine has it."""
    url = embedded_stack.postgres.start()
    installation = embedded_stack.postgres.installation
    assert installation is not None
    if installation.timescale or not (os.environ.get("DOCKER_HOST") or DOCKER_SOCKET.exists()):
        yield url
        return
    from testcontainers.community.postgres import PostgresContainer

    with PostgresContainer(TIMESCALE_IMAGE, driver=None) as container:
        yield container.get_connection_url()


@pytest.fixture(scope="session")
def redis_url(embedded_stack: EmbeddedStack) -> str:
    """redis://… of a running server."""
    return embedded_stack.redis.start()


@pytest.fixture(scope="session")
def compiled() -> None:
    """The detector's compiled functions lie in their cache, also for workers: no deadline waits for the compiler."""
    from processors.settings import DetectorSettings
    from processors.warm_up import warm_up

    warm_up(DetectorSettings())


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for topic and group names that no other test has."""
    return f"t{uuid.uuid4().hex[:8]}."


def _write_for_broker(certificate: trustme.LeafCert, path: Path) -> None:
    """Kafka reads keys in PKCS#8 only."""
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), password=None)
    pkcs8 = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(pkcs8 + b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
