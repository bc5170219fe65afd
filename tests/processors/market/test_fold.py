"""The market's fold: against a plain recount, over restarts, with partitions that are told twice or not at all."""

import random
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.market.contagion import follows
from processors.market.fold import MEMORY_MS, MarketOutput
from schemas.codec import Codec, to_json
from schemas.records import AssetState, CascadeAlert
from schemas.topics import ALERTS, MARKET, STATE
from schemas.words import Exchange, Level
from tests.processors.market.reference import Reference
from tests.processors.market.states import (
    PARTITIONS,
    SETTINGS,
    START_MS,
    Fold,
    Heard,
    alerts,
    encoded,
    fold,
    log_of,
    new_fold,
    random_log,
    state,
)

LEVELS = ("NONE", "WATCH", "ALERT", "CRITICAL", "EXTREME")


def plain_levels(log: Sequence[Heard]) -> list[tuple[int, str, str, int]]:
    """(T, level, level before, breadth) of every change, counted anew from a list of everything."""
    now, level, seen, found = 0, 0, list[tuple[int, str]](), []
    justified: list[tuple[int, int]] = []
    latest: dict[str, tuple[int, bool]] = {}  # asset -> T of its newest state, and whether that says WATCH or above

    def breadth() -> int:
        watched = {asset for asset, (at, so) in latest.items() if so and at > now - 30_000}
        return len(watched | {asset for at, asset in seen if at > now - 30_000})

    def rank() -> int:
        return sum(breadth() >= least for least in (3, 5, 8, 12))

    for _, one in log:
        before_s, now = now // 1_000, max(now, one.append_time_ms)
        held = max((rank_ for at, rank_ in justified if at + 10_000 > now), default=0)
        if held < level:
            found.append((now, LEVELS[held], LEVELS[level], breadth()))
            level = held
        if now // 1_000 > before_s:
            justified.append((now, rank()))
        if not one.asset or one.append_time_ms <= latest.get(one.asset, (-1, False))[0]:
            continue
        latest[one.asset] = one.append_time_ms, one.level != "NONE"
        if (one.relative_ratio or 0) >= 1.5:
            seen.append((one.append_time_ms, one.asset))
        if one.level != "NONE" or (one.relative_ratio or 0) >= 1.5:
            justified.append((now, rank()))
            if rank() > level:
                found.append((now, LEVELS[rank()], LEVELS[level], breadth()))
                level = rank()
        seen = [(at, asset) for at, asset in seen if at > now - 40_000]
        justified = [(at, rank_) for at, rank_ in justified if at > now - 20_000]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_all_that_comes_out_is_what_the_plain_fold_gives(seed: int) -> None:
    log = random_log(seed)
    plain = Reference(SETTINGS, partitions=PARTITIONS, judged_size_ms=2_000)
    assert lines(fold(log)) == lines(plain.fold(log))


@pytest.mark.parametrize("seed", range(4))
def test_levels_are_those_of_a_plain_recount(seed: int) -> None:
    log = random_log(seed)
    found = [
        (one.append_time_ms, one.level.value, one.previous_level.value, one.market_breadth)
        for one in alerts(fold(log))
        if one.level != one.previous_level
    ]
    assert found == plain_levels(log)
    assert len(found) >= 4


def test_ids_count_up_within_an_episode_and_all_can_be_encoded() -> None:
    outputs = fold(random_log(3))
    episodes: dict[str, list[CascadeAlert]] = {}
    for one in alerts(outputs):
        episodes.setdefault(one.episode_id, []).append(one)
    assert len(episodes) > 1
    for episode_id, members in episodes.items():
        assert [one.sequence for one in members] == list(range(len(members)))
        assert members[0].alert_id == f"{episode_id}:0"
        assert episode_id == f"*:{members[0].append_time_ms}"
        assert members[-1].kind in ("ENDED", "LOWERED", "UPDATED", "RAISED")
    codec = Codec()
    for output in outputs:
        assert codec.decode(type(output.record), codec.encode(output.topic, output.record)) == output.record


@pytest.mark.parametrize("seed", range(4))
def test_one_that_begins_in_memory_before_an_episode_goes_on_as_the_other(seed: int) -> None:
    log, rng = random_log(seed), random.Random(seed)
    whole = fold(log)
    for _ in range(4):
        cut = rng.randrange(len(log))
        said = [one for one in alerts(whole) if one.source_offset is not None and one.source_offset < cut]
        from_ms = (
            min(log[cut].state.append_time_ms, int(said[-1].episode_id.split(":")[1]) if said else 10**15) - MEMORY_MS
        )
        start = next(i for i, one in enumerate(log) if one.state.append_time_ms >= from_ms)
        again = [one for one in fold(log[start:]) if offset_of(one) >= cut]
        assert lines(again) == lines([one for one in whole if offset_of(one) >= cut])


