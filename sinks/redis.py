"""Redis: what is going on now. Buckets and price levels of the last hour, latest states, alerts. See docs/redis.md."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Final

import redis
import structlog
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.retry import Retry

from runtime.clock import wall_clock_ms
from runtime.settings import RedisSettings
from schemas.errors import SettingsError, StoreUnavailable
from schemas.topics import ALERTS, LIQUIDATIONS, STATE, Topic
from sinks import redis_plan
from sinks.background import Background
from sinks.connector import Batch, Connector, Position, SinkRecord
from sinks.levels import Levels
from sinks.settings import SinkSettings

CONNECT_S_MAX: Final = 5.0
ANSWER_S_MAX: Final = 10.0  # a batch of 1,000 takes 10 ms
REASON_CHARACTERS_MAX: Final = 500

log = structlog.get_logger()


def connect(settings: RedisSettings) -> "redis.Redis":
    """A client that waits for a limited time and never sends anything twice by itself. Raises SettingsError."""
    try:
        return redis.Redis.from_url(
            settings.url.get_secret_value(),
            socket_connect_timeout=CONNECT_S_MAX,
            socket_timeout=ANSWER_S_MAX,
            retry=Retry(NoBackoff(), 0),
            client_name="liqcascade",
            decode_responses=True,
        )
    except ValueError as exc:
        raise SettingsError("redis.url is not a Redis URL; write redis://user:password@host:port/database") from exc


def address(settings: RedisSettings) -> str:
    """host:port/database of the URL, without user and password."""
    return settings.url.get_secret_value().rpartition("@")[2].removeprefix("redis://").removeprefix("rediss://")


class RedisSink(Connector):
    """One script a batch compares the offsets, moves them and writes the data: all or nothing, and once. It runs while
    the next batch is read.

    Redis refuses no value that a plan holds, so whatever it answers with an error is its own state: full, read-only,
    loading, not allowed. What it cannot hold is refused while the plan is made."""

    kind: ClassVar[str] = "redis"
    topics: ClassVar[tuple[Topic, ...]] = (LIQUIDATIONS, STATE, ALERTS)
    sections: ClassVar[tuple[str, ...]] = ("redis", "levels")
    flush_ms: ClassVar[int] = 200

    def __init__(self, settings: SinkSettings, *, name: str = "", now_ms: Callable[[], int] = wall_clock_ms) -> None:
        """`now_ms`: which minutes have expired is a matter of the clock."""
        super().__init__(settings, name=name)
        self._settings, self._now_ms = settings.redis, now_ms
        self._levels = Levels(settings.levels)
        self._background = Background(f"{self.name} scripts")
        self._client: redis.Redis | None = None
        self._apply: Script | None = None
        self._next: dict[Position, int | None] = {}

    @classmethod
    def validate(cls, settings: SinkSettings) -> dict[str, str]:
        """See the contract."""
        try:
            connect(settings.redis).close()
        except SettingsError as exc:
            return {"redis.url": str(exc)}
        return {}

    def open(self, partitions: Collection[Position]) -> Mapping[Position, int]:
        """Connect and read the offsets, which may be older than those of the last put: Redis may have lost its tail."""
        self.close()
        client = connect(self._settings)
        self._client, self._apply = client, client.register_script(redis_plan.APPLY)
        ordered = list(partitions)
        with errors(self._settings, "reading offsets"):
            keys = [redis_plan.offset_key(self.name, position) for position in ordered]
            values = client.mget(keys) if keys else []
        stored = {position: int(value) for position, value in zip(ordered, values, strict=True) if value is not None}
        self._next = {position: stored.get(position) for position in ordered}
        return stored

    def put(self, batch: Batch) -> None:
        """Plan, and let the script run in the background. See the contract."""
        records, next_offsets = batch.records, batch.next_offsets
        assert next_offsets, "a put moves offsets"
        assert self._next.keys() >= next_offsets.keys(), "open() with these positions first"
        assert self._apply is not None, "open() first"
        offsets = {
            redis_plan.offset_key(self.name, position): (self._next[position], after)
            for position, after in next_offsets.items()
        }
        keys, body = redis_plan.plan(records, offsets, self._levels, now_ms=self._now_ms())
        self._background.do(lambda: self._land(records, offsets, keys, body))
        self._next.update(next_offsets)  # as the next batch will find them; a failure before it leads to `open`

    def flush(self) -> Mapping[Position, int]:
        """Wait for the scripts: what they did has landed, as far as the server keeps what it has answered."""
        self._background.wait()
        return {position: offset for position, offset in self._next.items() if offset is not None}

    def check(self) -> None:
        """One round trip. See the contract."""
        assert self._client is not None, "open() first"
        self._background.wait()
        with errors(self._settings, "checking the connection"):
            self._client.ping()

    def close(self) -> None:
        """See the contract."""
        self._background.close()
        self._background = Background(f"{self.name} scripts")
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):  # it may be broken in any way; the next open makes a new one
                client.close()

    def _land(
        self, records: Sequence[SinkRecord], offsets: Mapping[str, tuple[int | None, int]], keys: list[str], body: bytes
    ) -> None:
        """In the thread of `_background`. Ids that Redis has counted are left out, which takes a second script."""
        assert self._apply is not None, "open() first"
        doing = f"landing {len(records)} records"
        repeated: set[str] = set()
        while True:
            with errors(self._settings, doing):
                answer: list[str] = self._apply(keys=keys, args=[body])
            match answer:
                case ["repeated", *ids]:
                    repeated |= set(ids)
                    keys, body = redis_plan.plan(
                        records, offsets, self._levels, now_ms=self._now_ms(), without=repeated
                    )
                    continue
                case ["moved", key]:
                    why = f"{key} was moved by another worker; reading it again"
                case ["type", key]:
                    why = f"{key} holds something else; delete it"
                case ["full", key]:
                    log.error("A COUNTER IS FULL and stays as it is", sink=self.name, key=key)
                    return
                case _:
                    return
            raise StoreUnavailable(f"{doing} at {address(self._settings)}: {why}")


@contextmanager
def errors(settings: RedisSettings, doing: str) -> Iterator[None]:
    """Map redis-py's errors, all of which are StoreUnavailable here."""
    try:
        yield
    except (redis.RedisError, OSError) as exc:
        reason = " ".join(str(exc).split())[:REASON_CHARACTERS_MAX]
        raise StoreUnavailable(f"{doing} at {address(settings)}: {reason}") from exc
