"""What `liqcascade doctor` looks at: settings, servers, topics, disk."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psycopg2
import redis

from runtime.kafka import create_topics, describe, topic_names
from runtime.settings import KafkaSettings, load, settings_file
from schemas.errors import LiqcascadeError
from schemas.topics import TOPICS
from stack.settings import Settings

TIMEOUT_S: Final = 5
FREE_BYTES_MIN: Final = 2 * 2**30  # the embedded stack's downloads take 0.1 GB, a day of a busy market about 1 GB


@dataclass(frozen=True)
class Finding:
    """What one check found. `advice` is what to do when it is not ok, or what would make it better."""

    check: str
    ok: bool
    found: str
    advice: str = ""


def examine() -> Iterator[Finding]:
    """All checks, in the order in which to mend things."""
    try:
        settings = load(Settings)
    except LiqcascadeError as exc:
        yield Finding("settings", False, str(exc), "mend the key that is named; `liqcascade settings show` lists all")
        return
    file = settings_file()
    yield Finding("settings", True, f"{file} and the environment" if file.is_file() else "defaults and the environment")
    yield from _kafka(settings.kafka)
    yield _guarded("database", lambda: _database(settings.database.url.get_secret_value()))
    yield _guarded("redis", lambda: _redis(settings.redis.url.get_secret_value()))
    free = shutil.disk_usage(Path.cwd()).free
    advice = "" if free >= FREE_BYTES_MIN else "free some space: brokers and databases stop when a disk is full"
    yield Finding("disk", free >= FREE_BYTES_MIN, f"{free / 1e9:.1f} GB free here", advice)


def _kafka(kafka: KafkaSettings) -> Iterator[Finding]:
    try:
        present = describe(kafka)
    except LiqcascadeError as exc:
        yield Finding("kafka", False, str(exc), "the checks of topics wait for this")
        return
    yield Finding("kafka", True, f"{kafka.bootstrap_servers}, {kafka.security_protocol}, {len(present)} topics")
    missing = [name for topic in TOPICS.values() if (name := topic_names(kafka).of(topic)) not in present]
    advice = f"missing: {', '.join(missing)}; `liqcascade topics --create`, or start any stage" if missing else ""
    yield Finding("topics", not missing, f"{len(TOPICS) - len(missing)} of {len(TOPICS)} are there", advice)
    if not missing:
        yield _guarded("partitions", lambda: _partitions(kafka))
    if kafka.schema_registry_url:
        yield _guarded("schema registry", lambda: _registry(kafka.schema_registry_url or ""))


def _guarded(check: str, examine_one: Callable[[], Finding]) -> Finding:
    """A check whose foreign errors are findings, not failures of the doctor."""
    try:
        return examine_one()
    except (LiqcascadeError, httpx.HTTPError, psycopg2.Error, redis.RedisError, OSError, ValueError) as exc:
        advice = {
            "database": "start it (`liqcascade stack up`) or set database.url",
            "redis": "start it (`liqcascade stack up`) or set redis.url",
            "schema registry": "start it, or unset kafka.schema_registry_url to use the built-in schema ids",
        }.get(check, "")
        return Finding(check, False, " ".join(str(exc).split()), advice)


def _partitions(kafka: KafkaSettings) -> Finding:
    create_topics(kafka)  # creates nothing here; raises when the numbers differ
    return Finding("partitions", True, f"{kafka.partitions} for the topics by asset")


def _registry(url: str) -> Finding:
    answer = httpx.get(f"{url.rstrip('/')}/subjects", timeout=TIMEOUT_S)
    answer.raise_for_status()
    return Finding("schema registry", True, f"{url}, {len(answer.json())} subjects")


def _database(url: str) -> Finding:
    connection = psycopg2.connect(url, connect_timeout=TIMEOUT_S)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT split_part(version(), ' ', 2), pg_is_in_recovery()")
            version, is_replica = cursor.fetchone() or ("?", False)
            cursor.execute("SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'")
            timescale = cursor.fetchone()
    finally:
        connection.close()
    if is_replica:
        return Finding(
            "database", False, f"PostgreSQL {version}, a read-only replica", "set database.url to the primary"
        )
    found = f"PostgreSQL {version}, " + (f"TimescaleDB {timescale[0]}" if timescale else "without TimescaleDB")
    advice = "" if timescale else "plain tables: without compression and retention; install TimescaleDB for those"
    return Finding("database", True, found, advice)


def _redis(url: str) -> Finding:
    client = redis.Redis.from_url(url, socket_connect_timeout=TIMEOUT_S, socket_timeout=TIMEOUT_S)
    try:
        about = client.info("server")
    finally:
        client.close()
    return Finding("redis", True, f"Redis {about['redis_version']}")
