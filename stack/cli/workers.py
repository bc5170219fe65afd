"""Several workers of the sinks on one machine: a process each, which end together."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from types import FrameType
from typing import Final

WORKERS_MAX: Final = 64
WATCH_S: Final = 0.2
END_S_MAX: Final = 10.0  # each promises to end in order within 5 s
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def run_workers(count: int, *, rest_port: int, operations_port: int) -> int:
    """Run so many until SIGINT or SIGTERM; returns the exit code. To be called in the main thread.

    Ports count up from those given; 0 stays 0. When one ends by itself, all end: whoever looks after this process sees
    it, where three of four workers would go unnoticed."""
    ending = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ending.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    children = [_start(place, rest_port, operations_port) for place in range(count)]
    while not ending.wait(WATCH_S) and all(child.poll() is None for child in children):
        pass
    codes = [child.poll() for child in children]
    for child in children:
        child.terminate()
    for child in children:
        try:
            child.wait(END_S_MAX)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    return max((abs(code) for code in codes if code), default=0 if ending.is_set() else 1)


def _start(place: int, rest_port: int, operations_port: int) -> "subprocess.Popen[bytes]":
    ports = {
        "LIQCASCADE_REST__PORT": str(rest_port and rest_port + place),
        "LIQCASCADE_OPERATIONS__PORT": str(operations_port and operations_port + place),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "stack.cli", "sink"],
        env=os.environ | ports,
        start_new_session=True,  # a Ctrl-C at the terminal is told to them by this process, once
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM when this process' parent ends, kill -9 included."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
