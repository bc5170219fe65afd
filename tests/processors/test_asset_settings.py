"""Settings of single assets, and records that change them while running."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from processors.in_force import ALL, VALUE_BYTES_MAX, Running, changed, encode, read, tree_of
from processors.settings import DetectorSettings, ProcessorSettings
from runtime.settings import load
from schemas.errors import SettingsError
from tests.processors.logs import at, fold_all, liquidation, new_detector, tick

RULE = {"name": "a", "level": "ALERT"}
TREE = DetectorSettings(hold_ms=9_000)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ({"levels": {"watch_events_per_s": -1}},
         "detector.assets.BTC.levels.watch_events_per_s: must be greater than or equal to 0, was -1"),
        ({"levels": {"watch_events_per_s": 30}}, "detector.assets.BTC.levels: alert_events_per_s must be above"),
        ({"levels": {"watch": 1}}, "detector.assets.BTC.levels.watch is not a setting"),
        ({"levels": 3}, "detector.assets.BTC.levels: must be a valid dictionary"),
        ({"score": {"weights": {"velocity": 0.5}}}, "detector.assets.BTC.score.weights: the six weights must add up"),
        ({"windows": {"flash_crash": {"flag_events": 0}}}, "detector.assets.BTC.windows.flash_crash.flag_events"),
        ({"windows": {"flash": {"flag_events": 1}}}, "BTC.windows.flash: must be a table, and its name one of flash_c"),
        ({"windows": {"trend": {"grace_ms": 1}}}, "detector.assets.BTC.windows: must be the same for all assets"),
        ({"relative": {"windows": {"2000": {"scale": "0"}}}}, "detector.assets.BTC.relative.windows.2000.scale"),
        ({"tick_lag_ms": 7}, "detector.assets.BTC.tick_lag_ms: must be the same for all assets, was 7"),
        ({"assets": {}}, "detector.assets.BTC.assets: must not stand"),
        (5, "detector.assets.BTC: must be a valid dictionary"),
    ],
)  # fmt: skip
def test_an_override_that_does_not_fit_is_named(override: Any, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(ProcessorSettings, detector={"assets": {"ETH": {"mute": True}, "BTC": override}})
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"levels": {"extreme_events_per_s": float("inf")}}, "detector.levels.extreme_events_per_s: must be a number"),
        ({"levels": {"extreme_events_per_s": 1e300}}, "extreme_events_per_s: must be a number within ±1e+15"),
        ({"score": {"events_per_s_critical": "1e400"}}, "score.events_per_s_critical: must be a number within ±1e+15"),
        ({"levels": {"alert_events_per_s": float("nan")}}, "levels.alert_events_per_s: must be"),
        ({"hold_ms": 99_999_999_999_999_999_999}, "detector.hold_ms: must be a number within"),
        ({"hold_ms": True}, "detector.hold_ms: must be a number, was True"),
        ({"windows": [{"size_ms": 105, "grace_ms": 1, "flag": "a", "flag_events": 1}]}, "detector.windows.0.size_ms"),
        ({"assets": {"*": {"mute": True}}}, "detector.assets.*: must be an asset as it stands in the topics"),
        ({"assets": {"": {"mute": True}}}, "detector.assets.: must be an asset"),
        ({"assets": {"btc": {"mute": True}}}, "detector.assets.btc: must be an asset"),
        ({"profile": "relativ"}, "detector.profile: must be 'absolute', 'relative' or 'either', was 'relativ'"),
        ({"relative": {"watch_ratio": 1.23456}}, "detector.relative: watch_ratio must have at most 4 decimals"),
        ({"relative": {"hours_min": 200}}, "detector.relative.hours_min: must be less than or equal to 168, was 200"),
        ({"judged_size_ms": 2_001}, "detector: judged_size_ms must be the size_ms of one of windows, was 2001"),
        ({"hold": 3}, "detector.hold is not a setting (see `liqcascade settings show`)"),
        ({"rules": [RULE | {"expression": "9**9**9 > 1"}]}, "detector.rules.0.expression: rule a, column 1: Pow"),
        ({"rules": [RULE | {"expression": "1" * 10**6}]}, "rule a, it has 1000000 characters, at most 500"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_before_anything_starts(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(ProcessorSettings, detector=given)
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 400


def numbers(tree: dict[str, Any], place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Places of all numbers of a tree."""
    for key, value in tree.items():
        for number, one in enumerate(value if isinstance(value, tuple) else [value]):
            at = (*place, key, number) if isinstance(value, tuple) else (*place, key)
            if isinstance(one, dict):
                yield from numbers(one, at)
            elif isinstance(one, int | float) and not isinstance(one, bool):
                yield at


@pytest.mark.parametrize(
    "place", [*numbers(DetectorSettings().model_dump())], ids=lambda place: ".".join(map(str, place))
)
def test_whatever_number_is_accepted_can_be_computed_with(place: tuple[Any, ...]) -> None:
    for number in (1e-300, 1, 10**15, 1e15):
        tree = json.loads(DetectorSettings().model_dump_json())
        part = tree
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = number
        try:
            settings = DetectorSettings.model_validate(tree)
        except ValidationError:
            continue
        detector = new_detector(settings)
        fold_all(detector, [at(i, i, liquidation(i, name=i)) for i in range(30)])
        detector.apply(tick(0, 30_000, after_offset=29))


