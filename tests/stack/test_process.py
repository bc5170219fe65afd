"""A guarded process ends with its owner, however that ends."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from schemas.errors import StackError
from stack.embedded.process import GuardedProcess, Spec, last_lines, runs
from tests.stack.waiting import eventually

OWNER = """\
import os, sys, time
from pathlib import Path
from stack.embedded.process import GuardedProcess, Spec
process = GuardedProcess(Spec([{shell!r}, "-c", {script!r}], Path({log!r}), dict(os.environ), end_signal={end_signal}))
{after}
print(process.pid, process._guard.pid, {extra}, flush=True)
time.sleep(600)
"""
SERVER_WITH_CHILD = "sleep 600 & echo child $!; wait"


def shell() -> str:
    path = shutil.which("sh")
    assert path is not None
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


def guarded(log: Path, script: str) -> GuardedProcess:
    return GuardedProcess(Spec([shell(), "-c", script], log, dict(os.environ)))


class Owner:
    """Another process that owns a guarded one: (server, guard, extra) are process ids."""

    def __init__(
        self,
        log: Path,
        script: str = SERVER_WITH_CHILD,
        *,
        end_signal: int = signal.SIGKILL,
        after: str = "",
        extra: str = "0",
    ) -> None:
        code = OWNER.format(
            shell=shell(), script=script, log=str(log), end_signal=int(end_signal), after=after, extra=extra
        )
        self.process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.server, self.guard, self.extra = map(int, self.process.stdout.readline().split())
        eventually(lambda: log.exists() and log.read_text().endswith("\n"), "the server wrote its first line")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def owner(log: Path) -> Iterator[Owner]:
    one = Owner(log)
    yield one
    one.close()


def child_of(log: Path) -> int:
    return int(log.read_text().split()[-1])


def test_all_end_when_the_owner_is_killed(owner: Owner, log: Path) -> None:
    child = child_of(log)
    assert runs(owner.server)
    assert runs(child)
    owner.kill()
    eventually(lambda: not any(map(runs, (owner.server, owner.guard, child))), "all ended with the owner")


def test_all_end_when_a_fork_of_the_owner_lives_on(log: Path) -> None:
    fork = "fork = os.fork()\nif not fork: time.sleep(600)"
    owner = Owner(log, after=fork, extra="fork")
    try:
        owner.kill()
        assert runs(owner.extra), "the fork holds the pipe"
        eventually(lambda: not any(map(runs, (owner.server, owner.guard))), "all ended with the owner")
    finally:
        os.kill(owner.extra, signal.SIGKILL)
        owner.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent-death signal")
def test_the_server_ends_when_the_guard_is_killed(owner: Owner) -> None:
    os.kill(owner.guard, signal.SIGKILL)
    eventually(lambda: not runs(owner.server), "the server ended with its guard")


def test_the_server_is_asked_first_when_the_owner_is_killed(log: Path) -> None:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # ignored by what a shell runs in the background, and by its children
    owner = Owner(
        log, "trap 'echo asked; exit' QUIT; echo ready; while :; do sleep 0.01; done", end_signal=signal.SIGQUIT
    )
    owner.kill()
    eventually(lambda: log.read_text().split() == ["ready", "asked"], "the server was asked")
    eventually(lambda: not runs(owner.guard), "the guard ended")
    owner.close()


def test_a_server_that_does_not_listen_is_killed(log: Path) -> None:
    owner = Owner(log, "trap '' QUIT; echo ready; while :; do sleep 0.01; done", end_signal=signal.SIGQUIT)
    owner.kill()
    eventually(lambda: not any(map(runs, (owner.server, owner.guard))), "it was killed in the end")
    owner.close()


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 128 + 9)])
def test_tells_the_exit_code(log: Path, script: str, code: int) -> None:
    process = guarded(log, script)
    assert process.wait(30.0)
    assert (process.alive, process.exit_code) == (False, code)
    process.close()


def test_a_program_that_is_not_there_is_told_in_the_log(log: Path) -> None:
    process = GuardedProcess(Spec(["/nonexistent/server"], log, {}))
    assert process.wait(30.0)
    process.close()
    assert process.exit_code == 127
    assert "cannot run /nonexistent/server" in last_lines(log)


def test_kill_takes_children_that_left_its_group(log: Path) -> None:
    process = guarded(
        log,
        f"{sys.executable} -c 'import os,time; os.setsid(); print(os.getpid(), flush=True); time.sleep(600)' & wait",
    )
    eventually(lambda: log.exists() and log.read_text().endswith("\n"), "the child wrote its id")
    child = int(log.read_text())
    process.kill()
    assert not runs(child)
    assert not process.alive


def test_a_wait_can_be_given_up(log: Path) -> None:
    process = guarded(log, "sleep 600")
    assert not process.wait(600.0, abandoned=lambda: True)
    process.close()
    assert not psutil.pid_exists(process.pid)


def test_a_log_that_cannot_be_opened_ends_the_start(tmp_path: Path) -> None:
    process = guarded(tmp_path / "no such folder" / "log", "sleep 600")
    assert process.wait(30.0)
    process.close()
    assert process.exit_code == 127


def test_last_lines_are_the_last(log: Path) -> None:
    assert "wrote nothing" in last_lines(log)
    log.write_text("".join(f"line {n}\n\n" for n in range(20_000)))
    assert [line.strip() for line in last_lines(log).splitlines()[1:]] == [f"line {n}" for n in range(19_992, 20_000)]


def test_a_guard_that_cannot_run_is_an_error(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("true"))
    with pytest.raises(StackError, match="its guard ended at once"):
        guarded(log, "sleep 600")
