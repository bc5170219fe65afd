"""`liqcascade stack up | down | status`: one process that owns the embedded servers of a data folder until it is ended.

In the foreground that is the command itself; detached it is a process of its own. `stack.json` in the folder tells of
either. The servers end with their owner, and one that crashes is started again on its data and port.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import psutil
import structlog

from schemas.errors import LiqcascadeError, StackError
from stack.embedded import EmbeddedStack
from stack.embedded.folder import DataFolder, file_errors
from stack.embedded.process import last_lines, runs
from stack.embedded.stack import SERVERS

STATE_FILE = "stack.json"
LOG_FILE = "supervisor.log"
HEAL_EVERY_S = 1.0
HEAL_TRIES_MAX = 5  # in a row: what failed five times will fail a sixth time
DOWN_S_MAX = 25.0  # the servers stop at once, each within 15 s or by SIGKILL
POLL_S = 0.05
VARIABLES = tuple(kind.variable for kind in SERVERS)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server. `pid` and `url` are None while it is down; `bytes_used` is what its folder takes on the disk."""

    name: str
    up: bool
    pid: int | None
    url: str | None
    bytes_used: int


@dataclass(frozen=True, slots=True)
class StackStatus:
    """A data folder and who serves it. `environment`: the URLs as settings, empty while the stack is down."""

    data: str
    up: bool
    pid: int | None
    environment: dict[str, str]
    servers: list[ServerStatus]
    already: bool = False  # `up` found it up


Announce = Callable[[StackStatus], None]


class _Ended(BaseException):
    """SIGINT or SIGTERM: not an error, and nothing but `_own` may catch it."""


def up(
    data: Path, *, detach: bool = False, given: Mapping[str, str] | None = None, announce: Announce = lambda _: None
) -> StackStatus:
    """Start the servers of `data`. A stack that is up is left as it is: `announce` is called, and `already` is True.

    In the foreground (main thread only) `announce` is called once everything answers, and the call returns the last
    status after SIGINT or SIGTERM has ended it all. With `detach` it returns once everything answers.
    `given`: URLs (names as in the environment) of servers to use instead of embedded ones.
    Raises StackError when a server cannot start, or keeps ending."""
    folder = DataFolder(data)
    with contextlib.ExitStack() as starting:
        starting.enter_context(_one_at_a_time(folder))
        now = status(data)
        if now.up:
            now = replace(now, already=True)
        elif detach:
            now = _detach(folder, given or {})
        else:
            return _own(folder, given or {}, announce, starting.close)
        announce(now)
        return now


def down(data: Path) -> bool:
    """End the stack of `data` and wait until all of it is gone; False when it was not up.

    Raises StackError when it is still there after SIGKILL."""
    folder = DataFolder(data)
    if not folder.path.exists():
        return False
    with _one_at_a_time(folder):  # a start under way is awaited, then ended
        state = _read_state(folder)
        if state is None:
            return False
        try:
            owner = psutil.Process(state["pid"])
        except psutil.NoSuchProcess:
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):  # after SIGKILL the guards end the servers
            with contextlib.suppress(psutil.NoSuchProcess):
                owner.send_signal(number)
            if _await_end(owner, folder):
                (folder.path / STATE_FILE).unlink(missing_ok=True)
                return True
    raise StackError(f"ending the stack in {folder.path}: process {state['pid']} is still there; end it by hand")


def status(data: Path) -> StackStatus:
    """What runs in `data` now, without touching it."""
    folder = DataFolder(data)
    state = _read_state(folder) or {"pid": None, "environment": {}, "servers": {}}
    servers = []
    for kind in SERVERS:
        pid, url = state["servers"].get(kind.name, (None, None))
        is_up = pid is not None and runs(pid)
        used = folder.bytes_used(kind.name)
        servers.append(ServerStatus(kind.name, is_up, pid if is_up else None, url if is_up else None, used))
    return StackStatus(str(folder.path), state["pid"] is not None, state["pid"], state["environment"], servers)