def test_an_asset_differs_in_the_keys_that_it_names() -> None:
    override = {
        "mute": True,
        "profile": "either",
        "levels": {"watch_events_per_s": 5},
        "windows": {"trend": {"flag_events": 7}},
        "relative": {"windows": {"60000": {"scale": "5/2"}}, "hold_ms": 1},
    }
    settings = DetectorSettings(hold_ms=9_000, assets={"BTC": override})
    btc = settings.of("BTC")
    assert (btc.mute, btc.profile, btc.levels.watch_events_per_s, btc.hold_ms) == (True, "either", 5, 9_000)
    assert [window.flag_events for window in btc.windows] == [5, 8, 15, 35, 7, 200]
    assert [window.scale for window in btc.relative.windows] == ["1", "4/3", "5/2"]
    assert settings.of("ETH") == TREE


def test_a_record_of_an_asset_replaces_its_overrides() -> None:
    first = changed(TREE, "BTC", encode("command", {"mute": True}))
    assert (first.asset, first.settings.of("BTC").mute, first.settings.of("ETH").mute) == ("BTC", True, False)
    second = changed(first.settings, "BTC", encode("command", {"hold_ms": 5}))
    assert (second.settings.of("BTC").mute, second.settings.of("BTC").hold_ms) == (False, 5)
    assert changed(second.settings, "BTC", encode("command", {})).settings == TREE


def test_a_record_of_all_replaces_everything() -> None:
    btc = changed(TREE, "BTC", encode("command", {"mute": True})).settings
    other = DetectorSettings(assets={"ETH": {"mute": True}})
    after = changed(btc, ALL, encode("worker", tree_of(other)))
    assert after.asset is None
    assert after.settings == other
    assert read(encode("worker", tree_of(other))).settings == tree_of(other)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("BTC", encode("command", {"levels": {"watch_events_per_s": "x"}}), "detector.assets.BTC.levels.watch_event"),
        ("BTC", b"{", "settings record"),
        ("BTC", b'{"origin": "else", "settings": {}}', "origin"),
        ("", encode("command", {}), "must be an asset or *"),
        ("btc", encode("command", {"mute": True}), "detector.assets.btc: must be an asset as it stands in the topics"),
        ("BTC", encode("command", {"hold_ms": True}), "detector.assets.BTC.hold_ms: must be a number, was True"),
        ("BTC", encode("command", {"hold_ms": 10**19}), "detector.assets.BTC.hold_ms: must be a number within"),
        ("BTC", b'{"origin": "command", "settings": {"score": {"boost": 1e300}}}', "detector.assets.BTC.score.boost: "),
        (ALL, encode("command", {"hold_ms": 0}), "detector.hold_ms: must be"),
        (ALL, encode("command", {"tick_lag_ms": 7}), "detector.tick_lag_ms cannot change while"),
        (ALL, encode("command", {"correlation": {"span_ms": 30_000}}), "detector.correlation cannot change"),
        ("BTC", b" " * (VALUE_BYTES_MAX + 1), f"at most {VALUE_BYTES_MAX}"),
    ],
)  # fmt: skip
def test_a_record_that_does_not_fit_changes_nothing_and_says_why(key: str, value: bytes, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        changed(TREE, key, value)
    assert sentence in str(caught.value)


def test_all_records_so_far_come_to_one() -> None:
    running = Running()
    running.take("ETH", encode("command", {"mute": True}))
    assert running.whole is None  # nobody has said yet what it differs from
    running.take(ALL, encode("worker", tree_of(TREE)))
    running.take("BTC", encode("command", {"mute": True}))
    with pytest.raises(SettingsError, match=r"detector\.assets\.BTC\.hold_ms"):
        running.take("BTC", encode("command", {"hold_ms": 0}))
    with pytest.raises(SettingsError, match="tick_lag_ms cannot change"):
        running.take(ALL, encode("command", tree_of(DetectorSettings(tick_lag_ms=7))))
    assert running.whole is not None
    after = changed(DetectorSettings(), ALL, running.whole).settings
    assert after == DetectorSettings(hold_ms=9_000, assets={"BTC": {"mute": True}})
    other = DetectorSettings(tick_lag_ms=7)  # a worker with other windows begins with a memory of its own
    running.take(ALL, encode("worker", tree_of(other)))
    assert read(running.whole).settings == tree_of(other)


def test_what_all_assets_differ_in_is_bounded() -> None:
    running = Running()
    running.take(ALL, encode("worker", tree_of(TREE)))
    expression = "events > 1" + " or events > 1" * 24
    rules = [{"name": f"rule{number}", "level": "WATCH", "expression": expression} for number in range(16)]
    tree = {"rules": rules}

    def take_until_refused() -> None:
        for number in range(100):
            running.take(f"ASSET{number}", encode("command", tree))

    with pytest.raises(SettingsError, match=f"bytes, at most {VALUE_BYTES_MAX}"):
        take_until_refused()
    assert running.whole is not None
    assert VALUE_BYTES_MAX * 0.9 < len(running.whole) <= VALUE_BYTES_MAX
