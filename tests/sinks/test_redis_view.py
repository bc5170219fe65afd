"""The library's view of Redis: what was landed, as a program sees it."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from runtime.clock import wall_clock_ms
from runtime.settings import RedisSettings
from schemas.errors import SettingsError, StoreUnavailable
from schemas.records import Record
from schemas.words import Level, Side
from sinks.connector import batch_of
from sinks.levels import by_basis_points
from sinks.redis import RedisSink
from sinks.redis_view import LEVELS_MAX, PriceLevel, RedisView, few, joined
from sinks.settings import LevelsSettings, SinkSettings
from tests.sinks.records import landing, liquidation, state

NOW_MS = wall_clock_ms()  # 20 minutes may pass until the oldest event of these tests goes


@pytest.fixture
def settings(redis_url: str) -> SinkSettings:
    url = redis_url.rpartition("/")[0] + "/8"
    with closing(redis.Redis.from_url(url)) as client:
        client.flushdb()
    return SinkSettings(redis=RedisSettings(url=SecretStr(url)))


@pytest.fixture
def view(settings: SinkSettings) -> Iterator[RedisView]:
    with closing(RedisView(settings.redis)) as view:
        yield view


@pytest.fixture
def land(settings: SinkSettings) -> Callable[..., None]:
    """Land records behind those that have landed, with levels as given."""

    def land(*records: Record, levels: LevelsSettings | None = None) -> None:
        using = settings.model_copy(update={"levels": levels or LevelsSettings()})
        batch = [msgspec.structs.replace(one, append_time_ms=NOW_MS) for one in landing(records)]
        with closing(RedisSink(using, now_ms=lambda: NOW_MS)) as sink:
            stored = sink.open({one.position for one in batch})
            sink.put(
                batch_of(msgspec.structs.replace(one, offset=one.offset + stored.get(one.position, 0)) for one in batch)
            )
            sink.flush()

    return land


def event(number: int, price: float, *, ago_ms: int = 0, side: Side = Side.LONG) -> Record:
    return liquidation(number, event_time_ms=NOW_MS - ago_ms, price=price, side=side, notional_usd=1.5)


def test_levels_of_the_last_hour_lowest_first(view: RedisView, land: Callable[..., None]) -> None:
    land(
        event(1, 65_432.1), event(2, 65_432.1, ago_ms=2_400_000), event(3, 65_449.0, side=Side.SHORT), event(4, 64_000)
    )
    assert view.levels("BTC", now_ms=NOW_MS) == [
        PriceLevel(64_000, 64_050, 1_500_000, 0),
        PriceLevel(65_400, 65_450, 3_000_000, 1_500_000),
    ]
    assert view.levels("BTC", now_ms=NOW_MS + 4_200_001) == [], "of the hour before that"


def test_nothing_of_an_asset_that_nobody_has_heard_of(view: RedisView) -> None:
    assert view.levels("NOPE") == []
    assert view.state("NOPE") is None


def test_after_a_change_of_width_no_amount_is_lost_or_shown_twice(view: RedisView, land: Callable[..., None]) -> None:
    land(event(1, 65_432.1), event(2, 65_460.0), event(3, 65_600.0))
    land(event(4, 65_432.1), event(5, 65_700.0), levels=LevelsSettings(widths=("BTC=20",)))
    assert view.levels("BTC", now_ms=NOW_MS) == [
        PriceLevel(65_400, 65_450, 3_000_000, 0),
        PriceLevel(65_450, 65_500, 1_500_000, 0),
        PriceLevel(65_600, 65_650, 1_500_000, 0),
        PriceLevel(65_700, 65_720, 1_500_000, 0),
    ]


def test_what_has_changed_since_the_last_look_is_seen(view: RedisView, land: Callable[..., None]) -> None:
    land(event(1, 65_432.1), event(2, 65_432.1, ago_ms=2_400_000), event(3, 70_000.0, ago_ms=2_400_000))
    before = view.levels("BTC", now_ms=NOW_MS)
    assert view.levels("BTC", now_ms=NOW_MS) == before
    land(event(4, 65_432.1, ago_ms=2_400_000), event(5, 65_432.1, side=Side.SHORT))
    assert view.levels("BTC", now_ms=NOW_MS) == [
        PriceLevel(65_400, 65_450, 4_500_000, 1_500_000),
        PriceLevel(70_000, 70_050, 1_500_000, 0),
    ]
    assert view.levels("BTC", now_ms=NOW_MS + 2_400_000) == [PriceLevel(65_400, 65_450, 1_500_000, 1_500_000)]
    assert view.levels("ETH", now_ms=NOW_MS) == []


@given(
    st.dictionaries(st.floats(min_value=0.9, max_value=1_100.0), st.integers(1, 10**12), max_size=700),
    st.sampled_from((1, 10, 100)),
)
def test_there_are_at_most_300_and_the_sums_stay(amounts: dict[float, int], basis_points: int) -> None:
    cut = by_basis_points(basis_points)
    longs: dict[str, int] = {}
    for price, uusd in amounts.items():
        longs[cut(price)] = longs.get(cut(price), 0) + uusd
    levels = joined(longs, {}, few(longs))
    assert len(levels) <= LEVELS_MAX
    assert sum(one.long_notional_uusd + one.short_notional_uusd for one in levels) == sum(amounts.values())
    assert [one.low for one in levels] == sorted({one.low for one in levels})


def test_many_levels_become_wider_ones() -> None:
    longs = {f"{low}:{low + 1}": 1 for low in range(1_000, 2_000)}
    levels = joined(longs, {"1003:1004": 7}, few(longs))
    assert len(levels) == 200
    assert levels[0] == PriceLevel(1_000, 1_005, 5, 7)


def test_the_latest_state(view: RedisView, land: Callable[..., None]) -> None:
    latest = state(level=Level.EXTREME)
    land(state(level=Level.WATCH), latest)
    assert view.state("BTC") == latest


def test_the_program_of_the_documentation_runs(
    settings: SinkSettings, land: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    land(liquidation(1, price=65_432.1, notional_usd=1.5), state(level=Level.EXTREME))
    page = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()
    program = page.partition("```python\n")[2].partition("```")[0]
    exec(program.replace("redis://127.0.0.1:6379/0", settings.redis.url.get_secret_value()), {})
    assert capsys.readouterr().out.splitlines() == ["65400.0 65450.0 1.5 0.0", "EXTREME"]


def test_what_cannot_be_read_is_said(settings: SinkSettings, view: RedisView) -> None:
    with closing(redis.Redis.from_url(settings.redis.url.get_secret_value())) as client:
        client.set("state:BTC", "mine")
    with pytest.raises(StoreUnavailable, match="reading state:BTC at"):
        view.state("BTC")
    nobody = RedisSettings(url=SecretStr("redis://127.0.0.1:1/0"))
    with (
        closing(RedisView(nobody)) as view,
        pytest.raises(StoreUnavailable, match=r"reading the levels of BTC at 127\.0\.0\.1:1/0"),
    ):
        view.levels("BTC")
    with pytest.raises(SettingsError, match=r"redis\.url is not a Redis URL"):
        RedisView(RedisSettings(url=SecretStr("nowhere")))
