"""The audit on real servers: nothing to say of what is whole, and every hole that is made on purpose by its name."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis
from pydantic import SecretStr

from runtime.clock import wall_clock_ms
from runtime.settings import KafkaSettings, RedisSettings
from schemas.topics import LATE, LIQUIDATIONS
from schemas.words import AlertKind, Level
from sinks.counts import timescale_counts
from sinks.parquet import ParquetSink
from sinks.redis import RedisSink
from sinks.settings import ArchiveSettings, DatabaseSettings, SinkSettings, SinksSection, WebhookSettings
from sinks.timescale import TimescaleSink
from sinks.webhook import WebhookSink
from stack.audit import Account, audit
from tests.sinks.database import ask
from tests.sinks.endpoint import Endpoint
from tests.sinks.records import alert, funding, liquidation, open_interest, state, window
from tests.sinks.stores import new_database
from tests.sinks.topics import Log, running, wait_for
from tests.stack.test_cli import run

POISON = b"no Avro"
RECORDS = 40


@pytest.fixture
def settings(
    kafka: str, topic_prefix: str, postgres_url: str, redis_url: str, tmp_path: Path
) -> Iterator[SinkSettings]:
    yield SinkSettings(
        kafka=KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=2),
        sinks=SinksSection(enabled=("timescale", "redis", "parquet"), flush_ms={"parquet": 200}),
        database=DatabaseSettings(url=SecretStr(new_database(postgres_url, "audit")), retention=False),
        redis=RedisSettings(url=SecretStr(redis_url)),
        archive=ArchiveSettings(folder=tmp_path / "archive"),
    )
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()


@pytest.fixture
def log(settings: SinkSettings) -> Log:
    """Records of every kind, some twice, some poison."""
    log = Log(settings.kafka)
    with redis.Redis.from_url(settings.redis.url.get_secret_value()) as client:
        client.flushdb()
    events = [liquidation(number) for number in range(RECORDS)]
    log.append([*events, events[0], open_interest(1), funding(1), window(1), alert(1), alert(2), state()])
    log.append([events[1]], LATE)
    log.append([POISON, liquidation(100, price=-1.0)], LIQUIDATIONS)
    return log


def account_of(settings: SinkSettings) -> Account:
    return audit(settings, from_ms=0, to_ms=wall_clock_ms() + 60_000)


def waiting(settings: SinkSettings) -> int:
    return sum(line.waiting for line in account_of(settings).lines)


def land(settings: SinkSettings) -> Account:
    """All three sinks, until nothing waits."""
    with running(settings, TimescaleSink), running(settings, RedisSink), running(settings, ParquetSink):
        wait_for(lambda: waiting(settings) == 0, "the sinks")
    return account_of(settings)


def named(account: Account) -> dict[str, tuple[list[str], list[str]]]:
    return {
        f"{line.connector} {line.topic.partition('.')[2]}": (line.missing, line.doubled)
        for line in account.lines
        if line.missing or line.doubled
    }


def test_what_is_whole_has_nothing_missing_and_every_hole_is_named(settings: SinkSettings, log: Log) -> None:
    before = account_of(settings)
    assert (before.missing, before.doubled) == (0, 0), "nothing has landed, so everything waits"
    assert waiting(settings) > 3 * RECORDS

    account = land(settings)
    assert named(account) == {}
    lines = {(line.connector, line.topic.partition(".")[2]): line for line in account.lines}
    for sink in ("timescale", "redis", "parquet"):
        line = lines[sink, LIQUIDATIONS.name]
        assert (line.records, line.ids, line.landed, line.dead_letters) == (RECORDS + 3, RECORDS + 1, RECORDS, 2), sink
    assert lines["redis", "signals.state"].landed == 1
    assert lines["redis", "alerts.cascades"].landed == 2

    ask(settings, "DELETE FROM liquidations WHERE event_id = 'binance:BTCUSDT:7'")
    ask(settings, "DELETE FROM windows")
    (file, *_) = settings.archive.folder.glob("*market.liquidations/*/*.parquet")
    shutil.copy(file, file.with_name("0-copy.parquet"))
    with redis.Redis.from_url(settings.redis.url.get_secret_value(), decode_responses=True) as client:
        (first, *_) = client.xrange("alerts")
        client.xdel("alerts", first[0])
        client.delete("state:BTC")
        bucket = next(iter(client.scan_iter("liq:bucket:*")))
        client.hincrby(bucket, "binance:LONG:events", 1)
    log.append([b"poison behind the offsets"], LIQUIDATIONS)
    producer_moves_on(settings, log)

    holes = named(account_of(settings))
    assert holes["timescale market.liquidations"][0][-1] == "binance:BTCUSDT:7"
    assert holes["timescale signals.windows"] == (["BTC:2000:1760000002000"], [])
    assert holes["redis alerts.cascades"] == ([first[1]["alert_id"]], [])
    assert holes["redis signals.state"] == (["BTC"], [])
    ((), (wrong,)) = map(tuple, holes["redis market.liquidations"])
    assert wrong.startswith(bucket)
    assert len(holes["parquet market.liquidations"][1]) >= 1
    assert "which cannot be decoded and has no dead letter" in holes["timescale market.liquidations"][0][0]


def producer_moves_on(settings: SinkSettings, log: Log) -> None:
    """The offsets of one store pass a poison record that nobody wrote a dead letter for."""
    ends = log.ends(LIQUIDATIONS)
    for partition, end in enumerate(ends):
        ask(settings, f"UPDATE sink_offsets SET next_offset = {end} WHERE partition = {partition} "  # noqa: S608
                      f"AND topic = '{log.names.of(LIQUIDATIONS)}'")  # fmt: skip


def test_of_a_webhook_what_was_told_is_landed_and_what_was_not_to_be_told_is_not_missing(
    settings: SinkSettings, tmp_path: Path
) -> None:
    endpoint = Endpoint()
    endpoint.up()
    webhook = WebhookSettings(url=SecretStr(endpoint.url), folder=tmp_path / "webhook")
    only = settings.model_copy(update={"sinks": SinksSection(enabled=("webhook",)), "webhook": webhook})
    log = Log(settings.kafka)
    raised = [msgspec.structs.replace(alert(number), kind=AlertKind.RAISED) for number in range(3)]
    low = msgspec.structs.replace(alert(4), kind=AlertKind.RAISED, level=Level.WATCH)
    log.append([*raised, alert(3), low])
    try:
        with running(only, WebhookSink):
            wait_for(lambda: waiting(only) == 0, "the webhook")
    finally:
        endpoint.down()
    (line,) = account_of(only).lines
    assert (line.ids, line.landed, line.kept_no_longer, line.missing, line.doubled) == (5, 3, 2, [], [])
    assert len(endpoint.heard) == 3
    file = webhook.folder / "webhook.json"
    file.write_text(file.read_text().replace(raised[1].alert_id, "another"))
    assert named(account_of(only)) == {"webhook alerts.cascades": ([raised[1].alert_id], [])}


def test_the_command_counts_and_names_and_says_so_by_its_code(settings: SinkSettings, tmp_path: Path) -> None:
    log = Log(settings.kafka)
    log.append([liquidation(1), liquidation(2)])
    with running(settings, TimescaleSink, topics=log.names.of(LIQUIDATIONS)):
        wait_for(lambda: timescale_counts(settings)["liquidations"] == 2, "two rows")
    environment = {
        "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "LIQCASCADE_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "LIQCASCADE_KAFKA__PARTITIONS": "2",
        "LIQCASCADE_SINKS__ENABLED": '["timescale"]',
        "LIQCASCADE_DATABASE__URL": settings.database.url.get_secret_value(),
    }
    from_ms = str(wall_clock_ms() - 3_600_000)
    assert run("audit", "--from", from_ms, **environment).returncode == 0
    ask(settings, "DELETE FROM liquidations WHERE event_id = 'binance:BTCUSDT:2'")
    done = run("audit", "--from", from_ms, **environment)
    assert (done.returncode, done.stderr.strip()) == (
        1,
        f"error: missing in timescale: binance:BTCUSDT:2 of {log.names.of(LIQUIDATIONS)}",
    )
    found = json.loads(run("audit", "--from", from_ms, "--json", **environment).stdout)
    assert (found["missing"], found["doubled"]) == (1, 0)
    assert run("audit", "--from", from_ms, "--to", "1", **environment).returncode == 2
    later = run("audit", "--from", "2040-01-01", "--to", "2041-01-01", **environment)
    assert later.returncode == 0, "an empty range"
