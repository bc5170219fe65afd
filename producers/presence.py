"""Which channels of which exchanges are live, announced in Redis: a key each that expires when nobody repeats it.

Redis is no part of the flow: while it is away, that is said once and nothing else stops. Keys: docs/redis.md."""

import asyncio
from collections.abc import Iterator
from typing import Final

import msgspec
import redis
import redis.asyncio
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from runtime.settings import RedisSettings
from schemas.codec import to_json
from schemas.errors import SettingsError, StoreUnavailable
from schemas.records import FeedHealth

PREFIX: Final = "presence:"
TTL_S: Final = 150  # a channel is stated once a minute; one that was missed twice is gone
ANSWER_S_MAX: Final = 5.0
CLOSE_S_MAX: Final = 0.2  # of the 5 s that the stage has to end; without an answer they expire
RETRY_S: Final = 10.0
SCAN_COUNT: Final = 100
KEYS_MAX: Final = 10_000  # six exchanges have some 20


class Presence:
    """`announce` on the event loop; `run` writes what is new until cancelled, `close` takes the keys away.

    Raises SettingsError for a URL that is none."""

    def __init__(self, settings: RedisSettings) -> None:
        try:
            self._client = redis.asyncio.Redis.from_url(
                settings.url.get_secret_value(),
                socket_connect_timeout=ANSWER_S_MAX,
                socket_timeout=ANSWER_S_MAX,
                retry=Retry(NoBackoff(), 0),
                client_name="liqcascade",
            )
        except ValueError as exc:
            raise SettingsError("redis.url is not a Redis URL; write redis://user:password@host:port/database") from exc
        self._new: dict[str, bytes] = {}
        self._announced: set[str] = set()
        self._changed = asyncio.Event()
        self._away = False
        self._log = structlog.get_logger()

    def announce(self, record: FeedHealth) -> None:
        """Take the newest state of a channel. Never waits, never raises."""
        self._new[key_of(record)] = to_json(record)
        self._changed.set()

    async def run(self) -> None:
        """Write what was announced, again and again while Redis is away."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not await self._write():
                self._changed.set()
                await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """Say that this process's channels are gone; without Redis they expire."""
        try:
            if self._announced:
                async with asyncio.timeout(CLOSE_S_MAX):
                    await self._client.delete(*self._announced)
        except (redis.RedisError, OSError, TimeoutError):
            pass
        finally:
            await self._client.aclose()

    async def _write(self) -> bool:
        writing, self._new = self._new, {}
        self._announced.update(writing)  # before: who is cancelled meanwhile does not know whether it stands there
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for key, value in writing.items():
                    pipeline.set(key, value, ex=TTL_S)
                await pipeline.execute()
        except (redis.RedisError, OSError) as exc:
            self._new = writing | self._new
            if not self._away:
                self._log.warning("exchanges are not announced in Redis", reason=str(exc)[:200], retry_s=RETRY_S)
            self._away = True
            return False
        if self._away:
            self._log.info("exchanges are announced in Redis again")
        self._away = False
        return True


def key_of(record: FeedHealth) -> str:
    """Key of a channel."""
    return f"{PREFIX}{record.exchange}:{record.channel}"


def present(settings: RedisSettings) -> Iterator[FeedHealth]:
    """What is announced now, sorted by key. Raises StoreUnavailable, SettingsError."""
    try:
        client = redis.Redis.from_url(
            settings.url.get_secret_value(), socket_connect_timeout=ANSWER_S_MAX, socket_timeout=ANSWER_S_MAX
        )
    except ValueError as exc:
        raise SettingsError("redis.url is not a Redis URL; write redis://user:password@host:port/database") from exc
    try:
        keys = sorted(key for key, _ in zip(client.scan_iter(f"{PREFIX}*", SCAN_COUNT), range(KEYS_MAX), strict=False))
        values = client.mget(keys) if keys else []
    except (redis.RedisError, OSError) as exc:
        raise StoreUnavailable(f"asking Redis which exchanges are live: {exc}; start it or set redis.url") from exc
    finally:
        client.close()
    for value in values:
        if value is not None:  # it expired in between
            try:
                yield msgspec.json.decode(value, type=FeedHealth)
            except msgspec.MsgspecError as exc:
                raise StoreUnavailable(
                    f"asking Redis which exchanges are live: a key of another version: {exc}"
                ) from exc