def offset_of(output: MarketOutput) -> int:
    assert isinstance(output.record, AssetState | CascadeAlert)
    return output.record.source_offset or 0


def lines(outputs: Sequence[MarketOutput]) -> list[bytes]:
    return [f"{one.offset} {one.key} {one.id} {one.topic.name}".encode() + to_json(one.record) for one in outputs]


def test_runs_may_be_cut_anywhere() -> None:
    log, cut = random_log(1, 300), Fold()
    pieces = [one for start in range(0, len(log), 7) for one in cut.fold(log[start : start + 7])]
    assert lines(pieces) == lines(fold(log))


def test_what_a_partition_tells_again_changes_nothing() -> None:
    log = random_log(2, 300)
    doubled = []
    for i, (_, one) in enumerate(log):
        doubled.append(one)
        if i % 200 == 199:  # its partition starts again a hundred records back
            doubled += [old for _, old in log[i - 100 : i] if old.source_partition == 1]
    first, second = (alerts(fold(one)) for one in (log, log_of(doubled)))
    assert [msgspec.structs.replace(one, source_offset=0) for one in first] == [
        msgspec.structs.replace(one, source_offset=0) for one in second
    ]


def test_its_own_records_are_passed_over() -> None:
    log = random_log(1, 300)
    outputs = fold(log)
    mixed: list[AssetState] = []
    own = [one.record for one in outputs if one.topic is STATE]
    for _, one in log:
        mixed.append(one)
        if own:
            record = own.pop(0)
            assert isinstance(record, AssetState)
            mixed.append(record)
    given = alerts(fold(log_of(mixed)))
    assert [one.alert_id for one in given] == [one.alert_id for one in alerts(outputs)]


def test_an_alert_adds_up_the_assets_and_names_who_led() -> None:
    states = [state(0, partition=partition) for partition in range(PARTITIONS)]
    states += [
        state(100, "SOL", ratio=2.0, usd_per_s=100.0, long_share=0.25, exchange=Exchange.OKX),
        state(200, "BTC", ratio=0.1, usd_per_s=50.0, long_share=1.0),
        state(300, "ETH", partition=1, ratio=1.5, usd_per_s=300.5),
        state(400, "DOGE", partition=1, level=Level.ALERT, ratio=None, usd_per_s=0.0),
    ]
    (alert,) = alerts(fold(log_of(states)))
    assert (alert.asset, alert.kind, alert.level, alert.market_breadth) == (MARKET, "RAISED", "WATCH", 3)
    assert alert.flags[0] == "led_by:SOL"
    assert alert.windows[0].notional_usd_per_s == 450.5
    assert alert.windows[0].events == 16
    assert alert.windows[0].acceleration_usd_per_s2 == 6.0
    assert alert.windows[0].long_share == round((25 + 50 + 300.5) / 450.5, 6)
    assert alert.exchanges["okx"].share == round(100 / 450.5, 6)
    assert (alert.leading_exchange, alert.side, alert.confidence) == ("bybit", "LONG", 1.0)


def test_a_partition_without_progress_is_named_and_lowers_confidence() -> None:
    states = [state(0, partition=partition) for partition in (0, 1, 2)]
    for second in range(1, 15):
        states += [state(second * 1_000, partition=partition) for partition in (0, 2)]
    states += [state(14_100 + i, f"A{i}", ratio=2.0, usd_per_s=10.0) for i in range(3)]
    (alert,) = alerts(fold(log_of(states)))
    assert "blind:1" in alert.flags
    assert alert.confidence == round(2 / 3, 6)


def test_contagion_is_named_with_its_lag() -> None:
    states = [state(0, partition=partition) for partition in range(PARTITIONS)]
    pulses = [200_000.0 if second % 20 in (3, 4, 9) else 0.0 for second in range(61)]
    for second in range(61):
        for partition, asset, lag_s in ((0, "BTC", 0), (1, "ETH", 4), (2, "SOL", 2)):
            usd_per_s = pulses[second - lag_s] if second >= lag_s else 0.0
            ratio = 2.0 if second >= 50 or (asset == "BTC" and usd_per_s) else 0.0
            states.append(state(second * 1_000, asset, partition=partition, ratio=ratio, usd_per_s=usd_per_s))
    found = alerts(fold(log_of(states)))
    assert {"led_by:BTC", "contagion:BTC>ETH:4s", "contagion:BTC>SOL:2s"} <= set(found[-1].flags)


def test_lag_is_that_of_the_highest_correlation() -> None:
    ahead = np.zeros(68, np.int64)
    ahead[[9, 15, 23, 38]] = 4, 9, 3, 8
    for lag_s in range(9):
        other = np.roll(ahead, lag_s)[8:]
        assert follows(ahead, other) == (lag_s, 1.0)
    other[other < 8] = 0
    assert follows(ahead, other) == (0, 0.0)  # two seconds are too few


