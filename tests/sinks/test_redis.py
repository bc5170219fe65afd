"""What lies in Redis: the keys of docs/redis.md."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from pydantic import SecretStr
from structlog.testing import capture_logs

from runtime.clock import wall_clock_ms
from runtime.settings import RedisSettings
from schemas.codec import to_json
from schemas.errors import RecordRefused, SettingsError, StoreUnavailable
from schemas.records import Record
from schemas.words import Exchange, Level, Side, StateKind
from sinks.connector import batch_of
from sinks.counts import redis_counts
from sinks.redis import RedisSink
from sinks.redis_plan import APPLY, IDS_MAX
from sinks.redis_sums import TTL_MS
from sinks.settings import LevelsSettings, SinkSettings
from tests.sinks.records import alert, landing, liquidation, state

NOW_MS = wall_clock_ms()  # Redis' own clock decides when a key goes, so the present is the time of these tests
MINUTE = NOW_MS // 60_000
PERIOD = MINUTE // 10
BUCKET, LEVELS = f"liq:bucket:BTC:{MINUTE}", f"liq:levels:BTC:{PERIOD}"


@pytest.fixture
def settings(redis_url: str) -> SinkSettings:
    return SinkSettings(redis=RedisSettings(url=SecretStr(redis_url.rpartition("/")[0] + "/7")))


@pytest.fixture
def client(settings: SinkSettings) -> Iterator["redis.Redis"]:
    with closing(redis.Redis.from_url(settings.redis.url.get_secret_value(), decode_responses=True)) as client:
        client.flushdb()
        yield client


@pytest.fixture
def land(settings: SinkSettings, client: "redis.Redis") -> Callable[..., None]:
    """Land records as the next ones of their partitions, appended `age_ms` before now."""
    next_offset = 0

    def land(*records: Record, age_ms: int = 0, using: SinkSettings = settings) -> None:
        nonlocal next_offset
        batch = [
            msgspec.structs.replace(one, append_time_ms=NOW_MS - age_ms)
            for one in landing(records, first_offset=next_offset)
        ]
        next_offset += len(batch)
        with closing(RedisSink(using, now_ms=lambda: NOW_MS)) as sink:
            sink.open({one.position for one in batch})
            sink.put(batch_of(batch))
            sink.flush()

    return land


def listening(client: "redis.Redis") -> Any:
    return client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]


def now(number: int, **changes: object) -> Record:
    return liquidation(number, event_time_ms=NOW_MS, **changes)


def test_a_minute_counts_by_exchange_and_side(client: "redis.Redis", land: Callable[..., None]) -> None:
    land(now(1), now(2), now(3, side=Side.SHORT, notional_usd=0.000001), now(4, exchange=Exchange.OKX), now(1))
    assert client.hgetall(BUCKET) == {
        "binance:LONG:events": "2",
        "binance:LONG:notional_uusd": "65432100000",
        "binance:SHORT:events": "1",
        "binance:SHORT:notional_uusd": "1",
        "okx:LONG:events": "1",
        "okx:LONG:notional_uusd": "32716050000",
    }


def test_prices_that_lie_close_share_a_level(client: "redis.Redis", land: Callable[..., None]) -> None:
    land(now(1, price=65_432.1), now(2, price=65_449.0), now(3, price=65_430.0, side=Side.SHORT))
    assert client.hgetall(LEVELS) == {
        "LONG:65400:65450": "65432100000",
        "SHORT:65400:65450": "32716050000",
        "events": "3",
    }


def goes_at(client: "redis.Redis", key: str, gone_ms: int) -> bool:
    """Whether a key goes at that time: what is left of it, between two looks at the server's clock (Redis 6 too)."""
    before_ms, left_ms, after_ms = server_ms(client), client.pttl(key), server_ms(client)
    return before_ms + left_ms - 1 <= gone_ms <= after_ms + left_ms + 1


