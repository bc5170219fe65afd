"""Recordings: what exchanges sent, as it was received, in compressed files.

A file is a row of zstd frames with checksums, each of whole JSON lines, so `zstdcat` reads it too:
{"received_time_us", "exchange", "source", "covered_since_ms", "frame"}, "frame_base64" where it is not UTF-8.
`source`: "websocket", the path of the REST call, or "instruments" (a table as in instruments.py, repeated at the head
of every file, so that each can be replayed alone). A process that dies leaves at most one torn zstd frame at the end;
the reader cuts it off. Names of files sort by the time of their beginning."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import zstandard

from schemas.errors import SettingsError

WEBSOCKET: Final = "websocket"
INSTRUMENTS: Final = "instruments"
SUFFIX: Final = ".frames.jsonl.zst"
READ_BYTES: Final = 1_048_576


class RecordedFrame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One frame, body or table; `frame_base64` where the bytes are not UTF-8.

    `covered_since_ms`: since when the exchange has been listened to without a gap, so that older events are history."""

    received_time_us: int
    exchange: str
    source: str
    covered_since_ms: int = 0
    frame: str = ""
    frame_base64: bytes = b""

    def body(self) -> bytes:
        """The bytes as they were received."""
        return self.frame_base64 or self.frame.encode()


_WRITER: Final = msgspec.json.Encoder()
_READER: Final = msgspec.json.Decoder(RecordedFrame)


def to_line(body: bytes, *, exchange: str, source: str, received_time_us: int, covered_since_ms: int = 0) -> bytes:
    """One line of a recording."""
    try:
        text, base64 = body.decode(), b""
    except UnicodeDecodeError:
        text, base64 = "", body
    recorded = RecordedFrame(
        received_time_us=received_time_us, exchange=exchange, source=source, covered_since_ms=covered_since_ms,
        frame=text, frame_base64=base64,
    )  # fmt: skip
    return _WRITER.encode(recorded) + b"\n"


class Recording:
    """Iterate to read every whole frame of a file, or of all files of a folder, in the order they were received.

    `damaged`: a sentence for each file of which a part could not be read. Raises SettingsError when there is no file,
    or one cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
        self.damaged: list[str] = []
        if not self.files or not self.files[0].is_file():
            raise SettingsError(f"reading a recording: {path} has no file that ends in {SUFFIX}; name another folder")

    def __iter__(self) -> Iterator[RecordedFrame]:
        for path in self.files:
            for block in self._blocks(path):
                yield from block

    def _blocks(self, path: Path) -> Iterator[list[RecordedFrame]]:
        """Contents of each whole zstd frame of one file."""
        read = whole = 0
        try:
            with path.open("rb") as file:
                decompressor, pieces = zstandard.ZstdDecompressor().decompressobj(), list[bytes]()
                while data := file.read(READ_BYTES):
                    read += len(data)
                    while data:
                        pieces.append(decompressor.decompress(data))
                        data = decompressor.unused_data
                        if decompressor.eof:
                            yield _READER.decode_lines(b"".join(pieces))
                            whole = read - len(data)
                            decompressor, pieces = zstandard.ZstdDecompressor().decompressobj(), []
        except OSError as exc:
            raise SettingsError(f"reading the recording {path}: {exc.strerror}; name a readable file") from exc
        except (zstandard.ZstdError, msgspec.MsgspecError) as exc:
            self.damaged.append(f"{path}: damaged after byte {whole:,}, the rest is left out: {exc}")
            return
        if whole < read:
            self.damaged.append(f"{path}: the last {read - whole:,} bytes are torn and left out")