def test_the_episode_ends_and_the_market_falls_silent() -> None:
    states = [state(0, partition=partition) for partition in range(PARTITIONS)]
    states += [state(100 + i, f"A{i}", ratio=2.0, usd_per_s=1.0) for i in range(5)]
    states += [state(second * 1_000, partition=second % 3) for second in range(1, 60)]
    outputs = fold(log_of(states))
    assert [(one.kind.value, one.level.value) for one in alerts(outputs)] == [
        ("RAISED", "WATCH"), ("RAISED", "ALERT"), ("ENDED", "NONE"),
    ]  # fmt: skip
    ended = alerts(outputs)[-1]
    assert ended.append_time_ms == START_MS + 40_000  # 30 s in breadth, 10 s of hold
    quiet = [
        one
        for one in outputs
        if one.topic is STATE and one.key == MARKET and offset_of(one) > (ended.source_offset or 0)
    ]
    assert quiet == []
    assert ALERTS in {one.topic for one in outputs}


def test_foreign_records_are_passed_over_and_named() -> None:
    log = random_log(1, 120)
    values = [encoded(one.state) for one in log]
    good = encoded(state(1, "A0"))
    name = good.index(b"\x04A0") + 1
    junk = {
        "no text": good[:name] + b"\xff\xfe" + good[name + 2 :],
        "empty": b"",
        "no Avro": b"junk",
        "another schema": good[:1] + bytes(4) + good[5:],
        "cut off": good[:-3],
        "no number": encoded(state(1, "A0", usd_per_s=float("nan"))),
        "beyond all bounds": encoded(state(1, "A0", usd_per_s=1e300)),
        "no time": encoded(msgspec.structs.replace(state(1, "A0"), append_time_ms=0)),
    }
    for place, value in enumerate(junk.values()):
        values.insert(100 * place, value)
    outputs, refused = new_fold().fold(range(len(values)), values)
    assert [one.offset for one in refused] == [100 * place for place in range(len(junk))]
    assert [one.alert_id for one in alerts(outputs)] == [one.alert_id for one in alerts(fold(log))]


@given(st.binary(max_size=80), st.integers(0, 700), st.integers(0, 80))
def test_whatever_stands_in_the_topic_the_next_record_is_read(junk: bytes, at: int, gone: int) -> None:
    good = encoded(state(0, "A0", ratio=2.0, usd_per_s=1.0))
    at %= len(good)
    values = [good[:at] + junk + good[at + gone :], encoded(state(0, "A1", partition=1))]
    _, refused = new_fold().fold([0, 1], values)
    assert {one.offset for one in refused} <= {0}


def test_names_in_any_script_are_assets() -> None:
    states = [state(0, partition=partition) for partition in range(PARTITIONS)]
    states += [state(100 + i, name, ratio=2.0, usd_per_s=1.0) for i, name in enumerate(("牛", "币安人生", "BTC"))]
    (alert,) = alerts(fold(log_of(states)))
    assert alert.flags[0] == "led_by:牛"


def test_the_asset_heard_of_longest_ago_makes_room() -> None:
    states = [state(0, partition=partition) for partition in range(PARTITIONS)]
    states += [state(i, f"A{i}", ratio=2.0, usd_per_s=1.0) for i in range(1, 2_200)]
    found = alerts(fold(log_of(states)))
    assert [one.level.value for one in found[:4]] == ["WATCH", "ALERT", "CRITICAL", "EXTREME"]
    assert max(one.market_breadth or 0 for one in found) == 2_000
    assert found[0].flags[0] == "led_by:A1"
    assert found[-1].flags == ()  # who led is among those that made room


def test_what_was_said_of_an_exchange_long_ago_is_not_known() -> None:
    states = [state(0, "A0", exchange=Exchange.OKX), *[state(0, partition=partition) for partition in (1, 2)]]
    for second in range(1, 121):
        states += [state(second * 1_000, partition=partition) for partition in range(PARTITIONS)]
    states += [state(120_100 + i, f"A{i}", ratio=2.0, usd_per_s=1.0) for i in range(3)]
    (alert,) = alerts(fold(log_of(states)))
    assert list(alert.coverage) == ["bybit"]
    assert alert.confidence == 1.0


def test_sums_of_any_size_are_whole() -> None:
    states = [state(0, partition=partition) for partition in range(PARTITIONS)]
    states += [state(100 + i, f"A{i}", ratio=2.0, usd_per_s=8e12) for i in range(5)]
    found = alerts(fold(log_of(states)))
    assert found[-1].windows[0].notional_usd_per_s == 4e13