def server_ms(client: "redis.Redis") -> int:
    seconds, micros = client.time()
    return int(seconds * 1_000 + micros // 1_000)


def test_a_minute_is_kept_for_an_hour_after_its_end_and_levels_after_their_ten_minutes(
    client: "redis.Redis", land: Callable[..., None]
) -> None:
    land(now(1))
    land(now(2))
    assert goes_at(client, BUCKET, (MINUTE + 1) * 60_000 + TTL_MS)
    for key in (LEVELS, f"liq:seen:BTC:{MINUTE}"):
        assert goes_at(client, key, (PERIOD + 1) * 600_000 + TTL_MS)


def test_what_was_counted_is_left_out_of_the_sums_of_a_later_batch(
    client: "redis.Redis", land: Callable[..., None]
) -> None:
    land(now(1), now(2))
    land(now(2), now(3), now(1), now(3))
    assert client.hgetall(BUCKET) == {"binance:LONG:events": "3", "binance:LONG:notional_uusd": "98148150000"}
    assert client.hgetall(LEVELS) == {"LONG:65400:65450": "98148150000", "events": "3"}
    assert client.scard(f"liq:seen:BTC:{MINUTE}") == 3


def test_more_ids_than_one_command_takes(client: "redis.Redis", land: Callable[..., None]) -> None:
    land(*map(now, range(IDS_MAX + 1)))
    land(*map(now, range(IDS_MAX + 2)))
    assert client.scard(f"liq:seen:BTC:{MINUTE}") == IDS_MAX + 2
    assert client.hget(BUCKET, "binance:LONG:events") == str(IDS_MAX + 2)


def test_a_batch_that_is_worth_more_than_redis_adds_at_once_is_put_in_parts(
    client: "redis.Redis", land: Callable[..., None]
) -> None:
    most = [now(number, notional_usd=9e9) for number in range(600)]
    with pytest.raises(RecordRefused, match="Redis adds less than"):
        land(*most)
    assert client.keys() == []
    land(*most[:500])
    assert client.hget(BUCKET, "binance:LONG:notional_uusd") == str(500 * 9 * 10**15)


def test_a_counter_that_is_full_stays_as_it_is_and_the_rest_lands(
    client: "redis.Redis", land: Callable[..., None]
) -> None:
    land(now(1))
    client.hset(BUCKET, "binance:LONG:notional_uusd", str(2**63 - 1))
    with capture_logs() as logs:
        land(now(2))
    assert logs == [
        {"event": "A COUNTER IS FULL and stays as it is", "log_level": "error", "sink": "redis", "key": BUCKET}
    ]
    assert client.hmget(BUCKET, "binance:LONG:events", "binance:LONG:notional_uusd") == ["2", str(2**63 - 1)]
    assert client.hgetall(LEVELS) == {"LONG:65400:65450": "65432100000", "events": "2"}


def test_levels_have_the_width_that_an_asset_is_given(
    settings: SinkSettings, client: "redis.Redis", land: Callable[..., None]
) -> None:
    land(now(1), using=settings.model_copy(update={"levels": LevelsSettings(widths=("BTC=1",))}))
    assert client.hgetall(LEVELS) == {"LONG:65432:65433": "32716050000", "events": "1"}


def test_an_event_of_an_old_minute_makes_no_key_and_counts_as_landed(
    settings: SinkSettings, client: "redis.Redis", land: Callable[..., None]
) -> None:
    land(liquidation(1, event_time_ms=NOW_MS - TTL_MS - 120_000))
    assert redis_counts(settings) == {"buckets": 0, "events": 0, "states": 0, "alerts": 0}
    assert client.get("offset:redis:market.liquidations:0") == "1"


def test_a_clock_that_runs_ahead_makes_no_minute_of_the_future(
    client: "redis.Redis", land: Callable[..., None]
) -> None:
    land(liquidation(1, event_time_ms=NOW_MS + 10**12))
    assert client.exists(BUCKET)


def test_the_latest_state_stands(settings: SinkSettings, client: "redis.Redis", land: Callable[..., None]) -> None:
    latest = state(level=Level.EXTREME)
    land(state(level=Level.WATCH), state(asset="ETH"), latest, state(asset="progress/0", kind=StateKind.PROGRESS))
    assert client.get("state:BTC") == to_json(latest).decode()
    assert goes_at(client, "state:BTC", NOW_MS + TTL_MS)
    assert redis_counts(settings)["states"] == 2


def test_an_alert_is_in_the_stream_once_published_once_and_the_latest(
    client: "redis.Redis", land: Callable[..., None]
) -> None:
    with closing(listening(client)) as listener:
        listener.subscribe("alerts")
        assert listener.get_message(timeout=5.0) is None, "only the answer to subscribe"
        land(alert(1), alert(2), alert(1))
        land(alert(2))
        heard = [listener.get_message(timeout=5.0) for _ in range(2)]
        assert listener.get_message(timeout=0.0) is None
    told = [to_json(alert(number)).decode() for number in (1, 2)]
    assert [message and message["data"] for message in heard] == told
    entries: Any = client.xrange("alerts")
    assert [fields["record"] for _, fields in entries] == told
    assert entries[0][1]["alert_id"] == alert(1).alert_id
    assert entries[0][1].keys() == {"alert_id", "asset", "kind", "level", "record"}
    assert client.get("alert:BTC") == told[1]


def test_an_alert_that_waited_out_an_outage_is_in_the_stream_only(
    client: "redis.Redis", land: Callable[..., None]
) -> None:
    with closing(listening(client)) as listener:
        listener.subscribe("alerts")
        assert listener.get_message(timeout=5.0) is None
        land(alert(1), age_ms=61_000)
        land(alert(2), age_ms=TTL_MS + 1)
        assert listener.get_message(timeout=0.0) is None
    assert client.xlen("alerts") == 2
    assert client.get("alert:BTC") == to_json(alert(1)).decode()


def test_a_key_of_another_program_pauses_the_sink_before_anything_is_written(
    settings: SinkSettings, client: "redis.Redis", land: Callable[..., None]
) -> None:
    client.set(LEVELS, "mine")
    with pytest.raises(StoreUnavailable, match=f"{LEVELS} holds something else; delete it"):
        land(now(1))
    assert client.keys() == [LEVELS]


def test_a_full_server_pauses_the_sink_and_nothing_is_written(client: "redis.Redis", land: Callable[..., None]) -> None:
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable, match=r"OOM|maxmemory"):
            land(now(1), alert(1), state())
    finally:
        client.config_set("maxmemory", "0")
    assert client.keys() == []


def test_an_url_that_is_none_is_a_setting_to_mend() -> None:
    with pytest.raises(SettingsError, match=r"redis\.url is not a Redis URL"):
        RedisSink(SinkSettings(redis=RedisSettings(url=SecretStr("http://somewhere")))).open([])


def test_every_key_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()
    for key in ("liq:bucket:", "liq:levels:", "liq:seen:", "state:", "alert:", "alert:seen:", "offset:"):
        assert f"`{key}" in page
    assert "alert:seen:" in APPLY
