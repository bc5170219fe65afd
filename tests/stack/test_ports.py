"""Ports stay with the data and are never taken from somebody else."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import StackError
from stack.embedded import ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((ports.HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_free_ports_differ() -> None:
    chosen = [ports.free_port() for _ in range(50)]
    assert len(set(chosen)) == 50
    assert all(port in ports.PORTS and ports.is_free(port) for port in chosen)


def test_no_free_port_is_an_error(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "PORTS", range(taken, taken + 1))
    with pytest.raises(StackError, match="are taken"):
        ports.free_port()


def test_a_port_that_a_client_left_a_moment_ago_is_free() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ports.HOST, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection((ports.HOST, port)):
            server_side, _ = listener.accept()
            server_side.close()  # this side waits in TIME_WAIT
    assert ports.is_free(port)


def test_the_last_port_is_kept(taken: int) -> None:
    last = ports.free_port()
    assert ports.choose("kafka", None, last, keep=True) == last
    assert ports.choose("kafka", None, last, keep=False) == last
    assert ports.choose("kafka", None, taken, keep=False) not in (taken, last)


def test_a_port_that_must_be_and_is_taken_is_an_error(taken: int) -> None:
    with pytest.raises(StackError, match=f"starting kafka: port {taken} is taken; end what listens on it"):
        ports.choose("kafka", taken, None, keep=False)
    with pytest.raises(StackError, match=f"its port {taken} was taken meanwhile"):
        ports.choose("kafka", None, taken, keep=True)


def test_remembers(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    assert ports.remembered(file, "main") is None
    ports.remember(file, {"main": 15_000})
    assert ports.remembered(file, "main") == 15_000
    assert ports.remembered(file, "other") is None
    file.write_text("half a fi")
    assert ports.remembered(file, "main") is None
