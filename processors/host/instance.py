"""A stable name for this worker, so that the group knows it again after a crash and needs not wait for its time-out."""

import fcntl
import socket
import tempfile
from pathlib import Path
from typing import IO, Final

from schemas.errors import SettingsError

SLOTS_MAX: Final = 100  # workers of one group on one machine


class InstanceName:
    """Host name and the first number that no other worker of the group holds here; free again when the process ends,
    however it ends. `name` is what the group is told."""

    def __init__(self, group: str, *, folder: Path | None = None) -> None:
        self._lock, number = _first_free(group, folder or Path(tempfile.gettempdir()))
        self.name = f"{socket.gethostname()}-{number}"

    def release(self) -> None:
        """Let another worker have the name."""
        self._lock.close()


def _first_free(group: str, folder: Path) -> tuple[IO[str], int]:
    for number in range(SLOTS_MAX):
        path = folder / f"{group}-{number}.lock"
        try:
            lock = path.open("a")
        except OSError as exc:
            raise SettingsError(
                f"host.instance: cannot lock {path}: {exc}; set host.instance to a stable name"
            ) from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        return lock, number
    raise SettingsError(f"host.instance: {SLOTS_MAX} workers of {group} run on this machine; set host.instance")
