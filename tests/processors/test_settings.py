"""Settings of the detector: messages name the key."""

from typing import Any

import pytest

from processors.settings import DetectorSettings, ProcessorSettings, panes_kept
from processors.windows.layout import rules_of
from runtime.settings import load
from schemas.errors import SettingsError


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"hold_ms": 0}, "detector.hold_ms"),
        ({"judged_size_ms": 3_000}, "judged_size_ms must be the size_ms of one of windows"),
        ({"score": {"weights": {"velocity": 0.5}}}, "detector.score.weights: the six weights must add up to 1"),
        ({"levels": {"alert_probability": 0.2}}, "alert_probability must be above watch_probability"),
        ({"correlation": {"bin_ms": 7_000}}, "bin_ms must divide span_ms"),
        ({"windows": [{"size_ms": 105, "grace_ms": 0, "flag": "a", "flag_events": 1}]}, "detector.windows.0.size_ms"),
        ({"windows": []}, "detector.windows"),
        ({"thresholds": 1}, "detector.thresholds is not a setting"),
        ({"windows": [{"size_ms": 2_000, "grace_ms": 600_000, "flag": "a", "flag_events": 1},
                      {"size_ms": 1_000, "grace_ms": 0, "flag": "a", "flag_events": 1}]}, "rising size_ms"),
        ({"windows": [{"size_ms": 100, "grace_ms": 600_000, "flag": "a", "flag_events": 1}]}, "need 60022 panes"),
    ],
)  # fmt: skip
def test_a_setting_that_does_not_fit_is_named(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(ProcessorSettings, detector=given)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_panes_are_two_windows_and_the_grace() -> None:
    assert [panes_kept(window) for window in DetectorSettings().windows] == [522, 122, 47, 27, 27, 23]


def test_rates_become_whole_counts_of_a_window() -> None:
    rule = rules_of(DetectorSettings())[0]
    assert rule["level_events"].tolist() == [0, 0, 20, 40, 100, 200]
    assert rule["level_nano"].tolist() == [0, 0, 300_000_000, 500_000_000, 700_000_000, 900_000_000]
    assert (rule["critical_rise"], rule["boost_rise"], rule["full_micro_usd"]) == (80, 160, 1e14)
