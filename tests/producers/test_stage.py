"""The whole stage: simulated exchanges, the real broker, the real feeds."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from producers.app import Stage
from producers.exchange import LIQUIDATION
from producers.exchanges import ADAPTERS
from producers.publish import TOPICS_OF_STAGE
from producers.settings import ProducerSettings, ProducersSection
from runtime.kafka import create_topics
from runtime.settings import KafkaSettings, load
from schemas.codec import Codec
from schemas.errors import BrokerUnavailable, SettingsError
from schemas.records import FeedHealth, Liquidation
from schemas.topics import FEED_HEALTH, LIQUIDATIONS
from schemas.words import Exchange, FeedState
from stack.simulator.server import Simulator, SimulatorOptions
from tests.producers.topics import records
from tests.producers.toy import DEADLINE_S

POLL_S = 0.02


@pytest.fixture
def kafka_settings(kafka: str, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=4)
    create_topics(settings, TOPICS_OF_STAGE)
    return settings


async def until(condition: Callable[[], bool]) -> None:
    """The stage tells nobody what it has done, so its figures are polled; the deadline is far off."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)


@asynccontextmanager
async def simulator(scenario: str = "flash") -> AsyncIterator[tuple[Simulator, dict[str, str]]]:
    simulator = Simulator(SimulatorOptions(scenario=scenario))
    origins = await simulator.start()
    try:
        yield simulator, origins
    finally:
        await simulator.stop()


def liquidations(settings: KafkaSettings) -> list[Liquidation]:
    values = [record.value() for record in records(settings, LIQUIDATIONS)]
    return [Codec().decode(Liquidation, value) for value in values if value is not None]


def health(settings: KafkaSettings) -> dict[Exchange, list[FeedState]]:
    states: dict[Exchange, list[FeedState]] = {}
    for record in records(settings, FEED_HEALTH):
        value = record.value()
        assert value is not None
        state = Codec().decode(FeedHealth, value)
        if state.channel == LIQUIDATION:
            states.setdefault(state.exchange, []).append(state.state)
    return states


