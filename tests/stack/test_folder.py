"""One owner of a data folder at a time, and file errors that say what to do."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import StackError
from stack.embedded import folder as folder_module
from stack.embedded.folder import DataFolder, file_errors


def test_a_second_owner_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "LOCK_S_MAX", 0.1)
    first, second = DataFolder(tmp_path / "data"), DataFolder(tmp_path / "data")
    first.acquire()
    with pytest.raises(StackError, match=rf"process {os.getpid()} uses this data folder"):
        second.acquire()
    assert second.in_use()
    first.release()
    assert not second.in_use()
    second.acquire()
    second.release()


def test_the_lock_ends_with_a_killed_owner(tmp_path: Path) -> None:
    code = (
        "import os, sys, signal; from pathlib import Path; from stack.embedded.folder import DataFolder;"
        " DataFolder(Path(sys.argv[1])).acquire(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == -9
    folder = DataFolder(tmp_path)
    assert not folder.in_use()
    folder.acquire()
    folder.release()


def test_acquire_may_be_repeated(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    assert folder.acquire() == folder.acquire()
    folder.release()
    folder.release()


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "ulimit"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_file_errors_say_what_to_do(tmp_path: Path, code: int, advice: str) -> None:
    with pytest.raises(StackError, match=advice) as caught, file_errors("writing x", tmp_path):
        raise OSError(code, os.strerror(code))
    assert "writing x" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "MiB free" in str(caught.value)


def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match="a part of this path is a file"):
        DataFolder(tmp_path / "file" / "data").acquire()
    with pytest.raises(StackError, match="a part of this path is a file"):
        DataFolder(tmp_path / "file").acquire()


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /sys")
def test_a_folder_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(StackError, match="choose another folder"):
        DataFolder(Path("/sys/liqcascade")).acquire()


def test_bytes_used_counts_what_is_on_the_disk(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "log").write_bytes(os.urandom(100_000))
    with (tmp_path / "kafka" / "sparse").open("wb") as file:
        file.truncate(10**9)
    os.sync()
    assert 100_000 <= folder.bytes_used("kafka") == folder.bytes_used() < 200_000
    assert folder.bytes_used("redis") == 0
