"""One server process behind its guard: start, signal, wait. The guard (`guard.py`) ends it when this process ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from schemas.errors import StackError

GUARD = Path(__file__).with_name("guard.py")
LOG_LINES_IN_ERROR_MAX = 8
NO_SPACE = "No space left on device"
LOG_TAIL_BYTES_MAX = 64 * 1024
POLL_S = 0.05
# kill -9 of a process and its children is done in milliseconds; the rest is a machine under load.
KILL_S_MAX = 15.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a server runs as: the present user, an account (user and group ids), or root under another name."""

    user: int | None = None
    group: int | None = None
    namespace: bool = False


@dataclass(frozen=True, slots=True)
class Spec:
    """What to run, in the folder of `log`. `argv[0]` is an absolute path; `end_signal` is what the guard sends first
    when the owner has ended."""

    argv: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    identity: Identity = Identity()
    end_signal: int = signal.SIGKILL


class GuardedProcess:
    """A running server. Dropping the object or ending this process ends the server too."""

    def __init__(self, spec: Spec, *, hold: Sequence[int] = ()) -> None:
        """Start it; `hold` are file descriptors that the guard keeps open as long as it lives."""
        payload = {
            "argv": list(spec.argv),
            "log": str(spec.log),
            "environment": dict(spec.environment),
            "user": spec.identity.user,
            "group": spec.identity.group,
            "namespace": spec.identity.namespace,
            "end_signal": int(spec.end_signal),
            "hold": list(hold),
        }
        self._spec = spec
        self._log_start = spec.log.stat().st_size if spec.log.exists() else 0
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), str(spec.log)],
            bufsize=0,  # a guard that has ended leaves nothing here to be flushed
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=tuple(hold),
            start_new_session=True,
        )
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.write(json.dumps(payload).encode() + b"\n")
        with self._guard.stdout as line:
            answer = line.readline()
        if not answer:
            self.close()
            raise StackError(f"starting {spec.argv[0]}: its guard ended at once; {self.last_lines()}")
        self.pid = int(answer)

    @property
    def alive(self) -> bool:
        """Whether the server is running."""
        return self._guard.poll() is None

    @property
    def exit_code(self) -> int | None:
        """As a shell gives it (128 + n for signal n); None while it runs."""
        return self._guard.poll()

    def last_lines(self) -> str:
        """The last lines that it wrote to its log, for an error message."""
        return last_lines(self._spec.log, self._log_start)

    def signal(self, number: int) -> None:
        """Send a signal to the server's main process; nothing happens when it has ended."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float, *, abandoned: Callable[[], bool] = lambda: False) -> bool:
        """Wait until the server has ended, at most `seconds`; True when it has."""
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline and not abandoned():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(POLL_S)
        return not self.alive

    def kill(self) -> None:
        """SIGKILL, as a crash would be; returns when it and all its children are gone.

        Raises StackError when they are still there after 15 s."""
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            family = psutil.Process(self.pid).children(recursive=True)
        self.signal(signal.SIGKILL)
        ended = self.wait(KILL_S_MAX)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        deadline = time.monotonic() + KILL_S_MAX
        while (left := [process for process in family if runs(process)]) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        self.close()
        if not ended or left:
            raise StackError(f"killing process {self.pid} ({self._spec.argv[0]}): still there after {KILL_S_MAX:.0f} s")

    def close(self) -> None:
        """Let go of the guard, which ends the server if it still runs, and wait for it."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait()


def runs(process: psutil.Process | int) -> bool:
    """Whether a process, or the one of this id, is there. A zombie is not: it holds nothing any more, and a container's
    first process may never collect it."""
    try:
        process = psutil.Process(process) if isinstance(process, int) else process
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _tells(line: str) -> bool:
    """Neither empty nor a frame of a Java stack trace, which would push the reason out of the last lines."""
    return bool(line.strip()) and not line.lstrip().startswith(("at ", "... "))


def last_lines(log: Path, start: int = 0) -> str:
    """The last lines of a log from position `start` on, for an error message."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - LOG_TAIL_BYTES_MAX))
            lines = [line for line in file.read().decode(errors="replace").splitlines() if _tells(line)]
    except OSError:
        lines = []
    if not lines:
        return f"it wrote nothing to its log {log}"
    full = "the disk is full: free some space or choose another folder; " if NO_SPACE in "".join(lines) else ""
    return f"{full}the last lines of {log}:\n" + "\n".join(f"    {line}" for line in lines[-LOG_LINES_IN_ERROR_MAX:])
