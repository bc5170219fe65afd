"""Writes recordings beside the feeds; writing never holds up a feed. The format stands in recording.py."""

import contextlib
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
import zstandard

from producers import metrics
from producers.recording import INSTRUMENTS, SUFFIX, to_line

BLOCK_BYTES_MAX: Final = 1_048_576  # of lines, compressed ten times; a crash loses no more than that
BLOCK_S_MAX: Final = 1.0  # or than what came in a second
# 20,000 frames/s of 300 bytes for 10 s are 60 MB: a burst outlasts a disk that hangs for ten seconds.
WAITING_BYTES_MAX: Final = 67_108_864
FILE_BYTES_MAX: Final = 268_435_456  # compressed: a busy day of all exchanges
FILE_S_MAX: Final = 3_600.0
RETRY_S: Final = 30.0  # after a write that failed: a full disk is seldom mended sooner
LEVEL: Final = 3  # 300 MB/s; higher ones gain a tenth and cost twice


class Recorder:
    """Takes frames on the event loop and writes them in a thread of its own; `close` writes what is left.

    While the disk does not take them, and beyond `WAITING_BYTES_MAX`, frames are left out of the recording, counted in
    `left_out` and said in the log; nothing else stops."""

    def __init__(self, folder: Path, *, file_bytes_max: int = FILE_BYTES_MAX, file_s_max: float = FILE_S_MAX) -> None:
        self.recorded = self.left_out = 0
        self.problem: str | None = None
        self._folder, self._file_bytes_max, self._file_s_max = folder, file_bytes_max, file_s_max
        self._log = structlog.get_logger().bind(folder=str(folder))
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._closed = False
        self._tables: dict[str, bytes] = {}  # the newest one of each exchange, for the head of the next file
        self._path = folder
        self._file: int | None = None
        self._file_bytes, self._file_ends, self._retry_at = 0, float("inf"), float("-inf")
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def put(self, body: bytes, *, exchange: str, source: str, received_time_us: int, covered_since_ms: int = 0) -> None:
        """Take one frame, body or table; see `RecordedFrame`. Never waits, never raises."""
        line = to_line(
            body, exchange=exchange, source=source, received_time_us=received_time_us, covered_since_ms=covered_since_ms
        )
        with self._changed:
            if source == INSTRUMENTS:
                self._tables[exchange] = line
            if self._waiting_bytes + len(line) > WAITING_BYTES_MAX:
                self._leave_out(1, f"{self._waiting_bytes} bytes wait for the disk; use a quicker one")
                return
            self._waiting.append(line)
            before, self._waiting_bytes = self._waiting_bytes, self._waiting_bytes + len(line)
            if before < BLOCK_BYTES_MAX <= self._waiting_bytes:
                self._changed.notify()

    def close(self) -> None:
        """Write what is left and end the file."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        closed = False
        while not closed:
            with self._changed:
                if not self._closed and self._waiting_bytes < BLOCK_BYTES_MAX:
                    self._changed.wait(BLOCK_S_MAX)
                lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
                closed = self._closed
            if lines:
                self._write(lines)
            if closed or time.monotonic() >= self._file_ends or self._file_bytes >= self._file_bytes_max:
                self._end_file()

    def _write(self, lines: list[bytes]) -> None:
        if time.monotonic() < self._retry_at:
            self._leave_out(len(lines), "")
            return
        try:
            if self._file is None:
                self._begin_file()
            self._append(lines)
        except OSError as exc:
            self._retry_at = time.monotonic() + RETRY_S
            if self._file is not None and self._file_bytes == 0:
                with contextlib.suppress(OSError):
                    self._path.unlink()
            self._close_file()
            self._leave_out(len(lines), f"{exc.strerror}; free some space or choose another folder")
            return
        self.recorded += len(lines)
        metrics.FRAMES_RECORDED.inc(len(lines))
        if self.problem is not None:
            self._log.info("recording again", left_out=self.left_out)
            self.problem = None

    def _begin_file(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file_bytes, self._file_ends = 0, time.monotonic() + self._file_s_max
        self._path = self._folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{os.getpid()}{SUFFIX}"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        with self._changed:
            tables = list(self._tables.values())
        if tables:
            self._append(tables)

    def _append(self, lines: list[bytes]) -> None:
        """One zstd frame, whole or not at all. Raises OSError."""
        assert self._file is not None, "_begin_file() comes first"
        block = self._compressor.compress(b"".join(lines))
        written = 0
        try:
            while written < len(block):
                written += os.write(self._file, block[written:])
        except OSError:
            with contextlib.suppress(OSError):  # then the reader cuts the torn tail off
                os.ftruncate(self._file, self._file_bytes)
            raise
        self._file_bytes += written

    def _end_file(self) -> None:
        if self._file is not None:
            try:
                os.fsync(self._file)
            except OSError as exc:
                self._leave_out(0, f"{exc.strerror} at the end of {self._path.name}")
        self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what was written is written
                os.close(self._file)
        self._file, self._file_ends = None, float("inf")

    def _leave_out(self, frames: int, reason: str) -> None:
        """Count, and say why the first time."""
        with self._changed:
            if self.problem is None:
                self.problem = f"recording to {self._folder}: {reason}"
                self._log.error("frames are left out of the recording", reason=self.problem)
            self.left_out += frames
            metrics.FRAMES_NOT_RECORDED.inc(frames)
