"""Live channels in a real Redis, which may be away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from producers import presence
from producers.presence import PREFIX, TTL_S, Presence, present
from runtime.settings import RedisSettings
from schemas.errors import SettingsError, StoreUnavailable
from schemas.records import FeedHealth
from schemas.words import Exchange, FeedState
from stack.embedded import EmbeddedStack
from tests.producers.toy import DEADLINE_S

LIVE = FeedHealth(
    exchange=Exchange.OKX, channel="liquidation", state=FeedState.LIVE, since_ms=1, detail="牛来", event_time_ms=2
)
STALE = FeedHealth(exchange=Exchange.BYBIT, channel="funding", state=FeedState.STALE, since_ms=3, event_time_ms=4)


@pytest.fixture
def settings(redis_url: str) -> RedisSettings:
    url = redis_url.rpartition("/")[0] + "/9"
    redis.Redis.from_url(url).flushdb()
    return RedisSettings(url=SecretStr(url))


@asynccontextmanager
async def announcing(settings: RedisSettings) -> AsyncIterator[Presence]:
    announcer = Presence(settings)
    task = asyncio.create_task(announcer.run())
    try:
        yield announcer
    finally:
        task.cancel()
        await announcer.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_channels_are_there_until_their_producer_ends(settings: RedisSettings) -> None:
    async with announcing(settings) as announcer:
        announcer.announce(LIVE)
        announcer.announce(STALE)
        await until(lambda: len(list(present(settings))) == 2)
        assert list(present(settings)) == [STALE, LIVE]
        with redis.Redis.from_url(settings.url.get_secret_value()) as client:
            assert 0 < client.ttl(f"{PREFIX}okx:liquidation") <= TTL_S
    assert list(present(settings)) == []


async def test_newest_state_counts(settings: RedisSettings) -> None:
    silent = FeedHealth(
        exchange=Exchange.OKX, channel="liquidation", state=FeedState.SILENT, since_ms=9, event_time_ms=9
    )
    async with announcing(settings) as announcer:
        announcer.announce(LIVE)
        announcer.announce(silent)
        await until(lambda: list(present(settings)) == [silent])


async def test_redis_that_is_away_gets_the_newest_states_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "RETRY_S", 0.02)
    server = EmbeddedStack(tmp_path).redis
    settings = RedisSettings(url=SecretStr(server.start()))
    try:
        async with announcing(settings) as announcer:
            announcer.announce(STALE)
            await until(lambda: list(present(settings)) == [STALE])
            server.kill()
            announcer.announce(LIVE)
            with pytest.raises(StoreUnavailable, match=r"set redis\.url"):
                list(present(settings))
            await asyncio.to_thread(server.start)
            await until(lambda: LIVE in list(present(settings)))
    finally:
        server.stop()


async def test_end_without_redis_is_no_error(unused_tcp_port: int) -> None:
    async with announcing(RedisSettings(url=SecretStr(f"redis://127.0.0.1:{unused_tcp_port}"))) as announcer:
        announcer.announce(LIVE)
        await asyncio.sleep(0)


def test_url_that_is_none_is_a_settings_error() -> None:
    settings = RedisSettings(url=SecretStr("http://somewhere"))
    for wrong in (lambda: Presence(settings), lambda: list(present(settings))):
        with pytest.raises(SettingsError, match=r"redis\.url"):
            wrong()
