"""A task on a real broker and real stores: what lands, what is refused, what an outage does."""

from collections import Counter

import pytest
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import AdminClient

from runtime.kafka import confluent_config
from schemas.errors import LiqcascadeError, SettingsError
from schemas.records import Record
from schemas.topics import DEAD_LETTERS as DEAD_LETTERS_TOPIC
from schemas.topics import LIQUIDATIONS
from sinks.configs import read
from sinks.metrics import DEAD_LETTERS, MISSING
from sinks.registry import SINKS
from sinks.settings import SinkSettings, SinksSection
from sinks.task import State
from tests.sinks.records import liquidation
from tests.sinks.stores import Store
from tests.sinks.topics import Log, running, wait_for

ASSETS = ("BTC", "ETH", "SOL", "PEPE", "币安人生")
SECTION = SinksSection(backoff_ms_min=10, backoff_ms_max=100, flush_ms=dict.fromkeys(SINKS, 50))
# What the store has no part in.
ONE_STORE = pytest.mark.parametrize("store", ["redis"], indirect=True)


@pytest.fixture
def settings(store: Store, log: Log) -> SinkSettings:
    return store.settings(log.settings, SECTION)


def events(first: int, count: int) -> list[Record]:
    return [liquidation(number, asset=ASSETS[number % len(ASSETS)]) for number in range(first, first + count)]


def ids(first: int, count: int) -> Counter[str]:
    return Counter(f"binance:BTCUSDT:{number}" for number in range(first, first + count))


def headers_of(letter: Message) -> dict[str, str]:
    headers = letter.headers()
    assert isinstance(headers, list)
    return {name: value.decode() for name, value in headers if isinstance(value, bytes)}


def wait_landed(store: Store, settings: SinkSettings, expected: Counter[str]) -> None:
    wait_for(lambda: store.landed(settings).total() >= expected.total(), f"{expected.total()} records in {store.sink}")
    assert store.landed(settings) == expected


def test_what_is_appended_lands_once(store: Store, settings: SinkSettings, log: Log) -> None:
    log.append(events(0, 2_500))
    with running(settings, SINKS[store.sink]) as worker:
        wait_landed(store, settings, ids(0, 2_500))
        assert worker.condition == "ok"
        log.append(events(2_500, 10))
        wait_landed(store, settings, ids(0, 2_510))
    assert worker.state is State.STOPPED
    assert log.count(DEAD_LETTERS_TOPIC) == 0


def test_a_stop_lands_what_is_in_hand_and_a_start_goes_on_behind_it(
    store: Store, settings: SinkSettings, log: Log
) -> None:
    slow = settings.model_copy(update={"sinks": SinksSection(flush_ms={store.sink: 60_000})})
    for first in (0, 100):
        log.append(events(first, 100))
        with running(slow, SINKS[store.sink]) as worker:
            wait_for(lambda: worker.in_hand == 100, "the records in hand")
            assert store.landed(settings) == ids(0, first)
        assert store.landed(settings) == ids(0, first + 100)


def test_bad_records_go_to_the_dead_letters_and_stop_nobody(store: Store, settings: SinkSettings, log: Log) -> None:
    log.append(events(0, 300))
    own: list[tuple[str, str | bytes | None]] = [("source", b"here")]
    log.append([b"no record", None, b"\x00\x00\x00\x00\x63 schema 99"], LIQUIDATIONS, headers=own)
    log.append([liquidation(900, price=0.0), liquidation(901, notional_usd=float("inf"))], headers=own)
    log.append(events(300, 300))
    log.append([liquidation(902, price=-1.0)], headers=own)
    with running(settings, SINKS[store.sink]) as worker:
        wait_landed(store, settings, ids(0, 600))
        letters = log.dead_letters(6)
        assert worker.condition == "ok"
    headers = [headers_of(letter) for letter in letters]
    assert Counter(one["__connect.errors.stage"] for one in headers) == {"VALUE_CONVERTER": 3, "TASK_PUT": 3}
    assert {one["__connect.errors.connector.name"] for one in headers} == {store.sink}
    assert {one["__connect.errors.topic"] for one in headers} == {log.names.of(LIQUIDATIONS)}
    assert {one["__connect.errors.exception.class.name"] for one in headers} == {
        "schemas.errors.SchemaError",
        "schemas.errors.RecordRefused",
    }
    places = {(one["__connect.errors.partition"], one["__connect.errors.offset"]) for one in headers}
    assert len(places) == 6
    assert all(one["__connect.errors.exception.message"] for one in headers)
    assert {one["__connect.errors.task.id"] for one in headers} == {"0"}
    assert all("Traceback" in one["__connect.errors.exception.stacktrace"] for one in headers)
    assert all(one["__connect.errors.class.name"] for one in headers)
    assert all(one["source"] == "here" and one["__connect.errors.key"] for one in headers), "the record's own stay"
    assert {letter.value() for letter in letters} > {b"no record", None, b"\x00\x00\x00\x00\x63 schema 99"}
    assert DEAD_LETTERS.labels(store.sink, "TASK_PUT")._value.get() >= 3
    with running(settings, SINKS[store.sink]):  # the offsets stand behind the bad ones: none is refused again
        log.append(events(600, 1))
        wait_landed(store, settings, ids(0, 601))
    assert log.count(DEAD_LETTERS_TOPIC) == 6


