"""Loopback ports that stay with the data: a second start on the same folder listens where the first one did."""

import contextlib
import json
import random
import socket
import threading
from pathlib import Path

from schemas.errors import StackError
from stack.embedded.folder import file_errors

HOST = "127.0.0.1"
# Below the ports that kernels give to outgoing connections (Linux from 32768, macOS from 49152): while a server is
# down, no client's own socket may take its place.
PORTS = range(15_000, 32_000)
TRIES_MAX = 200

_given: set[int] = set()  # servers start in parallel, and a port is given some time before it is bound
_given_lock = threading.Lock()


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port() -> int:
    """A loopback port that is free and that this process has not given yet. Raises StackError when all are taken."""
    for _ in range(TRIES_MAX):
        port = random.choice(PORTS)
        with _given_lock:
            if port not in _given and is_free(port):
                _given.add(port)
                return port
    raise StackError(
        f"choosing a port: {TRIES_MAX} ports of {PORTS.start} to {PORTS.stop - 1} are taken; end other servers"
    )


def remembered(file: Path, name: str) -> int | None:
    """The port that `name` had at the last start on this data, or None."""
    with contextlib.suppress(OSError, ValueError):
        port = json.loads(file.read_text()).get(name)
        return port if isinstance(port, int) else None
    return None


def remember(file: Path, ports: dict[str, int]) -> None:
    """Keep the ports for the next start."""
    with file_errors("writing ports", file.parent):
        part = file.with_suffix(".part")
        part.write_text(json.dumps(ports))
        part.replace(file)


def choose(server: str, fixed: int | None, last: int | None, *, keep: bool) -> int:
    """The port to listen on: the fixed one, the last one, or a free one.

    `keep`: clients hold the last one's URL, so no other will do. Raises StackError when such a port is taken."""
    if fixed is not None:
        if not is_free(fixed):
            raise StackError(
                f"starting {server}: port {fixed} is taken; end what listens on it, or choose another port"
            )
        return fixed
    if last is None or (not keep and not is_free(last)):
        return free_port()
    if not is_free(last):
        raise StackError(
            f"starting {server} again: its port {last} was taken meanwhile; end what listens on it,"
            " or start the whole stack anew for a new port"
        )
    return last
