"""A folder in which files appear and offsets move together: the commit behind the Parquet sink.

The offsets' file also holds what is still to be renamed. Writing it anew is the commit; the data files, complete and
synced before it, get their final names after it. A crash between the two is mended by whoever opens or commits next."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from schemas.errors import StoreUnavailable
from sinks.connector import Position
from sinks.offsets import STAGING, Offsets, OffsetsFile, sync

OFFSETS_FOLDER: Final = "_offsets"


class Archive:
    """The folder of one sink. Every method raises StoreUnavailable for whatever the file system says."""

    def __init__(self, folder: Path, sink: str) -> None:
        """Touches nothing."""
        self.folder = folder
        self._offsets = OffsetsFile(folder / OFFSETS_FOLDER, sink)

    def open(self) -> Offsets:
        """Make the folder, mend what a crash has left, and read the offsets."""
        with self._offsets.locked("opening the archive", make=True):
            return self._mended()

    def restore(self, found: Mapping[str, int]) -> Offsets:
        """Take the offsets that the files name, where the record of them is gone; returns what is in force."""
        with self._offsets.locked("restoring the archive"):
            if not found or self._offsets.exists:
                return self._mended()
            offsets = Offsets(next=dict(found), landed=dict(found))
            self._offsets.write(offsets)
            return offsets

    def check(self) -> None:
        """See whether the folder is there and can be written."""
        with self._offsets.locked("checking the archive"):
            pass

    def stage(self, name: str) -> Path:
        """Where to write the file that `commit` will give this name, relative to the folder."""
        path = self.folder / (name + STAGING)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StoreUnavailable(f"making {path.parent}: {exc.strerror or exc}") from exc
        return path

    def commit(
        self, expected: Mapping[Position, int | None], next_offsets: Mapping[Position, int], names: Sequence[str]
    ) -> None:
        """Show the staged files and move the offsets, all or nothing, where the offsets are `expected` still."""
        with self._offsets.locked("committing to the archive"):
            before = self._mended()
            self._offsets.refuse_moved(before, expected)
            for name in names:
                sync(self.folder / (name + STAGING))
            renames = {name + STAGING: name for name in names}
            self._offsets.write(msgspec.structs.replace(before.moved(next_offsets), renames=renames))
            self._mended()

    def forget(self, names: Sequence[str]) -> None:
        """Delete staged files that will not be committed; what cannot be deleted is no file of the archive either."""
        for name in names:
            with contextlib.suppress(OSError):
                (self.folder / (name + STAGING)).unlink()

    def _mended(self) -> Offsets:
        found = self._offsets.read()
        if not found.renames:
            return found
        for staged, final in found.renames.items():
            with contextlib.suppress(FileNotFoundError):  # it has its name already
                (self.folder / staged).rename(self.folder / final)
        for folder in {(self.folder / final).parent for final in found.renames.values()}:
            sync(folder)
        done = msgspec.structs.replace(found, renames={})
        self._offsets.write(done)
        return done
