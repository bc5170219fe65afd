"""`up`, `down` and `status`: one owner a folder, nothing left behind however it ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from schemas.errors import StackError
from stack import supervisor
from stack.embedded.folder import DataFolder
from stack.embedded.process import runs
from stack.supervisor import StackStatus
from tests.stack.waiting import eventually

# Servers that are not under test here are given, so that each start costs little.
NO_KAFKA = {"LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": "kafka.example:9092"}
ONLY_REDIS = NO_KAFKA | {"LIQCASCADE_DATABASE__URL": "postgresql://db.example/x"}
FOREGROUND = """\
import json, sys
from dataclasses import asdict
from pathlib import Path
from stack import supervisor
def tell(now): print(json.dumps(asdict(now)), flush=True)
tell(supervisor.up(Path(sys.argv[1]), given=json.loads(sys.argv[2]), announce=tell))
"""


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder that other accounts may enter; whatever still runs in it at the end is ended."""
    with tempfile.TemporaryDirectory(prefix="liqcascade-supervisor-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        supervisor.down(folder)


def pids(now: StackStatus) -> dict[str, int]:
    return {server.name: server.pid for server in now.servers if server.pid is not None}


class Foreground:
    """`up` in the foreground of another process."""

    def __init__(self, data: Path, given: dict[str, str] = ONLY_REDIS) -> None:
        command = [sys.executable, "-c", FOREGROUND, str(data), json.dumps(given)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def line(self) -> dict[str, object]:
        assert self.process.stdout is not None
        answer: dict[str, object] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def foreground(data: Path) -> Iterator[Foreground]:
    one = Foreground(data)
    yield one
    one.close()


def test_the_whole_stack_up_and_down(data: Path) -> None:
    now = supervisor.up(data, detach=True)
    assert now.up
    assert not now.already
    assert sorted(pids(now)) == ["kafka", "postgres", "redis"]
    assert sorted(now.environment) == sorted(supervisor.VARIABLES)
    assert all(server.bytes_used > 0 for server in now.servers)
    assert now == supervisor.status(data)
    assert supervisor.down(data)
    assert now.pid is not None
    assert not any(map(runs, (now.pid, *pids(now).values())))
    assert supervisor.status(data).environment == {}


def test_nothing_is_left_when_the_supervisor_is_killed(data: Path) -> None:
    now = supervisor.up(data, detach=True, given=NO_KAFKA)
    assert now.pid is not None
    with contextlib.closing(psycopg2.connect(now.environment["LIQCASCADE_DATABASE__URL"])) as connection:
        backend = connection.info.backend_pid
        os.kill(now.pid, signal.SIGKILL)
        everyone = [now.pid, backend, *pids(now).values()]
        eventually(lambda: not any(map(runs, everyone)), "all ended with the supervisor")
    assert not supervisor.status(data).up
    assert not supervisor.down(data)
    again = supervisor.up(data, detach=True, given=NO_KAFKA)
    assert again.environment == now.environment


def test_up_when_up_says_so(data: Path) -> None:
    first = supervisor.up(data, detach=True, given=ONLY_REDIS)
    told: list[StackStatus] = []
    for detach in (True, False):
        again = supervisor.up(data, detach=detach, announce=told.append)
        assert again.already
        assert (again.pid, again.environment) == (first.pid, first.environment)
    assert len(told) == 2


def test_two_ups_at_once_make_one_stack(data: Path) -> None:
    both = [Foreground(data), Foreground(data)]
    first, second = (one.line() for one in both)
    assert first["pid"] == second["pid"]
    assert {first["already"], second["already"]} == {False, True}
    for one in both:
        one.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_foreground(foreground: Foreground, number: int) -> None:
    up = foreground.line()
    foreground.process.send_signal(number)
    end = foreground.line()
    assert (up["up"], end["up"]) == (True, False)
    assert foreground.process.wait(30.0) == 0
    servers = up["servers"]
    assert isinstance(servers, list)
    assert not any(runs(server["pid"]) for server in servers if server["pid"])


def test_down_ends_the_foreground(foreground: Foreground, data: Path) -> None:
    foreground.line()
    assert supervisor.status(data).up
    assert supervisor.down(data)
    assert foreground.process.wait(30.0) == 0
    assert not supervisor.down(data)


def test_a_signal_while_starting_leaves_nothing(data: Path) -> None:
    foreground = Foreground(data, given={})
    eventually(lambda: (data / "kafka" / "kafka.log").exists(), "the start is under way")
    foreground.process.send_signal(signal.SIGTERM)
    assert foreground.process.wait(30.0) == 0
    assert not DataFolder(data).in_use()
    foreground.close()


def test_a_crashed_server_is_started_again(data: Path) -> None:
    now = supervisor.up(data, detach=True, given=ONLY_REDIS)
    before = pids(now)["redis"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: pids(supervisor.status(data)).get("redis", before) != before, "redis is up again")
    assert supervisor.status(data).environment == now.environment


def test_a_detached_start_that_fails_says_why(data: Path) -> None:
    (data / "redis").mkdir()
    for name in ("appendonlydir", "appendonly.aof"):  # Redis 7 wants a folder there, Redis 6 a log that it can read
        (data / "redis" / name).write_text("this is neither")
    with pytest.raises(StackError, match=r"starting redis: (it ended with code 1|the data in .* is of Redis 7)"):
        supervisor.up(data, detach=True, given=ONLY_REDIS)
    assert not supervisor.status(data).up


def test_a_folder_that_cannot_be_used_is_told(data: Path) -> None:
    (data / "file").touch()
    for detach in (True, False):
        with pytest.raises(StackError, match="a part of this path is a file"):
            supervisor.up(data / "file", detach=detach)


def test_nothing_there_is_down(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert not supervisor.down(missing)
    assert not supervisor.status(missing).up
    assert not missing.exists()


def test_a_stale_state_is_not_believed(data: Path) -> None:
    now = supervisor.up(data, detach=True, given=ONLY_REDIS)
    state = (data / "stack.json").read_text()
    supervisor.down(data)
    (data / "stack.json").write_text(state.replace(str(now.pid), str(os.getpid())))
    (data / "lock").write_text(str(os.getpid()))
    assert not supervisor.status(data).up
    assert not supervisor.down(data), "this process would have been ended"


def test_the_state_is_for_the_owner_alone(data: Path) -> None:
    supervisor.up(data, detach=True, given=ONLY_REDIS)
    assert (data / "stack.json").stat().st_mode & 0o077 == 0
