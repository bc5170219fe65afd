"""Custom rules: what may stand in an expression, and when it is met."""

import msgspec
import pytest

from processors.rules import EXPRESSION_CHARS_MAX, Published, Rule, RuleError, figures
from processors.settings import FLAGS, DetectorSettings, ProcessorSettings
from runtime.settings import load
from schemas.errors import SettingsError
from schemas.records import AssetState
from schemas.topics import STATE
from tests.processors.logs import cascade_log, fold_all, new_detector

KNOWN = figures(FLAGS, "standard_cascade")


@pytest.fixture(scope="module")
def record() -> Published:
    outputs = fold_all(new_detector(), cascade_log(5)[:2_500])
    states = [one.record for one in outputs if one.topic is STATE]
    return next(one for one in reversed(states) if isinstance(one, AssetState) and one.probability > 0.5)


def test_every_figure_can_be_named(record: Published) -> None:
    for name, figure in KNOWN.items():
        value = figure(record)
        assert value is None or isinstance(value, int | float), name
        Rule(f"{name} > 0", KNOWN).met(record)
    assert KNOWN["events_per_s"](record) == record.windows[2].events_per_s
    assert KNOWN["flash_crash_events"](record) == record.windows[0].events
    assert KNOWN["bybit_share"](record) == record.exchanges["bybit"].share


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("events_per_s > 8", True),
        ("events_per_s > 8 and long_share > 0.5 and not probability < 0.5", True),
        ("1 < events_per_s <= 1000", True),
        ("max(flash_crash_events, momentum_events, 3) >= 3", True),
        ("abs(-events) + -2 * 3 / 4 == events - 1.5", True),
        ("probability > 1 or velocity_term == 0.25", True),
        ("open_interest_change_5m_pct < 0", False),  # no data
        ("open_interest_change_5m_pct < 0 or events > 1", False),  # asked for first
        ("events > 1 or open_interest_change_5m_pct < 0", True),  # not asked for
        ("not funding_rate_8h > 0", False),
        ("1 / 0 < 1", False),
        ("events + " + "*".join(["1000000000000000"] * 25) + " > 1", False),  # no float holds it
    ],
)
def test_a_rule_is_met_by_figures_with_data(record: Published, expression: str, expected: bool) -> None:
    rule = Rule(expression, KNOWN)
    assert rule.met(record) is expected
    assert rule.met(msgspec.structs.replace(record)) is expected


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("events > > 1", "column 10: invalid syntax"),
        ("event_per_s > 1", "column 1: there is no figure 'event_per_s'; did you mean events_per_s?"),
        ("events + 1", "it must say yes or no"),
        ("events > 'x'", "column 10: only numbers"),
        ("events > True", "only numbers"),
        ("events > 1e400", "only numbers"),
        ("events ** 9 > 1", "Pow is not allowed"),
        ("events.real > 1", "Attribute is not allowed"),
        ("__import__('os').system('true') > 1", "only abs(), min() and max()"),
        ("open(1) > 1", "only abs(), min() and max()"),
        ("abs(1, 2) > 1", "abs() takes one"),
        ("min > 1", "there is no figure 'min'"),
        ("[events][0] > 1", "Subscript is not allowed"),
        ("(lambda: 1)() > 1", "only abs()"),
        ("(x := 1) > 1", "NamedExpr is not allowed"),
        ("events in (1, 2)", "In is not allowed"),
        ("1 if events > 1 else 2", "IfExp is not allowed"),
        ("events > " + "1" * EXPRESSION_CHARS_MAX, "characters, at most 500"),
        ("events > 1" + " or events > 1" * 34, "parts, at most 100"),
        ("(" * 240 + "1" + ")" * 240, "too many nested"),
        ("\0", ""),
    ],
)
def test_an_expression_that_does_not_fit_is_refused(expression: str, sentence: str) -> None:
    with pytest.raises(RuleError) as caught:
        Rule(expression, KNOWN)
    assert sentence in str(caught.value)


def test_settings_name_rule_and_column() -> None:
    rules = [{"name": "fast", "level": "WATCH", "expression": "events > 1"}]
    wrong = {"name": "longs", "level": "ALERT", "expression": "long_shar > 0.9"}
    for given, key in (
        ({"rules": [*rules, wrong]}, "detector.rules.1.expression: rule longs, column 1"),
        ({"assets": {"BTC": {"rules": [wrong]}}}, "detector.assets.BTC.rules.0.expression: rule longs, column 1"),
        ({"rules": rules * 2}, "detector: rules must have different names"),
        ({"rules": [rules[0] | {"level": "NONE"}]}, "detector.rules.0.level: must be 'WATCH'"),
        ({"rules": [rules[0] | {"name": "no spaces"}]}, "detector.rules.0.name"),
    ):
        with pytest.raises(SettingsError) as caught:
            load(ProcessorSettings, detector=given)
        assert key in str(caught.value)
    assert load(ProcessorSettings, detector={"rules": rules}).detector.rules[0].name == "fast"


def test_an_asset_may_have_rules_of_its_own() -> None:
    rule = {"name": "fast", "level": "WATCH", "expression": "trend_events > 1"}
    settings = DetectorSettings(assets={"BTC": {"rules": [rule]}})
    assert [one.name for one in settings.of("BTC").rules] == ["fast"]
    assert settings.of("ETH").rules == ()