def test_a_killed_store_loses_and_doubles_nothing(store: Store, settings: SinkSettings, log: Log) -> None:
    with running(settings, SINKS[store.sink]) as worker:
        log.append(events(0, 3_000))
        wait_for(lambda: store.landed(settings).total() > 0, "the first records")
        store.server.kill()
        log.append(events(3_000, 3_000))
        wait_for(lambda: worker.state is State.PAUSED_BY_OUTAGE, "the pause")
        assert store.place in worker.condition
        store.server.start()
        wait_landed(store, settings, ids(0, 6_000))
        assert worker.condition == "ok"
    assert log.count(DEAD_LETTERS_TOPIC) == 0


def test_a_store_that_is_out_at_the_start_is_waited_for(store: Store, settings: SinkSettings, log: Log) -> None:
    log.append(events(0, 10))
    with running(settings, SINKS[store.sink], first=store.server.kill) as worker:
        wait_for(lambda: worker.state is State.PAUSED_BY_OUTAGE, "the pause")
        store.server.start()
        wait_landed(store, settings, ids(0, 10))


@ONE_STORE
def test_a_worker_stops_during_an_outage(store: Store, settings: SinkSettings, log: Log) -> None:
    with running(settings, SINKS[store.sink], first=store.server.kill) as worker:
        wait_for(lambda: worker.state is State.PAUSED_BY_OUTAGE, "the pause")
    assert worker.state is State.STOPPED


def test_workers_that_come_and_go_share_the_partitions(store: Store, settings: SinkSettings, log: Log) -> None:
    with running(settings, SINKS[store.sink]):
        log.append(events(0, 1_000))
        with running(settings, SINKS[store.sink]) as second:
            log.append(events(1_000, 1_000))
            wait_for(lambda: second.condition == "ok", "the second worker's share")
            log.append(events(2_000, 1_000))
            wait_landed(store, settings, ids(0, 3_000))
        log.append(events(3_000, 1_000))
        wait_landed(store, settings, ids(0, 4_000))


@ONE_STORE
def test_records_that_retention_deleted_are_missed_loudly(store: Store, settings: SinkSettings, log: Log) -> None:
    before = MISSING.labels(store.sink)._value.get()
    log.append(liquidation(number) for number in range(10))
    with running(settings, SINKS[store.sink]):
        wait_landed(store, settings, ids(0, 10))
    log.append(liquidation(number) for number in range(10, 30))
    partition = log.ends(LIQUIDATIONS).index(30)
    admin = AdminClient(confluent_config(log.settings))
    for done in admin.delete_records([TopicPartition(log.names.of(LIQUIDATIONS), partition, 25)]).values():
        done.result()
    with running(settings, SINKS[store.sink]):
        wait_landed(store, settings, ids(0, 10) + ids(25, 5))
    assert MISSING.labels(store.sink)._value.get() - before == 15


def test_an_unknown_sink_is_named() -> None:
    with pytest.raises(SettingsError, match="there is no sink 'paper'; choose of timescale, redis"):
        read({"name": "x", "connector.class": "paper"}, SinkSettings())
    with pytest.raises(SettingsError, match=r"flush\.ms: '0' is not a whole number within 1 and 60000"):
        read({"name": "x", "connector.class": "redis", "flush.ms": "0"}, SinkSettings())


@ONE_STORE
def test_a_refused_record_fails_the_task_where_none_is_tolerated(
    store: Store, settings: SinkSettings, log: Log
) -> None:
    log.append([liquidation(1, price=0.0)])
    with (
        pytest.raises(LiqcascadeError, match=r"errors\.tolerance is none, and .*market\.liquidations/\d offset 0 was"),
        running(settings, SINKS[store.sink], errors_tolerance="none") as task,
    ):
        wait_for(lambda: task.state is State.FAILED, "the end of the task")
    assert store.landed(settings) == {}
    assert log.count(DEAD_LETTERS_TOPIC) == 0


@ONE_STORE
def test_an_outage_may_have_a_limit(store: Store, settings: SinkSettings, log: Log) -> None:
    with (
        pytest.raises(LiqcascadeError, match=r"errors\.retry\.timeout: the outage outlasts 1 ms"),
        running(settings, SINKS[store.sink], first=store.server.kill, errors_retry_timeout="1") as task,
    ):
        wait_for(lambda: task.state is State.FAILED, "the end of the task")


@ONE_STORE
def test_a_pause_keeps_what_landed_and_fetches_nothing_until_it_ends(
    store: Store, settings: SinkSettings, log: Log
) -> None:
    log.append(events(0, 10))
    with running(settings, SINKS[store.sink]) as task:
        wait_landed(store, settings, ids(0, 10))
        task.pause()
        wait_for(lambda: task.state is State.PAUSED, "the pause")
        assert task.condition == "ok"
        log.append(events(10, 10))
        task.resume()
        wait_landed(store, settings, ids(0, 20))


@ONE_STORE
def test_a_connector_may_land_some_of_its_topics(store: Store, settings: SinkSettings, log: Log) -> None:
    log.append(events(0, 10))
    with running(settings, SINKS[store.sink], topics=log.names.of(LIQUIDATIONS)) as task:
        wait_landed(store, settings, ids(0, 10))
        assert task.topics_read == {log.names.of(LIQUIDATIONS)}
