"""Starts that do not go smoothly: what was published before, addresses that refuse, lists that do not come."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from producers import metrics, published
from producers.app import Stage
from producers.exchanges import ADAPTERS
from producers.outlet import Nowhere
from producers.publish import TOPICS_OF_STAGE, Publisher
from producers.published import recent_ids
from producers.recent import RecentIds
from producers.settings import ProducerSettings, ProducersSection
from producers.source import Source
from runtime.kafka import create_topics
from runtime.settings import KafkaSettings
from schemas.records import FeedHealth
from schemas.words import FeedState
from stack.simulator.okx import Okx
from stack.simulator.server import Simulator, SimulatorOptions
from tests.producers.test_catalogue import bybit_page
from tests.producers.test_publish import event
from tests.producers.test_stage import liquidations, until
from tests.producers.toy import DEADLINE_S

FAR_MS = 4_000_000_000_000


@pytest.fixture
def settings(kafka: str, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=3)
    create_topics(settings, TOPICS_OF_STAGE)
    return settings


class Health(Nowhere):
    """Keeps what is said of the channels; `until` waits for something in it."""

    def __init__(self) -> None:
        self.records: list[FeedHealth] = []
        self._changed = asyncio.Condition()

    async def health(self, record: FeedHealth) -> None:
        self.records.append(record)
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(condition)


@asynccontextmanager
async def running(*sources: Source) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        starts = [tasks.create_task(source.run(tasks)) for source in sources]
        try:
            yield
        finally:
            for start in starts:
                start.cancel()
            for source in sources:
                await source.stop()
                await source.close()


async def test_ids_are_read_back_by_exchange_in_their_order(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recent_ids(settings, now_ms=0) == {}
    out = Publisher(settings, queue_messages_max=1_000)
    events = [event(number, ("BTC", "ETH", "SOL", "XRP")[number % 4]) for number in range(100)]
    for each in events:
        await out.liquidations([each])
    await out.close(20.0)
    (exchange,) = {each.exchange.value for each in events}
    ids = [each.event_id for each in events]
    found = await asyncio.to_thread(recent_ids, settings, now_ms=0)
    assert list(found) == [exchange]
    assert sorted(found[exchange]) == sorted(ids)
    assert await asyncio.to_thread(recent_ids, settings, now_ms=FAR_MS) == {}
    monkeypatch.setattr(published, "TAIL_RECORDS_MAX", 10)
    found = await asyncio.to_thread(recent_ids, settings, now_ms=0)
    by_asset = [[each.event_id for each in events if each.asset == asset] for asset in ("BTC", "ETH", "SOL", "XRP")]
    kept = [[event_id for event_id in ids if event_id in found[exchange]] for ids in by_asset]
    assert all(ids == all_ids[len(all_ids) - len(ids) :] for ids, all_ids in zip(kept, by_asset, strict=True))
    assert 10 <= len(found[exchange]) <= 30


def test_ids_that_were_read_back_are_not_new() -> None:
    recent = RecentIds(["a", "b", "c"], size_max=2)
    assert [recent.is_new(each) for each in "abc"] == [True, True, True]
    assert not RecentIds(["a"]).is_new("a")


async def test_history_that_comes_again_after_a_restart_is_published_once(
    settings: KafkaSettings, tmp_path: Path
) -> None:
    simulator = Simulator(SimulatorOptions(scenario="flash", speed=20), [Okx(backlog=True)])
    origins = await simulator.start()
    section = ProducersSection(origins=origins, exchanges=["okx"], cache_folder=tmp_path)
    repeated = metrics.EVENTS_REPEATED.labels("okx")
    try:
        for run in range(2):
            before = repeated._value.get()
            stage = Stage(ProducerSettings(kafka=settings, producers=section))
            task = asyncio.create_task(stage.run())
            if run == 0:
                await until(lambda: simulator.status()["playing"])
                async with asyncio.timeout(DEADLINE_S):
                    await simulator.played()
            else:
                await until(lambda before=before: repeated._value.get() > before)  # type: ignore[misc]
            stage.stop()
            async with asyncio.timeout(DEADLINE_S):
                await task
        sent = simulator.status()["sent"]["okx"]
    finally:
        await simulator.stop()
    landed = liquidations(settings)
    assert len({each.event_id for each in landed}) == len(landed) == sent > 10


async def test_address_that_refuses_is_told_with_its_reason_at_once(unused_tcp_port: int, tmp_path: Path) -> None:
    outlets = {name: Health() for name in ADAPTERS}
    sources = [
        Source(adapter, ProducersSection(origins={name: f"http://127.0.0.1:{unused_tcp_port}"}, cache_folder=tmp_path),
               outlets[name])
        for name, adapter in ADAPTERS.items()
    ]  # fmt: skip

    def failed(outlet: Health) -> set[str]:
        told = [each for each in outlet.records if each.state is FeedState.RECONNECTING and "onnect" in each.detail]
        return {each.channel for each in told}

    async with running(*sources):
        for outlet in outlets.values():
            await outlet.until(lambda outlet=outlet: len(failed(outlet)) == 3)  # type: ignore[misc]


async def test_lists_that_come_late_hold_up_no_liquidations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(connection: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            return None
        await released.wait()
        return connection.respond(HTTPStatus.OK, json.dumps(bybit_page("BTCUSDT", "BRANDNEWUSDT")))

    async def acknowledge(connection: ServerConnection) -> None:
        async for message in connection:
            topics.update(json.loads(message).get("args", ()))
            await connection.send('{"success":true,"ret_msg":"","op":"subscribe"}')

    monkeypatch.setattr("producers.source.LEARN_S_MAX", 0.05)
    outlet, released = Health(), asyncio.Event()
    topics: set[str] = set()
    async with serve(acknowledge, "127.0.0.1", 0, process_request=answer, close_timeout=0.1) as server:
        origin = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        section = ProducersSection(origins={"bybit": origin}, cache_folder=tmp_path)
        async with running(Source(replace(ADAPTERS["bybit"], polls=()), section, outlet)):
            await outlet.until(lambda: any(each.state is FeedState.SUBSCRIBED for each in outlet.records))
            assert "allLiquidation.BTCUSDT" in topics
            assert "allLiquidation.BRANDNEWUSDT" not in topics
            released.set()
            await until(lambda: "allLiquidation.BRANDNEWUSDT" in topics)
