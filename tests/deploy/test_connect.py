"""Stock connectors land what our own sink lands: their configurations are carried out on a real database.

A JDBC sink's transformations are done here as Kafka's documentation describes them, and its upsert as the connector
writes it; the statements of Redpanda Connect are run as they stand."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg2
import pytest
import yaml
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from pydantic import SecretStr

from schemas.codec import to_json, to_plain
from schemas.records import Record
from schemas.registry import latest_schema
from schemas.topics import LATE, TOPICS, Topic
from sinks.settings import DatabaseSettings, SinkSettings
from sinks.tables import TABLES
from sinks.timescale import TimescaleSink
from tests.sinks.database import land
from tests.sinks.records import alert, funding, health, landing, liquidation, open_interest, window
from tests.sinks.stores import new_database

FOLDER = Path(__file__).parents[2] / "deploy" / "connect"
JDBC = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("jdbc-*.json"))}
PIPELINE = yaml.safe_load((FOLDER / "redpanda-connect.yaml").read_text())
CASES = {
    match[1]: case["output"]["sql_raw"]
    for case in PIPELINE["output"]["switch"]["cases"]
    if (match := re.fullmatch(r'metadata\("kafka_topic"\) == "(.+)"', case["check"]))
}
NESTED = {"signals.windows", "alerts.cascades"}  # what a JDBC sink cannot take
APPENDED_MS = 1_760_000_123_456
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RECORDS = {
    record_topic.name: record
    for record_topic, record in (
        (topic, maker(3))
        for topic in TimescaleSink.topics
        for maker in (liquidation, open_interest, funding, health, window, alert)
        if topic.record is type(maker(0))
    )
}
COLUMN_OF_AVRO = {
    "string": "text",
    "enum": "text",
    "double": "double precision",
    "long": "bigint",
    "boolean": "boolean",
}


@pytest.fixture(scope="module")
def settings(postgres_url: str) -> SinkSettings:
    return SinkSettings(
        database=DatabaseSettings(url=SecretStr(new_database(postgres_url, "connect")), retention=False)
    )


@pytest.fixture
def database(settings: SinkSettings) -> Iterator[Connection]:
    """Our tables, empty."""
    sink = TimescaleSink(settings)
    sink.open([])
    sink.close()
    connection = psycopg2.connect(settings.database.url.get_secret_value(), options="-c timezone=UTC")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE sink_offsets, {', '.join(table.name for table in TABLES.values())}")
    yield connection
    with connection.cursor() as cursor:
        for table in ("liquidations", "open_interest", "funding"):
            cursor.execute(f"DROP TRIGGER IF EXISTS jdbc_complete ON {table}")
    connection.close()


def rows(connection: Connection, topic: Topic) -> list[dict[str, Any]]:
    assert topic.record is not None
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(TABLES[topic.record].name)))
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def our_rows(connection: Connection, settings: SinkSettings, topic: Topic, record: Record) -> list[dict[str, Any]]:
    """What our sink makes of the record; the tables are empty again afterwards."""
    sink = TimescaleSink(settings)
    (one,) = landing([record], topic=topic)
    sink.open([one.position])
    land(sink, [msgspec.structs.replace(one, append_time_ms=APPENDED_MS)])
    sink.close()
    found = rows(connection, topic)
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE sink_offsets, {', '.join(table.name for table in TABLES.values())}")
    assert len(found) == 1
    return found


def transformed(config: dict[str, str], record: Record) -> dict[str, Any]:
    """The value behind the transformations: docs.confluent.io/platform/current/connect/transforms/overview.html"""
    value = to_plain(record)
    for step in config["transforms"].split(","):
        own = {
            key.removeprefix(f"transforms.{step}."): text
            for key, text in config.items()
            if key.startswith(f"transforms.{step}.")
        }
        kind = own.pop("type").removeprefix("org.apache.kafka.connect.transforms.").removesuffix("$Value")
        if kind == "ReplaceField":
            names = dict(pair.split(":") for pair in own["renames"].split(","))
            assert names.keys() <= value.keys()
            value = {names.get(name, name): field for name, field in value.items()}
        elif kind == "TimestampConverter":
            assert own["target.type"] == "Timestamp"
            time, unit = value[own["field"]], {"milliseconds": 1, "microseconds": 1_000}[own["unix.precision"]]
            value[own["field"]] = None if time is None else EPOCH + timedelta(milliseconds=time // unit)
        elif kind == "InsertField" and "timestamp.field" in own:
            value[own["timestamp.field"]] = EPOCH + timedelta(milliseconds=APPENDED_MS)
        elif kind == "InsertField":
            value[own["static.field"]] = own["static.value"]
        else:
            assert (kind, own["spec"]) == ("Cast", "late:boolean")
            value["late"] = value["late"] == "true"
    return value


def upsert(connection: Connection, config: dict[str, str], value: dict[str, Any]) -> None:
    keys = config["pk.fields"].split(",")
    others = [name for name in value if name not in keys]
    names = [*keys, *others]
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}").format(
        sql.Identifier(config["table.name.format"]),
        _names(names),
        sql.SQL(", ").join([sql.Placeholder()] * len(names)),
        _names(keys),
        sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in others),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [value[name] for name in names])


def _names(names: list[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def run_case(connection: Connection, case: dict[str, Any], record: Record) -> None:
    arguments = {'root = [content().string(), metadata("kafka_timestamp_ms")]': 2, "root = [content().string()]": 1}
    values = (to_json(record).decode(), APPENDED_MS)[: arguments[case["args_mapping"]]]
    statement = case["query"].replace("%", "%%").replace("$1", "%(p1)s").replace("$2", "%(p2)s")
    with connection.cursor() as cursor:
        cursor.execute(statement, {f"p{number}": value for number, value in enumerate(values, 1)})


def test_every_topic_of_our_sink_has_a_configuration() -> None:
    names = {topic.name for topic in TimescaleSink.topics}
    assert set(CASES) == names == set(PIPELINE["input"]["redpanda"]["topics"])
    assert {one["config"]["topics"] for one in JDBC.values()} == names - NESTED
    assert {name: one["name"] for name, one in JDBC.items()} == {name: name for name in JDBC}


@pytest.mark.parametrize("name", JDBC)
def test_a_jdbc_sink_maps_every_field_to_a_column_of_its_type(name: str) -> None:
    config = JDBC[name]["config"]
    topic = TOPICS[config["topics"]]
    assert topic.record is not None
    table = TABLES[topic.record]
    assert config["table.name.format"] == table.name
    value = transformed(config, RECORDS[topic.name])
    columns = dict(table.columns)
    computed = {"notional_uusd"} if table.name == "liquidations" else set()
    if topic is not LATE and table.name == "liquidations":
        computed.add("late")
    assert value.keys() == columns.keys() - computed
    renames = dict(pair.split(":") for pair in config["transforms.rename.renames"].split(","))
    for field in latest_schema(topic.record)["fields"]:
        kind = next(one for one in field["type"] if one != "null") if isinstance(field["type"], list) else field["type"]
        kind = kind["type"] if isinstance(kind, dict) else kind
        column = columns[renames.get(field["name"], field["name"])]
        assert column.startswith("time_") if field["name"] in renames else column == COLUMN_OF_AVRO[kind], field["name"]


@pytest.mark.parametrize("name", JDBC)
def test_a_jdbc_sink_lands_the_row_that_ours_lands_however_often(
    name: str, database: Connection, settings: SinkSettings
) -> None:
    config = JDBC[name]["config"]
    topic = TOPICS[config["topics"]]
    record = RECORDS[topic.name]
    ours = our_rows(database, settings, topic, record)
    with database.cursor() as cursor:
        cursor.execute((FOLDER / "jdbc.sql").read_text())
        cursor.execute((FOLDER / "jdbc.sql").read_text())  # again changes nothing
    for _ in range(2):
        upsert(database, config, transformed(config, record))
        assert rows(database, topic) == ours


def test_a_late_liquidation_stays_late_in_any_order(database: Connection, settings: SinkSettings) -> None:
    with database.cursor() as cursor:
        cursor.execute((FOLDER / "jdbc.sql").read_text())
    for order in (("jdbc-liquidations", "jdbc-late"), ("jdbc-late", "jdbc-liquidations")):
        event = liquidation(len(order[0]), received_time_us=0)
        for name in order:
            upsert(database, JDBC[name]["config"], transformed(JDBC[name]["config"], event))
    for names in (("market.liquidations", "market.late"), ("market.late", "market.liquidations")):
        event = liquidation(len(names[0]) + 100)
        for name in names:
            run_case(database, CASES[name], event)
    found = rows(database, LATE)
    assert [row["late"] for row in found] == [True] * 4
    assert sum(row["received_time"] is None for row in found) == 2, "0 is an unknown time, not 1970"


@pytest.mark.parametrize("name", CASES)
def test_redpanda_connect_lands_the_row_that_ours_lands_however_often(
    name: str, database: Connection, settings: SinkSettings
) -> None:
    topic, record = TOPICS[name], RECORDS[name]
    if hasattr(record, "received_time_us"):
        record = msgspec.structs.replace(record, received_time_us=record.received_time_us + 123)
    ours = our_rows(database, settings, topic, record)
    for _ in range(2):
        run_case(database, CASES[name], record)
        assert rows(database, topic) == ours


def test_outages_are_retried_and_no_good_record_is_a_dead_letter() -> None:
    for one in JDBC.values():
        config = one["config"]
        assert int(config["max.retries"]) * int(config["retry.backoff.ms"]) == 3_600_000
        assert config["errors.tolerance"] == "none", "with all, a registry that is away fills the dead letters"
        assert config["errors.deadletterqueue.topic.name"] == "dead-letters" in TOPICS
        assert config["errors.deadletterqueue.context.headers.enable"] == "true"
        assert "password" not in config["connection.url"]
    foreign, failed = PIPELINE["output"]["switch"]["cases"][:2]
    assert foreign["output"]["redpanda"]["topic"] == "dead-letters"
    assert 'content().slice(0, 1).encode("hex") != "00"' in foreign["check"], "a registry that is away refuses nothing"
    assert failed["check"] == "errored()"
    assert "reject" in failed["output"]
