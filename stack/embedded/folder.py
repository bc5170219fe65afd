"""The data folder of one embedded stack: one owner at a time; and the border where file errors become ours."""

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from schemas.errors import StackError

# Guards of an owner that was killed need up to 2 s to end their servers; after that somebody really uses the folder.
LOCK_S_MAX = 10.0
LOCK_POLL_S = 0.05
ADVICE = {
    errno.ENOSPC: "no space is left there; free some, or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space, or choose another folder",
    errno.EFBIG: "a file grew over the limit of this user (ulimit -f); raise it, or choose another folder",
    errno.EACCES: "permission denied; make it writable for this user, or choose another folder",
    errno.EPERM: "permission denied; make it writable for this user, or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "a part of this path is a file; choose another folder",
    errno.EEXIST: "a part of this path is a file; choose another folder",
}


@contextlib.contextmanager
def file_errors(doing: str, path: Path) -> Iterator[None]:
    """Map OSError to StackError: what was being done, where, and what to do."""
    try:
        yield
    except OSError as exc:
        advice = ADVICE.get(exc.errno or 0, f"{exc.strerror or exc}; choose another folder")
        raise StackError(f"{doing} in {path} ({_free(path)}): {advice}") from exc


def _free(path: Path) -> str:
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):
            return f"{shutil.disk_usage(folder).free // 2**20} MiB free"
    return "free space unknown"


class DataFolder:
    """`path` and what is under it. `acquire` before any change, `release` at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self._lock_fd: int | None = None

    @property
    def lock_path(self) -> Path:
        """The file whose lock says that a stack uses this folder; it holds the owner's process id."""
        return self.path / "lock"

    def acquire(self) -> int:
        """Make the folder and become its only user; returns the lock's descriptor, which guards keep open as well.

        Raises StackError when it cannot be written or another stack uses it."""
        if self._lock_fd is not None:
            return self._lock_fd
        with file_errors("making the data folder", self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.lock_path, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + LOCK_S_MAX
        while not try_lock(fd):
            if time.monotonic() > deadline:
                owner = os.read(fd, 32).decode(errors="replace").strip()
                os.close(fd)
                raise StackError(
                    f"starting servers in {self.path}: process {owner} uses this data folder;"
                    " end it (`liqcascade stack down`), or choose another folder"
                )
            time.sleep(LOCK_POLL_S)
        self._lock_fd = fd
        with file_errors("writing the lock", self.path):
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        return fd

    def release(self) -> None:
        """Let others use the folder, once the last guard has ended too."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def in_use(self) -> bool:
        """Whether a stack, or the guards of one that was killed, use this folder now."""
        if self._lock_fd is not None:
            return True
        try:
            fd = os.open(self.lock_path, os.O_RDWR)
        except OSError:
            return False
        try:
            return not try_lock(fd)
        finally:
            os.close(fd)

    def bytes_used(self, name: str = "") -> int:
        """What the folder, or the part of it called `name`, takes on the disk; sparse parts of files do not count."""
        used = 0
        for folder, _, files in os.walk(self.path / name):
            for file in files:
                with contextlib.suppress(OSError):
                    used += os.lstat(os.path.join(folder, file)).st_blocks * 512
        return used


def try_lock(fd: int) -> bool:
    """Take the exclusive lock of an open file unless another process or descriptor has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
