"""Recordings: what was put in comes out, through torn tails, damage, full disks and many files."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from producers import record
from producers.record import Recorder
from producers.recording import INSTRUMENTS, SUFFIX, WEBSOCKET, RecordedFrame, Recording
from schemas.errors import SettingsError
from tests.producers.toy import DEADLINE_S

FRAMES = [b'{"S":"Buy"}', '{"s":"牛来USDT"}'.encode(), b"", b"\xff\x00 half", b"pong"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "BLOCK_S_MAX", 0.01)


def fill(recorder: Recorder, frames: list[bytes]) -> None:
    for number, frame in enumerate(frames):
        recorder.put(frame, exchange="toy", source=WEBSOCKET, received_time_us=number)


def until(condition: Callable[[], bool]) -> None:
    """The recorder's thread tells nobody what it has done."""
    deadline, pause = DEADLINE_S, threading.Event()
    while not condition():
        deadline -= 0.01
        assert deadline > 0
        pause.wait(0.01)


def bodies(folder: Path) -> list[bytes]:
    return [frame.body() for frame in Recording(folder)]


def test_what_was_received_comes_back_byte_for_byte(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "new" / "folder")
    fill(recorder, FRAMES)
    recorder.close()
    read = list(Recording(tmp_path / "new" / "folder"))
    assert [frame.body() for frame in read] == FRAMES
    assert read[0] == RecordedFrame(received_time_us=0, exchange="toy", source=WEBSOCKET, frame='{"S":"Buy"}')
    assert (recorder.recorded, recorder.left_out, recorder.problem) == (5, 0, None)


def test_files_rotate_and_each_begins_with_the_tables(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, file_bytes_max=1)
    recorder.put(b"table 1", exchange="toy", source=INSTRUMENTS, received_time_us=0)
    until(lambda: recorder.recorded == 1)
    recorder.put(b"table 2", exchange="toy", source=INSTRUMENTS, received_time_us=1)
    until(lambda: recorder.recorded == 2)
    fill(recorder, [b"frame"])
    recorder.close()
    files = sorted(tmp_path.iterdir())
    assert all(path.name.endswith(SUFFIX) for path in files)
    assert [bodies(path) for path in files] == [
        [b"table 1", b"table 1"], [b"table 2", b"table 2"], [b"table 2", b"frame"],
    ]  # fmt: skip


@pytest.mark.parametrize("lost", [1, 7, 30])
def test_torn_tail_is_cut_and_everything_before_it_is_read(tmp_path: Path, lost: int) -> None:
    recorder = Recorder(tmp_path)
    fill(recorder, [b"first"])
    until(lambda: recorder.recorded == 1)
    fill(recorder, [os.urandom(100)])
    recorder.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-lost])
    recording = Recording(tmp_path)
    assert [frame.body() for frame in recording] == [b"first"]
    (sentence,) = recording.damaged
    assert "torn" in sentence


def test_damaged_block_is_found_by_its_checksum(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    fill(recorder, [os.urandom(1_000).hex().encode()])
    recorder.close()
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)
    recording = Recording(path)
    assert list(recording) == []
    assert "damaged" in recording.damaged[0]


def test_disk_that_takes_nothing_is_said_and_later_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    monkeypatch.setattr(record, "RETRY_S", 0.0)
    recorder = Recorder(tmp_path / "taken")
    fill(recorder, FRAMES)
    until(lambda: recorder.left_out == len(FRAMES))
    assert recorder.problem is not None
    assert "choose another folder" in recorder.problem
    (tmp_path / "taken").unlink()
    fill(recorder, [b"later"])
    recorder.close()
    assert bodies(tmp_path / "taken") == [b"later"]
    assert str(recorder.problem) == "None"


def test_full_disk_keeps_what_was_written(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    recorder = Recorder(tmp_path)
    fill(recorder, [b"first"])
    until(lambda: recorder.recorded == 1)
    assert recorder._file is not None
    device = os.open(full, os.O_WRONLY)
    os.dup2(device, recorder._file)
    os.close(device)
    fill(recorder, [b"second"])
    recorder.close()
    assert bodies(tmp_path) == [b"first"]
    assert recorder.left_out == 1
    assert "No space left" in str(recorder.problem)


def test_waiting_frames_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "WAITING_BYTES_MAX", 200)
    recorder = Recorder(tmp_path)
    recorder.put(b"x" * 1_000, exchange="toy", source=WEBSOCKET, received_time_us=0)
    recorder.close()
    assert (recorder.recorded, recorder.left_out) == (0, 1)


@pytest.mark.parametrize("name", ["missing", "."])
def test_folder_without_a_recording_is_a_settings_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=SUFFIX):
        Recording(tmp_path / name)