async def test_what_the_exchanges_sent_is_what_lands_through_a_lost_connection(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    async with simulator() as (exchanges, origins):
        section = ProducersSection(origins=origins, cache_folder=tmp_path, backoff_ms_base=5, backoff_ms_max=20)
        stage = Stage(ProducerSettings(kafka=kafka_settings, producers=section))
        task = asyncio.create_task(stage.run())
        await until(lambda: exchanges.status()["playing"])
        await until(lambda: bool(exchanges.status()["sent"].get("bybit")))
        await exchanges.drop("bybit")
        async with asyncio.timeout(60):
            await exchanges.played()
        await until(lambda: exchanges.status()["subscribers"]["bybit"] == len(ADAPTERS["bybit"].connections))
        sent = Counter(exchanges.status()["sent"])
        stage.stop()
        async with asyncio.timeout(DEADLINE_S):
            await task
    landed = liquidations(kafka_settings)
    assert Counter(event.exchange.value for event in landed) == sent
    assert len({event.event_id for event in landed}) == len(landed) > 100
    states = health(kafka_settings)
    start = [FeedState.CONNECTED, FeedState.SUBSCRIBED]
    assert all(each[:2] == start for each in states.values())
    lost = states[Exchange.BYBIT].index(FeedState.RECONNECTING)
    after = states[Exchange.BYBIT][lost + 1 :]
    assert after.count(FeedState.GAP) == len(ADAPTERS["bybit"].connections)
    assert after[-1] in (FeedState.SUBSCRIBED, FeedState.LIVE)


async def test_process_serves_its_state_and_ends_on_a_signal(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    async with simulator("calm") as (exchanges, origins):
        environment = os.environ | {
            "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": kafka_settings.bootstrap_servers,
            "LIQCASCADE_KAFKA__TOPIC_PREFIX": kafka_settings.topic_prefix,
            "LIQCASCADE_KAFKA__PARTITIONS": "4",
            "LIQCASCADE_PRODUCERS__ORIGINS": json.dumps(origins),
            "LIQCASCADE_PRODUCERS__CACHE_FOLDER": str(tmp_path),
            "LIQCASCADE_LOG__FORMAT": "json",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c",
            "from producers.app import run; from producers.settings import ProducerSettings; "
            "from runtime.settings import load; run(load(ProducerSettings))",
            env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stderr is not None
            async with asyncio.timeout(DEADLINE_S):
                started = await line_of(process.stderr, "started")
            await until(lambda: sum(exchanges.status()["sent"].values()) > 0)
            async with httpx.AsyncClient(base_url=started["operations"]) as client:
                ready, alive, metrics = [await client.get(path) for path in ("/readyz", "/healthz", "/metrics")]
            assert (ready.status_code, alive.status_code) == (200, 200)
            assert 'liqcascade_frames_total{exchange="binance"}' in metrics.text
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(DEADLINE_S):
                stopped = await line_of(process.stderr, "stopped")
                stdout, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert (process.returncode, stdout) == (0, b"")
    landed = Counter(event.exchange.value for event in liquidations(kafka_settings))
    assert stopped["published"]["market.liquidations"] == dict(landed)
    assert set(stopped["dead_letters"].values()) == {0}


async def line_of(stream: asyncio.StreamReader, event: str) -> dict[str, Any]:
    while line := await stream.readline():
        entry: dict[str, Any] = json.loads(line)
        if entry["event"] == event:
            return entry
    raise AssertionError(f"the log ended without {event!r}")


async def test_error_of_the_broker_ends_the_stage_with_its_sentence(
    kafka_settings: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with simulator("calm") as (_, origins):
        section = ProducersSection(origins=origins, cache_folder=tmp_path)
        stage = Stage(ProducerSettings(kafka=kafka_settings, producers=section))

        def fail(self: object) -> None:
            raise BrokerUnavailable("publishing: fenced")

        monkeypatch.setattr("producers.publish.Publisher._poll", fail)
        with pytest.raises(BrokerUnavailable, match="fenced"):
            async with asyncio.timeout(DEADLINE_S):
                await stage.run()


async def test_broker_that_stays_away_does_not_hold_up_the_end(
    kafka_settings: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait(self: object, events: object) -> None:
        blocked.set()
        await asyncio.Event().wait()

    blocked = asyncio.Event()
    monkeypatch.setattr("producers.publish.Publisher.liquidations", wait)
    monkeypatch.setattr("producers.app.STOP_S", 0.3)
    async with simulator("flash") as (_, origins):
        section = ProducersSection(origins=origins, cache_folder=tmp_path)
        stage = Stage(ProducerSettings(kafka=kafka_settings, producers=section))
        task = asyncio.create_task(stage.run())
        async with asyncio.timeout(DEADLINE_S):
            await blocked.wait()
            stage.stop()
            with pytest.raises(BrokerUnavailable, match="frames were lost"):
                await task


def test_unknown_exchange_is_a_sentence() -> None:
    with pytest.raises(SettingsError, match=r"mtgox.*known are binance, bybit, okx"):
        load(ProducerSettings, producers={"exchanges": ["mtgox"]})
    with pytest.raises(SettingsError, match="mtgox"):
        load(ProducerSettings, producers={"origins": {"mtgox": "http://127.0.0.1:1"}})
    with pytest.raises(SettingsError, match="an origin begins with"):
        load(ProducerSettings, producers={"origins": {"okx": "127.0.0.1:1"}})


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIQCASCADE_PRODUCERS__ORIGINS", '{"binance":"http://127.0.0.1:9001/binance/"}')
    monkeypatch.setenv("LIQCASCADE_PRODUCERS__EXCHANGES", '["binance","okx"]')
    section = load(ProducerSettings).producers
    assert section.origins == {"binance": "http://127.0.0.1:9001/binance"}
    assert section.exchanges == ["binance", "okx"]
