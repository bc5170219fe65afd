"""Processes that a benchmark starts and that speak JSON, a line an answer."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from schemas.errors import StackError

Child = subprocess.Popen[str]


@contextmanager
def speaking(module: str, *arguments: object) -> Iterator[Child]:
    """`python -m module`, which ends when its stdin does."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        yield child  # leaving closes its stdin and waits


def tell(child: Child) -> None:
    """Let it go on."""
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def line_of(child: Child) -> dict[str, Any]:
    """The next line that it says. Raises StackError when it has ended."""
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise StackError(f"{child.args!r} ended; its reason stands above")
    told: dict[str, Any] = json.loads(line)
    return told
