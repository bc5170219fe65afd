"""Offsets of a connector in a file, for stores that cannot keep them: changed as a whole, by one worker at a time."""

import fcntl
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from schemas.errors import StoreUnavailable
from sinks.connector import Position

STAGING: Final = ".tmp"
IDS_MAX: Final = 1_000  # 50 B each, written with each alert: what a redelivery could bring again
PASSED_OVER_MAX: Final = 100  # ranges of a partition; an outage makes one


class Told(msgspec.Struct, frozen=True):
    """What a receiver has been sent of records that are never asked back, as far as it is remembered.

    `ids`: append time, ms, by id, the newest last. `forgotten_ms`: append time of the newest that is not remembered.
    `passed_over`: ranges of offsets [first, end) by "topic/partition" that were too old to be sent."""

    ids: dict[str, int] = {}
    forgotten_ms: int = 0
    passed_over: dict[str, list[tuple[int, int]]] = {}

    def sent(self, identity: str, append_time_ms: int) -> "Told":
        """With one more."""
        ids = self.ids | {identity: append_time_ms}
        forgotten = list(ids)[:-IDS_MAX]
        forgotten_ms = max([self.forgotten_ms, *map(ids.pop, forgotten)])
        return msgspec.structs.replace(self, ids=ids, forgotten_ms=forgotten_ms)

    def passed(self, position: Position, offset: int, *, too_old: bool) -> "Told":
        """With one more that was not sent. One that nobody asked for makes no range, but lies in one that goes on."""
        place = place_of(position)
        ranges = list(self.passed_over.get(place, ()))
        if ranges and ranges[-1][1] == offset:
            ranges[-1] = (ranges[-1][0], offset + 1)
        elif too_old:
            ranges.append((offset, offset + 1))
        else:
            return self
        return msgspec.structs.replace(self, passed_over=self.passed_over | {place: ranges[-PASSED_OVER_MAX:]})

    def is_passed_over(self, position: Position, offset: int) -> bool:
        """Whether it was too old when its turn came."""
        return any(first <= offset < end for first, end in self.passed_over.get(place_of(position), ()))


class Offsets(msgspec.Struct, frozen=True):
    """What a commit leaves: the next offset by "topic/partition" and the highest that ever was.

    `renames`: staged files that have yet to get their names."""

    next: dict[str, int] = {}
    landed: dict[str, int] = {}
    renames: dict[str, str] = {}
    told: Told = Told()

    def moved(self, next_offsets: Mapping[Position, int]) -> "Offsets":
        """With these offsets in force."""
        after = {place_of(position): offset for position, offset in next_offsets.items()}
        landed = self.landed | {key: max(at, self.landed.get(key, 0)) for key, at in after.items()}
        return msgspec.structs.replace(self, next=self.next | after, landed=landed)

    def of(self, positions: Collection[Position]) -> dict[Position, int | None]:
        """The next offset of each, None where there is none."""
        return {position: self.next.get(place_of(position)) for position in positions}


class OffsetsFile:
    """One connector's file in a folder. Whatever the file system says is a StoreUnavailable."""

    def __init__(self, folder: Path, sink: str) -> None:
        """Touches nothing."""
        self.path = folder / f"{sink}.json"
        self._folder, self._lock = folder, folder / f"{sink}.lock"

    @property
    def exists(self) -> bool:
        """Whether there was a commit."""
        return self.path.exists()

    @contextmanager
    def locked(self, doing: str, *, make: bool = False) -> Iterator[None]:
        """Alone with the file. `make`: the folder, where it is missing."""
        try:
            if make:
                self._folder.mkdir(parents=True, exist_ok=True)
            with self._lock.open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as exc:
            raise StoreUnavailable(f"{doing} {self._folder}: {exc.strerror or exc}") from exc

    def read(self) -> Offsets:
        """What the last commit left; to be called in `locked`."""
        if not self.exists:
            return Offsets()
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Offsets)
        except msgspec.MsgspecError as exc:
            raise StoreUnavailable(f"reading {self.path}: it is damaged ({exc}); restore or remove it") from exc

    def write(self, offsets: Offsets) -> None:
        """Replace it, so that a crash leaves the old or the new one; to be called in `locked`."""
        staged = self.path.with_suffix(STAGING)
        staged.write_bytes(msgspec.json.encode(offsets))
        sync(staged)
        staged.rename(self.path)
        sync(self._folder)

    def refuse_moved(self, offsets: Offsets, expected: Mapping[Position, int | None]) -> None:
        """Raises StoreUnavailable when the offsets are not what is expected: another worker has these partitions."""
        moved = sum(offsets.next.get(place_of(position)) != offset for position, offset in expected.items())
        if moved:
            raise StoreUnavailable(
                f"committing to {self._folder}: {moved} offsets were moved by another worker; reading them again"
            )


def place_of(position: Position) -> str:
    """A partition's key in the file."""
    return f"{position[0]}/{position[1]}"


def sync(path: Path) -> None:
    """Wait until a file or the names in a folder are on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
