"""The real server behind each sink, to land in, to count, to kill and to bring back."""

import contextlib
import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Protocol

import psycopg2
import pyarrow.parquet as pq
import redis
from pydantic import SecretStr

from runtime.settings import KafkaSettings, RedisSettings
from sinks import counts
from sinks.settings import ArchiveSettings, DatabaseSettings, SinkSettings, SinksSection, WebhookSettings
from stack.embedded.folder import DataFolder
from stack.embedded.postgres import PostgresServer
from stack.embedded.redis import RedisServer
from tests.sinks.endpoint import Endpoint

TABLES_WITH_ROWS = """SELECT c.table_name FROM information_schema.columns AS c JOIN information_schema.tables AS t
    USING (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE'
    AND column_name IN ('append_time', 'next_offset')"""


class Running(Protocol):
    """What can be killed and brought back."""

    def start(self) -> object: ...

    def kill(self) -> None: ...

    def stop(self) -> None: ...


class Standing:
    """Something that is no process, and yet is there or not."""

    def __init__(self, *, up: Callable[[], None], down: Callable[[], None]) -> None:
        """Does nothing yet."""
        self.start, self.kill, self.stop = up, down, down


class Store(ABC):
    """A server of its own, since it is killed here."""

    sink: ClassVar[str]
    server: Running

    @abstractmethod
    def empty(self) -> None:
        """As new."""

    @abstractmethod
    def settings(self, kafka: KafkaSettings, sinks: SinksSection) -> SinkSettings:
        """Of a worker that lands here."""

    @property
    def secret(self) -> str:
        """What no message may show."""
        return "no secret"

    @abstractmethod
    def landed(self, settings: SinkSettings) -> Counter[str]:
        """How often each event_id is counted in the store."""

    @property
    @abstractmethod
    def place(self) -> str:
        """What a message about this store names."""


class PostgresStore(Store):
    """A database whose tables are emptied for every test: making them takes seconds."""

    sink = "timescale"

    def __init__(self, folder: Path) -> None:
        """Starts nothing."""
        self.server = self._postgres = PostgresServer(DataFolder(folder))
        self._made = False

    @property
    def place(self) -> str:
        return str(self._postgres.port)

    @property
    def secret(self) -> str:
        return password_of(self._postgres.url) or super().secret

    def empty(self) -> None:
        url = self._postgres.url.rpartition("/")[0] + "/sinks"
        if not self._made:
            new_database(self._postgres.url, "sinks")
            self._made = True
            return
        with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(TABLES_WITH_ROWS)
            names = [name for (name,) in cursor.fetchall()]
            if names:
                cursor.execute(f"TRUNCATE {', '.join(names)}")

    def settings(self, kafka: KafkaSettings, sinks: SinksSection) -> SinkSettings:
        url = self._postgres.url.rpartition("/")[0] + "/sinks"
        return SinkSettings(kafka=kafka, sinks=sinks, database=DatabaseSettings(url=SecretStr(url), retention=False))

    def landed(self, settings: SinkSettings) -> Counter[str]:
        return Counter(counts.event_ids(settings))


class RedisStore(Store):
    """A server that is flushed for every test."""

    sink = "redis"

    def __init__(self, folder: Path) -> None:
        """Starts nothing."""
        self.server = self._redis = RedisServer(DataFolder(folder))

    @property
    def place(self) -> str:
        return str(self._redis.port)

    @property
    def secret(self) -> str:
        return password_of(self._redis.url) or super().secret

    def empty(self) -> None:
        with redis.Redis.from_url(self._redis.url) as client:
            client.flushall()

    def settings(self, kafka: KafkaSettings, sinks: SinksSection) -> SinkSettings:
        return SinkSettings(kafka=kafka, sinks=sinks, redis=RedisSettings(url=SecretStr(self._redis.url)))

    def landed(self, settings: SinkSettings) -> Counter[str]:
        """Ids from the sets; a difference to what the buckets count shows as the id "counted"."""
        with redis.Redis.from_url(self._redis.url, decode_responses=True) as client:
            ids = Counter(str(one) for key in client.scan_iter("liq:seen:*") for one in client.smembers(key))
        ids["counted"] = counts.redis_counts(settings)["events"] - ids.total()
        return +ids


class ParquetStore(Store):
    """A folder; while it is "down", a file stands in its place."""

    sink = "parquet"

    def __init__(self, folder: Path) -> None:
        """Makes nothing."""
        self.folder = folder / "archive"
        self.server = Standing(up=self._up, down=self._down)

    @property
    def place(self) -> str:
        return str(self.folder)

    def empty(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def settings(self, kafka: KafkaSettings, sinks: SinksSection) -> SinkSettings:
        return SinkSettings(kafka=kafka, sinks=sinks, archive=ArchiveSettings(folder=self.folder))

    def landed(self, settings: SinkSettings) -> Counter[str]:
        files = sorted(self.folder.glob("*market.liquidations/*/*.parquet"))
        return Counter(one for file in files for one in pq.read_table(file).column("event_id").to_pylist())

    def _down(self) -> None:
        aside = self.folder.with_suffix(".aside")
        if self.folder.is_dir():
            self.folder.rename(aside)
        self.folder.touch()

    def _up(self) -> None:
        if self.folder.is_file():
            self.folder.unlink()
        aside = self.folder.with_suffix(".aside")
        if aside.is_dir():
            aside.rename(self.folder)


class WebhookStore(Store):
    """An endpoint that takes everything and remembers the ids, at a port that stays the same."""

    sink = "webhook"

    def __init__(self, folder: Path) -> None:
        """Listens to nothing yet."""
        self.folder = folder / "webhook"
        self.endpoint = Endpoint()
        self.server = Standing(up=self.endpoint.up, down=self.endpoint.down)

    @property
    def place(self) -> str:
        return str(self.endpoint.port)

    @property
    def secret(self) -> str:
        return "never-logged"

    def empty(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.endpoint.heard.clear()

    def settings(self, kafka: KafkaSettings, sinks: SinksSection) -> SinkSettings:
        webhook = WebhookSettings(url=SecretStr(self.endpoint.url), folder=self.folder)
        return SinkSettings(kafka=kafka, sinks=sinks, webhook=webhook)

    def landed(self, settings: SinkSettings) -> Counter[str]:
        return Counter(one.headers["webhook-id"] for one in self.endpoint.heard)


STORES: dict[str, Callable[[Path], Store]] = {
    "timescale": PostgresStore,
    "redis": RedisStore,
    "parquet": ParquetStore,
    "webhook": WebhookStore,
}


def password_of(url: str) -> str:
    """ "" where there is none."""
    return url.partition("//")[2].rpartition("@")[0].rpartition(":")[2]


def new_database(url: str, name: str) -> str:
    """An empty database beside the one of the URL; returns its URL."""
    with contextlib.closing(psycopg2.connect(url.rpartition("/")[0] + "/postgres")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            cursor.execute(f'CREATE DATABASE "{name}"')
    return f"{url.rpartition('/')[0]}/{name}"
