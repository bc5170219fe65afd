"""One child of the demo: a stage or the simulator, started, watched, started again when it has ended by itself."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx

from schemas.errors import StackError
from stack.embedded.ports import HOST, free_port
from stack.embedded.process import POLL_S, GuardedProcess, Spec, last_lines

READY_S_MAX: Final = 240.0  # where setup did not, the detector compiles at its first start: 160 s on two busy cores
STOP_S_MAX: Final = 5.0  # each stage promises to end in order within this
PROBE_S: Final = 2.0


class Stage:
    """A child process with an operations address. It ends with this process, however that ends."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], logs: Path) -> None:
        self.name = name
        self.port = free_port()
        self.log = logs / f"{name}.log"
        self.restarts = 0
        self._arguments = [sys.executable, "-m", *arguments]
        self._environment = dict(os.environ) | dict(environment) | {"LIQCASCADE_OPERATIONS__PORT": str(self.port)}
        self._process: GuardedProcess | None = None
        self._should_run = False

    @property
    def address(self) -> str:
        """Where /metrics, /healthz and /readyz are."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Its process, or None while it is down."""
        return self._process.pid if self._process is not None and self._process.alive else None

    def start(self) -> None:
        """Start the process; `await_ready` waits for it. Raises StackError."""
        self._process = GuardedProcess(Spec(self._arguments, self.log, self._environment))
        self._should_run = True

    def heal(self) -> bool:
        """Start it again when it has ended by itself; True when that was so."""
        if not self._should_run or self.pid is not None:
            return False
        self.restarts += 1
        self.start()
        return True

    def await_ready(self, *, abandoned: Callable[[], bool] = lambda: False) -> None:
        """Wait until /readyz answers 200. Raises StackError with what is not ready, or the end of its log."""
        deadline, said = time.monotonic() + READY_S_MAX, "nothing yet"
        while time.monotonic() < deadline and not abandoned():
            if self.pid is None:
                raise StackError(f"starting {self.name}: it ended; {last_lines(self.log)}")
            try:
                answer = httpx.get(f"{self.address}/readyz", timeout=PROBE_S)
                if answer.status_code == 200:
                    return
                said = answer.text
            except httpx.HTTPError:
                pass
            time.sleep(POLL_S)
        if not abandoned():
            raise StackError(
                f"starting {self.name}: not ready within {READY_S_MAX:.0f} s, it says {said}; {last_lines(self.log)}"
            )

    def kill(self) -> None:
        """SIGKILL, as a crash would be; `heal` brings it back."""
        if self._process is not None:
            self._process.kill()

    def ask_to_stop(self) -> None:
        """SIGTERM; it flushes what it holds and ends."""
        self._should_run = False
        if self._process is not None:
            self._process.signal(signal.SIGTERM)

    def await_end(self) -> bool:
        """Wait for the end that was asked for, at most 5 s, then SIGKILL; True when it ended in order."""
        if self._process is None:
            return True
        in_order = self._process.wait(STOP_S_MAX) and self._process.exit_code == 0
        self._process.close()
        return in_order
