"""The real server behind each sink, to land in, to count, to kill and to bring back."""

import contextlib
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import ClassVar

import psycopg2
import redis
from pydantic import SecretStr

from runtime.settings import KafkaSettings, RedisSettings
from sinks import counts
from sinks.settings import DatabaseSettings, SinkSettings, SinksSection
from stack.embedded.folder import DataFolder
from stack.embedded.postgres import PostgresServer
from stack.embedded.redis import RedisServer
from stack.embedded.server import Server


class Store(ABC):
    """A server of its own, since it is killed here."""

    sink: ClassVar[str]
    server: Server

    @abstractmethod
    def empty(self) -> None:
        """As new."""

    @abstractmethod
    def settings(self, kafka: KafkaSettings, sinks: SinksSection) -> SinkSettings:
        """Of a worker that lands here."""

    @abstractmethod
    def landed(self, settings: SinkSettings) -> Counter[str]:
        """How often each event_id is counted in the store."""


class PostgresStore(Store):
    """A database that is dropped for every test."""

    sink = "timescale"

    def __init__(self, folder: Path) -> None:
        """Starts nothing."""
        self.server = PostgresServer(DataFolder(folder))

    def empty(self) -> None:
        new_database(self.server.url, "sinks")

    def settings(self, kafka: KafkaSettings, sinks: SinksSection) -> SinkSettings:
        url = self.server.url.rpartition("/")[0] + "/sinks"
        return SinkSettings(kafka=kafka, sinks=sinks, database=DatabaseSettings(url=SecretStr(url)))

    def landed(self, settings: SinkSettings) -> Counter[str]:
        return Counter(counts.event_ids(settings))


class RedisStore(Store):
    """A server that is flushed for every test."""

    sink = "redis"

    def __init__(self, folder: Path) -> None:
        """Starts nothing."""
        self.server = RedisServer(DataFolder(folder))

    def empty(self) -> None:
        with redis.Redis.from_url(self.server.url) as client:
            client.flushall()

    def settings(self, kafka: KafkaSettings, sinks: SinksSection) -> SinkSettings:
        return SinkSettings(kafka=kafka, sinks=sinks, redis=RedisSettings(url=SecretStr(self.server.url)))

    def landed(self, settings: SinkSettings) -> Counter[str]:
        """Ids from the sets; a difference to what the buckets count shows as the id "counted"."""
        with redis.Redis.from_url(self.server.url, decode_responses=True) as client:
            ids = Counter(str(one) for key in client.scan_iter("liq:seen:*") for one in client.smembers(key))
        ids["counted"] = counts.redis_counts(settings)["events"] - ids.total()
        return +ids


STORES: dict[str, type[PostgresStore] | type[RedisStore]] = {store.sink: store for store in (PostgresStore, RedisStore)}


def new_database(url: str, name: str) -> str:
    """An empty database beside the one of the URL; returns its URL."""
    with contextlib.closing(psycopg2.connect(url.rpartition("/")[0] + "/postgres")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            cursor.execute(f'CREATE DATABASE "{name}"')
    return f"{url.rpartition('/')[0]}/{name}"
