"""The relative profile, settings of single assets, custom rules and coverage in the detector as a whole."""

import random
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import msgspec
import pytest

from processors.detect import fold_history, new_detector
from processors.detector import Delivered, Detector, Output
from processors.history import Part
from processors.in_force import encode
from processors.journal import replay
from processors.settings import DetectorSettings
from schemas.records import AssetState, CascadeAlert, FeedHealth, JournalContext, JournalEntry, WindowAggregate
from schemas.topics import ALERTS, FEED_HEALTH, SETTINGS, STATE
from schemas.words import Exchange, FeedState, JournalKind
from tests.processors import logs
from tests.processors.logs import CODEC, START_MS, at, cascade_log, fold_all, liquidation, tick
from tests.processors.test_relative import SCALES, plain

HOUR_MS = 3_600_000
RELATIVE = DetectorSettings(profile="relative")


def week_log(seed: int, hours: int = 27) -> list[Delivered]:
    """An hour a burst of two to five events, and in the end one of 80 within ten seconds."""
    rng, log = random.Random(seed), list[Delivered]()
    for hour in range(hours):
        now = hour * HOUR_MS + rng.randrange(HOUR_MS // 2)
        for _ in range(rng.randrange(2, 6)):
            now += rng.randrange(300)
            log.append(
                at(len(log), now, liquidation(now, notional_usd=float(rng.randrange(2_000, 9_000)), name=len(log)))
            )
    now = hours * HOUR_MS + 60_000
    for number in range(80):
        now += 10 + 2 * (80 - number)
        log.append(at(len(log), now, liquidation(now, notional_usd=3_000.0, name=len(log))))
    return log


def steps_of(log: list[Delivered], settings: DetectorSettings) -> tuple[list[JournalEntry], list[Output]]:
    steps = list(fold_history(new_detector(settings), Part(log, []), partition=0))
    entries = [step.entry for step in steps if step.entry is not None]
    return entries, [output for step in steps for output in step.outputs]


def alerts(outputs: Iterable[Output]) -> list[CascadeAlert]:
    return [one.record for one in outputs if one.topic is ALERTS and isinstance(one.record, CascadeAlert)]


def states(outputs: Iterable[Output]) -> list[AssetState]:
    return [
        one.record for one in outputs if one.topic is STATE and isinstance(one.record, AssetState) and one.key == "BTC"
    ]


def as_bytes(outputs: Iterable[Output]) -> list[tuple[str, str, bytes]]:
    return [(one.topic.name, one.key, one.value) for one in outputs]


def closed_windows(outputs: Iterable[Output]) -> list[tuple[int, int, int, int]]:
    found = []
    for one in outputs:
        if isinstance(one.record, WindowAggregate) and one.record.size_ms in (2_000, 10_000, 60_000):
            s = (2_000, 10_000, 60_000).index(one.record.size_ms)
            micro_usd = round(one.record.notional_usd * 1e6)
            found.append((s, one.record.append_time_ms, one.record.events, micro_usd))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_baselines_in_the_journal_are_those_of_a_plain_recount(seed: int) -> None:
    entries, outputs = steps_of(week_log(seed), RELATIVE)
    windows = closed_windows(outputs)
    found = [entry.baseline for entry in entries if entry.baseline is not None]
    assert sum(bool(one.windows) for one in found) > 1
    for baseline in found:
        assert baseline.append_time_ms % HOUR_MS == 0
        expected = plain(
            [one for one in windows if one[1] < baseline.append_time_ms], baseline.append_time_ms // HOUR_MS
        )
        given = [[int(one.events), round(one.notional_usd * 1e6)] for one in baseline.windows]
        assert (given or None) == expected
    unknown = [one.append_time_ms for one in states(outputs) if one.relative_ratio is None]
    known = [one.append_time_ms for one in states(outputs) if one.relative_ratio is not None]
    assert max(unknown) <= min(known)
    assert next(one for one in found if one.windows).append_time_ms <= min(known)


@pytest.mark.parametrize("seed", range(3))
def test_levels_follow_the_ratio_to_the_baseline(seed: int) -> None:
    entries, outputs = steps_of(week_log(seed), RELATIVE)
    baseline = next(entry.baseline for entry in reversed(entries) if entry.baseline is not None)
    found = [one for one in alerts(outputs) if one.append_time_ms >= baseline.append_time_ms]
    assert {one.profile for one in found} == {"RELATIVE"}
    assert found[0].kind == "RAISED"
    assert found[-1].kind == "ENDED"
    assert found[-1].peak_level in ("ALERT", "CRITICAL", "EXTREME")
    assert "EXTREME" not in {one.absolute_level for one in found}
    last = max(one.append_time_ms for one in found if one.kind == "RAISED" or one.kind == "UPDATED")
    assert found[-1].append_time_ms >= last + 28_000
    for one in found:
        ratios = [
            Fraction(window.events) / (round(base.events) * scale)
            for window in one.windows
            for base, scale in zip(baseline.windows, SCALES, strict=True)
            if window.size_ms == base.size_ms
            and 2 * window.notional_usd_per_s * window.size_ms / 1_000 >= base.notional_usd - 1e-3
        ]
        assert one.relative_ratio is not None
        assert one.relative_ratio == pytest.approx(float(max(ratios, default=Fraction(0))), abs=1e-6)
        rank = sum(one.relative_ratio >= least for least in (1.5, 2, 3, 6))
        assert one.relative_level == ("NONE", "WATCH", "ALERT", "CRITICAL", "EXTREME")[rank]
        if one.kind == "RAISED":
            assert one.level == one.relative_level


def test_either_takes_the_higher_of_the_two() -> None:
    log = week_log(1)
    _, relative = steps_of(log, RELATIVE)
    _, either = steps_of(log, DetectorSettings(profile="either"))
    _, absolute = steps_of(log, DetectorSettings())
    peaks = {name: max((one.peak_level for one in alerts(outputs)), default="", key=rank_of)
             for name, outputs in (("relative", relative), ("either", either), ("absolute", absolute))}  # fmt: skip
    assert rank_of(peaks["either"]) >= max(rank_of(peaks["relative"]), rank_of(peaks["absolute"]))
    assert {one.relative_level for one in alerts(absolute)} & {"WATCH", "ALERT", "CRITICAL", "EXTREME"}


def rank_of(level: str) -> int:
    return ("", "UNKNOWN", "NONE", "WATCH", "ALERT", "CRITICAL", "EXTREME").index(level)


def test_the_journal_alone_puts_baselines_in_force() -> None:
    log = week_log(2)
    entries, outputs = steps_of(log, RELATIVE)
    detector = new_detector(RELATIVE)
    again = list(replay(detector.fold, detector.apply, [log[i : i + 7] for i in range(0, len(log), 7)], entries))
    assert as_bytes(again) == as_bytes(outputs)
    late = new_detector(RELATIVE)  # knows nothing of the week but what the journal says
    last = next(i for i, entry in enumerate(entries) if entry.baseline is not None)
    rest = [one for one in log if one.offset > entries[last].after_offset]
    later = [one for one in entries[last:] if one.after_offset >= rest[0].offset - 1]
    found = list(replay(late.fold, late.apply, [rest], later))
    assert [one.alert_id for one in alerts(found)][-3:] == [one.alert_id for one in alerts(outputs)][-3:]


def long_log(hours: int) -> list[Delivered]:
    """Two hours that are hectic, and calm ones after them; so it hangs on the two what is exceptional."""
    log = week_log(4, hours)
    for hour in (1, 2):
        for number in range(40):
            now = hour * HOUR_MS + HOUR_MS // 2 + 200_000 + 20 * number
            log.append(at(0, now, liquidation(now, notional_usd=9_000.0, name=f"{hour}/{number}")))
    log.sort(key=lambda one: one.append_time_ms)
    return [one._replace(offset=offset) for offset, one in enumerate(log)]


def goes_on(detector: Detector, rest: list[Delivered]) -> tuple[list[JournalEntry], list[tuple[str, str, bytes]]]:
    steps = list(fold_history(detector, Part(rest, []), partition=0))
    return [step.entry for step in steps if step.entry], as_bytes(out for step in steps for out in step.outputs)


def test_a_week_that_a_fold_has_not_seen_is_told_by_the_journal() -> None:
    # hours      1   2         4                           29        32
    # events     ### ###  .  . | .  .  .  .  .  .  .  .  . | .  .  .  ####
    # cold                     |===========================|--------------  the same from here on
    log = long_log(32)
    first = next(i for i, one in enumerate(log) if one.append_time_ms >= START_MS + 4 * HOUR_MS)
    cut = next(i for i, one in enumerate(log) if one.append_time_ms >= START_MS + 29 * HOUR_MS)
    warm = new_detector(RELATIVE)
    entries = [step.entry for step in fold_history(warm, Part(log[:cut], []), partition=0) if step.entry]
    entries = [entry for entry in entries if entry.after_offset >= first - 1]

    def begun_at_first(told: Iterable[JournalEntry]) -> Detector:
        cold = new_detector(RELATIVE)
        for _ in replay(cold.fold, cold.apply, [log[first:cut]], told):
            pass
        return cold

    untold = [
        entry
        if entry.baseline is None
        else msgspec.structs.replace(entry, baseline=msgspec.structs.replace(entry.baseline, since_ms=None, maxima=()))
        for entry in entries
    ]
    cold, short = begun_at_first(entries), begun_at_first(untold)
    restored = new_detector(RELATIVE)
    restored.restore(warm.snapshot())
    expected = goes_on(warm, log[cut:])
    assert goes_on(cold, log[cut:]) == expected
    assert goes_on(restored, log[cut:]) == expected
    assert goes_on(short, log[cut:]) != expected
    assert {entry.kind for entry in expected[0]} == {JournalKind.TICK, JournalKind.BASELINE}


def test_what_is_not_known_is_no_calm() -> None:
    log = [at(0, 0, liquidation(0)), at(1, 60 * HOUR_MS, liquidation(60 * HOUR_MS, name="later"))]
    for told in (False, True):
        detector = logs.new_detector(RELATIVE)
        detector.fold(log[:1])
        detector.apply(tick(0, HOUR_MS, after_offset=0))
        if told:
            (baseline,) = detector.due_baselines()
            entry = msgspec.structs.replace(tick(1, 0, after_offset=0), kind=JournalKind.BASELINE, baseline=baseline)
            detector.apply(entry)
        # the first record is the last one of its exchange before what is read
        assert detector.know_from(START_MS + 50 * HOUR_MS) == ([] if told else ["BTC"])
        detector.fold(log[1:])
        (after,) = detector.due_baselines()
        assert bool(after.windows) is told


def settings_entry(sequence: int, key: str, tree: dict[str, Any], *, after_offset: int = -1) -> JournalEntry:
    context = JournalContext(
        topic=SETTINGS.name, partition=0, offset=sequence, append_time_ms=START_MS, key=key.encode(),
        value=encode("command", tree),
    )  # fmt: skip
    return JournalEntry(
        partition=0, epoch=1, sequence=sequence, after_offset=after_offset, kind=JournalKind.CONTEXT, context=context
    )


def slow_burst(first_ms: int, events: int, *, offset: int = 0, gap_ms: int = 100) -> list[Delivered]:
    times = [first_ms + i * gap_ms for i in range(events)]
    return [at(offset + i, now, liquidation(now, name=offset + i)) for i, now in enumerate(times)]


def test_a_record_of_settings_changes_an_asset_from_its_place_on() -> None:
    detector = logs.new_detector()
    burst = slow_burst(0, 10)
    assert alerts(fold_all(detector, burst)) == []  # 5 a second
    change = settings_entry(0, "BTC", {"levels": {"watch_events_per_s": 2}}, after_offset=9)
    found = alerts(fold_all(detector, [change, *slow_burst(1_000, 1, offset=10)]))
    assert [(one.kind, one.level) for one in found] == [("RAISED", "WATCH")]
    other = [at(11 + i, 1_100 + i, liquidation(1_000, asset="ETH", name=i)) for i in range(10)]
    assert alerts(detector.fold(other)) == []


def test_a_record_that_does_not_fit_is_counted_and_changes_nothing() -> None:
    detector = logs.new_detector()
    detector.apply(settings_entry(0, "BTC", {"levels": {"watch_events_per_s": 200}}))
    assert detector.contexts_refused == 1
    assert detector.settings == DetectorSettings()


def test_a_muted_asset_has_states_and_windows_and_no_alerts() -> None:
    detector = logs.new_detector()
    first = alerts(fold_all(detector, slow_burst(0, 60, gap_ms=20)))
    assert first[0].kind == "RAISED"
    mute = settings_entry(0, "BTC", {"mute": True}, after_offset=59)
    outputs = fold_all(detector, [mute, *slow_burst(1_200, 60, offset=60, gap_ms=20)])
    assert [(one.kind, one.level) for one in alerts(outputs)] == [("ENDED", "NONE")]
    shown = states(outputs)
    assert shown
    assert all(one.level == "NONE" and "muted" in one.flags for one in shown)
    assert {one.absolute_level for one in shown} & {"WATCH", "ALERT", "CRITICAL"}
    loud = settings_entry(1, "BTC", {}, after_offset=119)
    again = alerts(fold_all(detector, [loud, *slow_burst(2_400, 10, offset=120, gap_ms=20)]))
    assert again[0].kind == "RAISED"
    assert again[0].flags.count("muted") == 0


def ruled(expression: str, level: str = "ALERT") -> DetectorSettings:
    return DetectorSettings.model_validate({"rules": [{"name": "mine", "expression": expression, "level": level}]})


def test_a_rule_raises_its_level_and_is_named() -> None:
    detector = logs.new_detector(ruled("momentum_events >= 3 and long_share > 0.9"))
    outputs = fold_all(detector, slow_burst(0, 5))
    found = alerts(outputs)
    assert [(one.kind, one.level) for one in found] == [("RAISED", "ALERT")]
    assert "rule:mine" in found[0].flags
    assert found[0].windows[1].events >= 3
    ended = alerts(logs.silence(detector, 500))
    assert [(one.kind, one.level) for one in ended] == [("UPDATED", "ALERT"), ("ENDED", "NONE")]
    assert ended[-1].append_time_ms - found[0].append_time_ms >= 10_000


def test_a_rule_of_another_asset_or_without_data_raises_nothing() -> None:
    settings = DetectorSettings(assets={"ETH": ruled("events >= 1").model_dump(include={"rules"})})
    assert alerts(fold_all(logs.new_detector(settings), slow_burst(0, 5))) == []
    assert alerts(fold_all(logs.new_detector(ruled("funding_rate_8h < 1")), slow_burst(0, 5))) == []


def mixed_log(seed: int) -> list[logs.Entry]:
    """A cascade with settings, rules and baselines that change on the way."""
    rng, log, sequence = random.Random(seed), list[logs.Entry](), 0
    changes: Sequence[tuple[str, dict[str, Any]]] = (
        ("BTC", {"mute": True}), ("ETH", {"levels": {"watch_events_per_s": 1}}), ("BTC", {}),
        ("ETH", {"rules": [{"name": "few", "expression": "events >= 2", "level": "WATCH"}], "profile": "either"}),
        ("BTC", {"profile": "relative", "relative": {"hold_ms": 3_000}}), ("*", {"hold_ms": 4_000}),
    )  # fmt: skip
    for entry in cascade_log(seed, assets=("BTC", "ETH"), peak_per_s=60):
        if rng.random() < 0.01:
            offset = entry.offset - 1 if isinstance(entry, Delivered) else entry.after_offset
            if rng.random() < 0.4:
                log.append(baseline_entry(sequence, rng.choice(("BTC", "ETH")), rng, offset))
            else:
                log.append(settings_entry(sequence, *rng.choice(changes), after_offset=offset))
            sequence += 1
        if isinstance(entry, JournalEntry):
            entry = msgspec.structs.replace(entry, sequence=sequence)
            sequence += 1
        log.append(entry)
    return log


def baseline_entry(sequence: int, asset: str, rng: random.Random, after_offset: int) -> JournalEntry:
    windows = [
        {"size_ms": size_ms, "events": float(rng.randrange(5, 30)), "notional_usd": float(rng.randrange(5_000, 10**6))}
        for size_ms in (2_000, 10_000, 60_000)
    ]
    entry = {
        "partition": 0, "epoch": 1, "sequence": sequence, "after_offset": after_offset, "kind": "BASELINE",
        "baseline": {"asset": asset, "append_time_ms": START_MS // HOUR_MS * HOUR_MS, "windows": windows},
    }  # fmt: skip
    return msgspec.convert(entry, JournalEntry)


@pytest.mark.parametrize("seed", range(2))
def test_state_taken_anywhere_goes_on_the_same(seed: int) -> None:
    log = mixed_log(seed)
    whole = as_bytes(fold_all(logs.new_detector(), log))
    for cut in sorted(random.Random(seed).sample(range(len(log)), 3)):
        detector = logs.new_detector()
        first = as_bytes(fold_all(detector, log[:cut]))
        follower = logs.new_detector()
        follower.restore(detector.snapshot())
        follower.remember(logs.heard(log[:cut]))
        assert follower.settings == detector.settings
        assert first + as_bytes(fold_all(follower, log[cut:])) == whole


def health(sequence: int, time_ms: int, state: FeedState) -> JournalEntry:
    record = FeedHealth(
        exchange=Exchange.BYBIT, channel="liquidation", state=state, since_ms=START_MS, event_time_ms=START_MS
    )
    context = JournalContext(
        topic=FEED_HEALTH.name, partition=0, offset=sequence, append_time_ms=START_MS + time_ms, key=b"",
        value=CODEC.encode(FEED_HEALTH, record),
    )  # fmt: skip
    return JournalEntry(
        partition=0, epoch=1, sequence=sequence, after_offset=-1, kind=JournalKind.CONTEXT, context=context
    )


@pytest.mark.parametrize("state", [FeedState.LIVE, FeedState.DRIFT, FeedState.SILENT, FeedState.STALE, FeedState.DOWN])
def test_an_exchange_that_is_not_seen_lowers_confidence_and_not_the_score(state: FeedState) -> None:
    detector: Detector = logs.new_detector()
    detector.apply(health(0, 0, state))
    shown = states(fold_all(detector, slow_burst(0, 5)))[-1]
    assert shown.coverage["bybit"].state == state
    assert shown.confidence == round({"LIVE": 1.0, "DRIFT": 0.5}.get(state, 0.0) * 0.85, 6)
    plain_one = states(fold_all(logs.new_detector(), slow_burst(0, 5)))[-1]
    assert shown.probability == plain_one.probability


def test_a_state_that_is_not_repeated_grows_stale() -> None:
    detector = logs.new_detector()
    detector.apply(health(0, 0, FeedState.LIVE))
    burst = slow_burst(149_000, 30)
    shown = {
        one.append_time_ms - START_MS: one.coverage["bybit"].state.value for one in states(fold_all(detector, burst))
    }
    assert {state for at_ms, state in shown.items() if at_ms < 150_000} == {"LIVE"}
    assert {state for at_ms, state in shown.items() if at_ms >= 150_000} == {"STALE"}
    silent = logs.new_detector()
    silent.apply(health(0, 0, FeedState.LIVE))
    fold_all(silent, slow_burst(149_500, 1))
    (shown_then,) = states(silent.apply(tick(1, 150_000, after_offset=0)))
    assert shown_then.coverage["bybit"].state == "STALE"
