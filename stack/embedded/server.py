"""What the three embedded servers share: start until a real client is answered, stop, crash on purpose, start again."""

import contextlib
import os
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from schemas.errors import StackError
from stack.embedded import ports
from stack.embedded.folder import DataFolder, file_errors
from stack.embedded.process import POLL_S, GuardedProcess, Spec

# Kafka needs 4 s on two idle cores and recovers its log after a crash; ten times that is a machine under heavy load.
START_S_MAX = 60.0
STOP_S_MAX = 15.0
LOG_BYTES_MAX = 10 * 2**20  # then the log is moved aside at the next start, over the one before it


class Server(ABC):
    """One embedded server. All methods may be called from any thread; `start` and `stop` may be repeated."""

    name: ClassVar[str]
    variable: ClassVar[str]  # the environment setting that carries its URL
    port_names: ClassVar[tuple[str, ...]] = ("main",)
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, data: DataFolder, *, port: int | None = None) -> None:
        """`port` fixes the main port; else the one of the last start on this data is kept, or a free one chosen."""
        self.data = data
        self.folder = data.path / self.name
        self.ports: dict[str, int] = {}
        self.should_run = False
        self._answered = False  # clients may hold its URL since
        self._fixed_port = port
        self._process: GuardedProcess | None = None
        self._lock = threading.RLock()
        self._stopping = threading.Event()

    @property
    @abstractmethod
    def url(self) -> str:
        """What clients connect to; known once started, and the same after every restart."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the first start needs. Idempotent; half done is done again."""

    @abstractmethod
    def _spec(self) -> Spec:
        """What to run."""

    @abstractmethod
    def _answers(self) -> bool:
        """One real client call: True when the server does its work and is this very server."""

    @property
    def log(self) -> Path:
        """The server's own log."""
        return self.folder / f"{self.name}.log"

    @property
    def port(self) -> int:
        """The main port; known once started."""
        return self.ports[self.port_names[0]]

    @property
    def pid(self) -> int | None:
        """The server's process, or None while it is down."""
        process = self._process
        return process.pid if process is not None and process.alive else None

    @property
    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self.pid is not None

    @property
    def crashed(self) -> bool:
        """Whether it was started, ended by itself, and nobody has asked for that."""
        return self.should_run and not self.alive

    def start(self) -> str:
        """Start and wait until a real client is answered; returns the URL. Nothing to do when it runs already.

        Raises StackError: what failed, with the last lines of the server's log."""
        with self._lock:
            if self.alive:
                return self.url
            self._stopping.clear()
            lock_fd = self.data.acquire()
            with file_errors(f"making the folder of {self.name}", self.folder):
                self.folder.mkdir(exist_ok=True)
                self._put_log_aside()
            self._choose_ports()
            self._prepare()
            if self._process is not None:  # one that crashed
                self._process.close()
            self._process = GuardedProcess(self._spec(), hold=(lock_fd,))
            try:
                self._await_answer(self._process)
            except BaseException:
                self._process.close()
                raise
            self.should_run = self._answered = True
            return self.url

    def stop(self) -> None:
        """End it in order, or with SIGKILL after 15 s. A start under way in another thread is given up."""
        self._stopping.set()
        with self._lock:
            self.should_run = False
            if self._process is not None:
                self._process.signal(self.stop_signal)
                self._process.wait(STOP_S_MAX)
                self._process.close()

    def kill(self) -> None:
        """SIGKILL, as in a crash: nothing is flushed. `start` brings it back on the same data and port."""
        with self._lock:
            self.should_run = False
            if self._process is not None:
                self._process.kill()

    def _choose_ports(self) -> None:
        file = self.folder / "ports.json"
        for name in self.port_names:
            last = self.ports.get(name) or ports.remembered(file, name)
            fixed = self._fixed_port if name == self.port_names[0] else None
            self.ports[name] = ports.choose(self.name, fixed, last, keep=self._answered)
        ports.remember(file, self.ports)

    def _put_log_aside(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size > LOG_BYTES_MAX:
                self.log.replace(self.log.with_suffix(".log.1"))

    def _await_answer(self, process: GuardedProcess) -> None:
        deadline = time.monotonic() + START_S_MAX
        while not (_listens(self.port) and self._answers()):
            if self._stopping.is_set():
                raise StackError(f"starting {self.name}: given up, since it was stopped meanwhile")
            if process.wait(POLL_S):
                raise StackError(
                    f"starting {self.name}: it ended with code {process.exit_code}; {process.last_lines()}"
                )
            if time.monotonic() > deadline:
                raise StackError(f"starting {self.name}: no answer within {START_S_MAX:.0f} s; {process.last_lines()}")

    def _run_once(self, doing: str, spec: Spec) -> None:
        """Run a tool of the server to its end. Raises StackError with the last lines of its output."""
        process = GuardedProcess(spec, hold=(self.data.acquire(),))
        ended = process.wait(START_S_MAX, abandoned=self._stopping.is_set)
        process.close()
        if not ended or process.exit_code != 0:
            why = f"code {process.exit_code}" if ended else "it was given up or took over 60 s"
            raise StackError(f"{doing} in {self.folder}: {why}; {process.last_lines()}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((ports.HOST, port)) == 0


def base_environment() -> dict[str, str]:
    """What a server's process inherits: enough to run, nothing that would change its meaning."""
    kept = ("PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C.UTF-8"}
