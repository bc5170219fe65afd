"""How the faults of a run of the sinks are done: to PostgreSQL, Redis, the workers and the broker."""

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg2
import redis

from schemas.errors import Unavailable
from sinks.audit import redis_offsets, timescale_offsets
from sinks.configs import read
from sinks.settings import SinkSettings
from sinks.worker import first_connectors
from stack.demo.stage import Stage
from stack.embedded import EmbeddedStack
from stack.log_range import spans
from tests.simulation.chaos_sinks_schedule import Planned
from tests.simulation.proxy import Proxy

WORKERS_MAX: Final = 4
CLOSED_PORT: Final = 9  # discard: nobody listens
FILE_SYSTEM_MB: Final = 1_500  # an empty cluster, and 1 GB of its log
BYTES_A_RECORD: Final = 1_200  # row, indexes and room
TICK_S: Final = 0.1


class Faults:
    """The workers, who see the stores through proxies, and what is done to all of them."""

    def __init__(self, stack: EmbeddedStack, settings: SinkSettings, folder: Path, *, can_fill: bool) -> None:
        """`can_fill`: PostgreSQL lies in a file system of its own."""
        self.counts: Counter[str] = Counter()
        self.left_out: list[str] = []
        self._stack, self._folder, self._can_fill = stack, folder, can_fill
        self._proxies = {"postgres": Proxy(stack.postgres.port), "redis": Proxy(stack.redis.port)}
        self._workers: list[Stage] = []
        self._made = 0
        database, cache = settings.database.url.get_secret_value(), settings.redis.url.get_secret_value()
        self._environment = {
            "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
            "LIQCASCADE_KAFKA__PARTITIONS": str(settings.kafka.partitions),
            "LIQCASCADE_DATABASE__URL": database.replace(f":{stack.postgres.port}/", f":{self._port('postgres')}/"),
            "LIQCASCADE_DATABASE__RETENTION": "false",
            "LIQCASCADE_REDIS__URL": cache.replace(f":{stack.redis.port}/", f":{self._port('redis')}/"),
            "LIQCASCADE_REST__PORT": "0",
            "LIQCASCADE_SINKS__BACKOFF_MS_MAX": "2000",
            "LIQCASCADE_LOG__FORMAT": "json",
        }
        self._database = database

    def add_worker(self) -> None:
        """One more, and it lands records with the others."""
        self._made += 1
        worker = Stage(f"sink-{self._made}", ["stack.cli", "sink"], self._environment, self._folder)
        worker.start()
        self._workers.append(worker)

    def heal_workers(self) -> None:
        """Start again what has ended by itself; nothing should."""
        for worker in self._workers:
            if worker.heal():
                self.counts["ended by themselves"] += 1

    def run(self, planned: list[Planned]) -> None:
        """All of it, at its time; a recovery that takes longer moves what comes after it."""
        begun_s = time.monotonic()
        for fault in planned:
            self._attend(begun_s + fault.at_s)
            if fault.kind == "full" and fault.target == "postgres" and not self._can_fill:
                self.left_out.append("postgres full: no file system may be mounted here")
                continue
            print(f"{time.monotonic() - begun_s:6.1f} s {fault.target}: {fault.kind}", file=sys.stderr)
            self.counts[f"{fault.target} {fault.kind}"] += 1
            self._inflict(fault)
        self._attend(time.monotonic() + 1.0)

    def behind(self, settings: SinkSettings) -> bool:
        """Whether a sink has not come to the end of its topics yet."""
        try:
            for config in (read(one, settings) for one in first_connectors(settings).values()):
                ends = {
                    (one.topic, one.partition): one.end
                    for one in spans(settings.kafka, [topic.name for topic in config.topics])
                }
                offsets = timescale_offsets if config.kind.kind == "timescale" else redis_offsets
                landed = offsets(config, list(ends))
                if any(landed.get(at, 0) < end for at, end in ends.items() if end):
                    return True
        except Unavailable:
            return True
        return False

    def outages(self) -> int:
        """How often a task was paused, by the workers' own word: faults that nobody felt prove nothing."""
        return sum(file.read_text().count("paused by an outage") for file in self._folder.glob("sink-*.log"))

    def end(self) -> None:
        """End workers and proxies."""
        for worker in self._workers:
            worker.ask_to_stop()
        for worker in self._workers:
            worker.await_end()
        for proxy in self._proxies.values():
            proxy.close()

    def _port(self, store: str) -> int:
        return self._proxies[store].port

    def _attend(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            self.heal_workers()
            time.sleep(TICK_S)

    def _inflict(self, fault: Planned) -> None:
        if fault.kind == "kill-worker":
            self._workers[0].kill()
            self._workers.append(self._workers.pop(0))  # `heal` brings it back; the next one is another
            self._workers[-1].start()
        elif fault.kind == "add-worker":
            if len(self._workers) < WORKERS_MAX:
                self.add_worker()
        elif fault.kind == "restart-broker":
            self._stack.kafka.kill()
            self._attend(time.monotonic() + fault.seconds)
            self._stack.kafka.start()
        elif fault.kind in ("partition", "cut"):
            proxy = self._proxies[fault.target]
            proxy.silence() if fault.kind == "partition" else proxy.cut()
            self._attend(time.monotonic() + fault.seconds)
            proxy.heal()
        elif fault.kind in ("kill", "stop"):
            server = self._stack.postgres if fault.target == "postgres" else self._stack.redis
            server.kill() if fault.kind == "kill" else server.stop()
            self._attend(time.monotonic() + fault.seconds)
            server.start()
        elif fault.target == "redis":
            self._hinder_redis(fault)
        else:
            self._hinder_postgres(fault)

    def _hinder_redis(self, fault: Planned) -> None:
        """No memory left; or a replica whose primary is gone."""
        with redis.Redis.from_url(self._stack.redis.url, decode_responses=True) as client:
            if fault.kind == "full":
                client.config_set("maxmemory", "1mb")
            else:
                client.replicaof("127.0.0.1", CLOSED_PORT)
            self._attend(time.monotonic() + fault.seconds)
            if fault.kind == "full":
                client.config_set("maxmemory", "0")
            else:
                client.replicaof("NO", "ONE")

    def _hinder_postgres(self, fault: Planned) -> None:
        """No room left in its file system; or no transaction may write."""
        if fault.kind == "full":
            filler = self._stack.postgres.folder / "filler"
            _fill(filler)
            self._attend(time.monotonic() + fault.seconds)
            filler.unlink()
            if not self._stack.postgres.alive:  # without room for its own log it ends
                self._stack.postgres.start()
            return
        self._tell_postgres("ALTER SYSTEM SET default_transaction_read_only = on")
        self._attend(time.monotonic() + fault.seconds)
        self._tell_postgres("ALTER SYSTEM RESET default_transaction_read_only")

    def _tell_postgres(self, statement: str) -> None:
        with contextlib.closing(
            psycopg2.connect(self._database, options="-c default_transaction_read_only=off")
        ) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                cursor.execute("SELECT pg_reload_conf()")


@contextlib.contextmanager
def mount_small(folder: Path, *, records: int) -> Iterator[bool]:
    """A file system in memory at the folder, as large as so many records need; False where it may not be mounted."""
    folder.mkdir(parents=True, mode=0o755)
    size_mb = FILE_SYSTEM_MB + records * BYTES_A_RECORD // 2**20
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=755", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


def _fill(path: Path) -> None:
    """Take all the room that is left."""
    with path.open("wb", buffering=0) as file:
        room = os.statvfs(path.parent)
        with contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize)
        with contextlib.suppress(OSError):
            file.seek(0, os.SEEK_END)
            while file.write(b"\0" * 4_096):
                pass
