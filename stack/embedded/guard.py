"""Runs one server and takes it down when the owner ends, in whatever way. Executed as a file, imports nothing of ours.

`python -I -S guard.py LOG`. Standard input is a pipe: the owner writes one line, `process.Spec` as JSON, and then holds
it; its end is the owner's end, kill -9 included. Standard output gets one line: the process id. LOG tells people which
server a guard in their list of processes is for.

Three lines of defence: the pipe; the parent's id, once a second (a fork of the owner may still hold the pipe);
and, should the guard itself be killed, the kernel's parent-death signal on the server (Linux).
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from typing import Any

PARENT_POLL_S = 1.0
# PostgreSQL ends its children within milliseconds of SIGQUIT; the others get SIGKILL at once and never use this up.
END_GRACE_S_MAX = 2.0
EXEC_FAILED = 127
PR_SET_PDEATHSIG = 1  # linux/prctl.h
CLONE_NEWUSER = 0x1000_0000  # linux/sched.h
NAMESPACE_USER = 1000  # what root is called inside: any id but 0


def enter_user_namespace() -> None:
    """Become an ordinary user by name, while files still see the account outside: root keeps its own files.

    For a server that refuses to run as root in folders that no other account can enter. Raises OSError when the kernel
    or a container's rules refuse it. Source: user_namespaces(7)."""
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{NAMESPACE_USER} {user} 1"),
        ("gid_map", f"{NAMESPACE_USER} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _become(spec: dict[str, Any]) -> None:
    if spec["user"] is not None:
        os.setgroups([])
        os.setgid(spec["group"])
        os.setuid(spec["user"])
    elif spec["namespace"]:
        enter_user_namespace()


def _die_with_guard(guard: int) -> None:
    """After every change of identity, since that clears the setting."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:
        os._exit(EXEC_FAILED)


def _spawn(spec: dict[str, Any]) -> int:
    guard = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(os.path.dirname(spec["log"]))
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and exec would hand that on
            signal.signal(ignored, signal.SIG_DFL)
        _become(spec)
        _die_with_guard(guard)
        os.execve(spec["argv"][0], spec["argv"], spec["environment"])
    except BaseException as exc:
        os.write(2, f"cannot run {spec['argv'][0]}: {exc}\n".encode())
    os._exit(EXEC_FAILED)


def _wait(child: int, fds: list[int], seconds: float) -> tuple[bool, int, list[int]]:
    """Wait for the child's end or for one of fds: (ended, exit code, readable fds)."""
    ready, _, _ = select.select(fds, [], [], seconds)
    done, status = os.waitpid(child, os.WNOHANG)
    return bool(done), os.waitstatus_to_exitcode(status) if done else 0, ready


def _end(child: int, end_signal: int, wake: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, end_signal)
    deadline = time.monotonic() + END_GRACE_S_MAX
    while (left := deadline - time.monotonic()) > 0:
        ended, _, ready = _wait(child, [wake], left)
        if ended:
            return
        if ready:
            os.read(wake, 64)


def run(spec: dict[str, Any]) -> int:
    """Run the server to its end, or to the owner's; return an exit code as a shell would give it."""
    for fd in spec["hold"]:  # kept open as long as the guard lives, never by the server
        os.set_inheritable(fd, False)
    owner = os.getppid()
    wake, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    child = _spawn(spec)
    with contextlib.suppress(BrokenPipeError):
        os.write(1, b"%d\n" % child)
    os.close(1)
    while True:
        ended, code, ready = _wait(child, [0, wake], PARENT_POLL_S)
        if wake in ready:
            os.read(wake, 64)
        if not ended and (0 in ready or os.getppid() != owner):
            _end(child, spec["end_signal"], wake)
            ended = True
        if ended:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)  # whatever it left behind
            return code if code >= 0 else 128 - code


def _read_spec() -> Any:
    """Byte by byte, so that nothing behind the line is taken from the pipe."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(EXEC_FAILED)  # the owner ended first
        line += byte
    return json.loads(line)


def _probe() -> int:
    try:
        enter_user_namespace()
    except OSError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_probe() if sys.argv[1] == "probe" else run(_read_spec()))