def _own(
    folder: DataFolder, given: Mapping[str, str], announce: Announce, started: Callable[[], None] = lambda: None
) -> StackStatus:
    """Be the owner of the servers until a signal comes. `started` is called once they answer."""
    stack = EmbeddedStack(folder.path, given=given)
    previous = {number: signal.signal(number, _end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stack.start()
        _write_state(folder, stack)
        started()
        announce(status(folder.path))
        _keep_up(folder, stack)
    except _Ended:
        return replace(status(folder.path), up=False)
    finally:
        for number in previous:
            signal.signal(number, signal.SIG_IGN)  # the end is under way, and bounded
        (folder.path / STATE_FILE).unlink(missing_ok=True)
        stack.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _end(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise _Ended


def _keep_up(folder: DataFolder, stack: EmbeddedStack) -> NoReturn:
    """Start again what has ended by itself, until `_Ended`. Raises StackError after five failures in a row."""
    failures = 0
    while True:
        time.sleep(HEAL_EVERY_S)
        try:
            healed = stack.heal()
        except StackError as exc:
            failures += 1
            structlog.get_logger(__name__).error("cannot start a server again", failures=failures, reason=str(exc))
            if failures >= HEAL_TRIES_MAX:
                raise
            continue
        failures = 0
        if healed:
            structlog.get_logger(__name__).warning("started again after a crash", servers=healed)
            _write_state(folder, stack)


def _detach(folder: DataFolder, given: Mapping[str, str]) -> StackStatus:
    """Run `_own` in a process of its own; returns once everything answers there."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES} | dict(given)
    log = folder.path / LOG_FILE
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as answers:
        try:
            with file_errors("starting a supervisor", folder.path), log.open("ab") as output:
                subprocess.run(  # it forks at once: what runs on is nobody's child
                    [sys.executable, "-m", "stack.supervisor", str(folder.path), str(write_end)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environment,
                    pass_fds=(write_end,),
                    start_new_session=True,
                    check=False,
                )
        finally:
            os.close(write_end)
        answer = answers.read()
    if not answer:
        raise StackError(f"starting the stack in {folder.path}: its supervisor ended at once; {last_lines(log)}")
    if error := json.loads(answer).get("error"):
        raise StackError(error)
    return status(folder.path)


def _supervise(folder: DataFolder, ready_fd: int) -> None:
    """The detached process: tell through `ready_fd` that all is up, or why not; an asker that has gone ends it all."""
    if os.fork():
        os._exit(0)
    os.set_inheritable(ready_fd, False)

    def tell(answer: dict[str, Any]) -> None:
        os.write(ready_fd, json.dumps(answer).encode())
        os.close(ready_fd)

    given = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    told = False

    def announce(now: StackStatus) -> None:
        nonlocal told
        tell(asdict(now))
        told = True

    try:
        _own(folder, given, announce)
    except LiqcascadeError as exc:
        structlog.get_logger(__name__).error("the stack has ended", reason=str(exc))
        if not told:
            tell({"error": str(exc)})
        sys.exit(exc.exit_code)


@contextlib.contextmanager
def _one_at_a_time(folder: DataFolder) -> Iterator[None]:
    """`up` and `down` of one folder wait for each other; `up` only until everything answers."""
    with file_errors("making the data folder", folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder.path / "control.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write_state(folder: DataFolder, stack: EmbeddedStack) -> None:
    state = {
        "pid": os.getpid(),
        "environment": stack.environment(),
        "servers": {server.name: (server.pid, server.url) for server in stack.servers},
    }
    with file_errors("writing the state of the stack", folder.path):
        part = folder.path / f"{STATE_FILE}.part"
        part.touch(mode=0o600)  # the database's password is in it
        part.write_text(json.dumps(state, indent=2))
        part.replace(folder.path / STATE_FILE)


def _read_state(folder: DataFolder) -> dict[str, Any] | None:
    """What the living owner wrote; None when there is none. The lock, not the process id, says that it lives:
    ids are given anew, locks end with their holder."""
    try:
        state = json.loads((folder.path / STATE_FILE).read_text())
        owner = int(folder.lock_path.read_text())
    except (OSError, ValueError):
        return None
    return state if folder.in_use() and state["pid"] == owner and runs(owner) else None


def _await_end(owner: psutil.Process, folder: DataFolder) -> bool:
    deadline = time.monotonic() + DOWN_S_MAX
    while (there := runs(owner) or folder.in_use()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return not there


if __name__ == "__main__":
    _supervise(DataFolder(Path(sys.argv[1])), int(sys.argv[2]))
