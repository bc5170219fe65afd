"""Settings of the detector: every number of the definition of a cascade, as published, and each of them may be changed.

Times in ms, rates per second, USD, shares of 1."""

from fractions import Fraction
from itertools import pairwise
from typing import Any, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from processors.host.settings import HostSettings
from processors.market.settings import MarketSettings
from processors.overrides import check_name, placed, put_over, wrong
from processors.rules import Figures, Rule, RuleError, figures
from runtime.settings import Section, StageSettings

PANES_A_WINDOW: Final = 10  # a window is ten panes, so a hopping window moves by a tenth of its size
WINDOWS_MAX: Final = 8
PANES_MAX: Final = 4_096  # of all sizes; were all of the judged one, 1.4 MB an asset; as published 768, 120 KB in all
FLAGS: Final = ("flash_crash", "momentum", "standard_cascade", "position_unwinding", "trend", "regime")
WEIGHTS_SUM_TOLERANCE: Final = Fraction(1, 1_000_000)
RELATIVE_SIZES_MAX: Final = 3
ASSETS_MAX: Final = 1_000  # with settings of their own: more than all that there are, 10 MB of trees
SHARED: Final = ("windows", "judged_size_ms", "tick_lag_ms", "correlation", "relative.windows")
RULES_MAX: Final = 16  # of one asset: 100 parts of 1 µs each, ten times a second
DECIMALS_MAX: Final = 4  # of a ratio: 10^6 events x 10^4 x 10^5 fit an int64


class WindowSettings(Section):
    """One size of window."""

    size_ms: int = Field(ge=PANES_A_WINDOW, le=3_600_000, multiple_of=PANES_A_WINDOW)
    grace_ms: int = Field(ge=0, le=600_000, description="an event later than this is not in windows of this size")
    flag: str = Field(min_length=1, description="name of the flag that this size raises")
    flag_events: int = Field(ge=1, description="events in one window that raise it")


def panes_kept(window: WindowSettings) -> int:
    """Panes that a size keeps: two windows, the grace, and a part of a pane at each end.

    >>> panes_kept(WindowSettings(size_ms=2_000, grace_ms=5_000, flag="standard_cascade", flag_events=15))
    47"""
    pane_ms = window.size_ms // PANES_A_WINDOW
    return 2 * PANES_A_WINDOW + -(-window.grace_ms // pane_ms) + 2


class WeightSettings(Section):
    """Largest contribution of each term to the probability; together 1."""

    velocity: float = Field(0.25, ge=0, le=1)
    acceleration: float = Field(0.20, ge=0, le=1)
    volume: float = Field(0.20, ge=0, le=1)
    correlation: float = Field(0.15, ge=0, le=1)
    funding: float = Field(0.10, ge=0, le=1)
    open_interest: float = Field(0.10, ge=0, le=1)

    @model_validator(mode="after")
    def add_up(self) -> Self:
        """Weights that do not add up to 1 would move every level without a word."""
        total = sum((Fraction(getattr(self, name)) for name in type(self).model_fields), Fraction(0))
        if abs(total - 1) > WEIGHTS_SUM_TOLERANCE:
            raise ValueError(f"the six weights must add up to 1, their sum was {float(total):.6f}")
        return self


class ScoreSettings(Section):
    """What counts as full marks in each term of the probability, all of the judged size."""

    events_per_s_warning: float = Field(10, gt=0, description="context counts in full from here on")
    events_per_s_critical: float = Field(50, gt=0)
    notional_usd_per_s_warning: float = Field(10e6, gt=0, description="or from here on")
    notional_usd_per_s_critical: float = Field(50e6, gt=0)
    acceleration_events_per_s2_critical: float = Field(20, gt=0)
    funding_rate_8h_critical: float = Field(0.001, gt=0, description="a fraction; counts when the side pays it")
    open_interest_drop_pct_critical: float = Field(2, gt=0, description="over 5 min, in coins")
    boost: float = Field(1.25, ge=1, le=10, description="factor from twice the critical acceleration on")
    weights: WeightSettings = WeightSettings()


class LevelSettings(Section):
    """A level is justified above its probability or above its rate (CRITICAL: rate and acceleration together)."""

    watch_probability: float = Field(0.3, ge=0, le=1)
    alert_probability: float = Field(0.5, ge=0, le=1)
    critical_probability: float = Field(0.7, ge=0, le=1)
    extreme_probability: float = Field(0.9, ge=0, le=1)
    watch_events_per_s: float = Field(10, ge=0)
    alert_events_per_s: float = Field(20, ge=0)
    critical_events_per_s: float = Field(50, ge=0)
    critical_acceleration_events_per_s2: float = Field(20, ge=0)
    extreme_events_per_s: float = Field(100, ge=0)

    @model_validator(mode="after")
    def rise(self) -> Self:
        """A threshold below that of a lower level would make the lower level unreachable."""
        for unit in ("probability", "events_per_s"):
            keys = [f"{level}_{unit}" for level in ("watch", "alert", "critical", "extreme")]
            for lower, higher in pairwise(keys):
                if getattr(self, lower) >= getattr(self, higher):
                    raise ValueError(
                        f"{higher} must be above {lower}, was {getattr(self, higher)} against {getattr(self, lower)}"
                    )
        return self


class CorrelationSettings(Section):
    """Correlation of event counts between exchanges."""

    span_ms: int = Field(60_000, ge=10_000, le=300_000)
    bin_ms: int = Field(5_000, ge=1_000)
    lag_bin_ms: int = Field(100, ge=10, le=1_000)
    lag_ms_max: int = Field(1_000, ge=100, le=10_000)
    events_min: int = Field(20, ge=2, description="an exchange with fewer events in the span takes no part")

    @model_validator(mode="after")
    def fit(self) -> Self:
        """Bins must fill the span without a rest."""
        if self.span_ms % self.bin_ms or self.bin_ms % self.lag_bin_ms or self.lag_ms_max % self.lag_bin_ms:
            raise ValueError(
                f"bin_ms must divide span_ms, lag_bin_ms must divide bin_ms and lag_ms_max; were {self.bin_ms},"
                f" {self.span_ms}, {self.lag_bin_ms}, {self.lag_ms_max}"
            )
        if 1_000 % self.lag_bin_ms or self.span_ms < 3 * self.bin_ms:
            raise ValueError("lag_bin_ms must divide 1000 and span_ms must hold at least three of bin_ms")
        return self


class RelativeWindowSettings(Section):
    """One size of the relative profile."""

    size_ms: int
    events_min: int = Field(ge=1, le=1_000_000, description="the baseline of events is at least this")
    scale: str = Field(
        pattern=r"^[1-9]\d{0,3}(/[1-9]\d{0,3})?$", description="a window of this size must hold so many times more"
    )


class RelativeSettings(Section):
    """What is exceptional for an asset, in terms of its own last week: R = events / (baseline x scale)."""

    windows: tuple[RelativeWindowSettings, ...] = Field(
        (
            RelativeWindowSettings(size_ms=2_000, events_min=5, scale="1"),
            RelativeWindowSettings(size_ms=10_000, events_min=8, scale="4/3"),
            RelativeWindowSettings(size_ms=60_000, events_min=12, scale="2"),
        ),
        min_length=1,
        max_length=RELATIVE_SIZES_MAX,
    )
    quantile: float = Field(0.95, ge=0, le=1, description="of the hourly maxima of the last 168 hours")
    hours_min: int = Field(24, ge=1, le=168, description="whole hours that must be known")
    notional_usd_min: float = Field(5_000, ge=0, le=1e9, description="the baseline of USD is at least this")
    open_interest_share_min: float = Field(0.00001, ge=0, le=1, description="or this share of the open interest")
    usd_share: float = Field(0.5, ge=0, le=100, description="share of its USD baseline that a window must hold")
    watch_ratio: float = Field(1.5, gt=0, le=10_000)
    alert_ratio: float = Field(2, gt=0, le=10_000)
    critical_ratio: float = Field(3, gt=0, le=10_000)
    extreme_ratio: float = Field(6, gt=0, le=10_000)
    hold_ms: int = Field(30_000, ge=1, description="a level falls when no ratio justified it for so long")

    @model_validator(mode="after")
    def fit(self) -> Self:
        """Sizes and ratios rise, and ratios are exact in whole numbers."""
        sizes = [window.size_ms for window in self.windows]
        if sizes != sorted(set(sizes)):
            raise ValueError(f"windows must stand by rising size_ms, each once, were {sizes}")
        ratios = [f"{level}_ratio" for level in ("watch", "alert", "critical", "extreme")]
        for name in (*ratios, "usd_share", "quantile"):
            if Fraction(repr(getattr(self, name))) % Fraction(1, 10**DECIMALS_MAX):
                raise ValueError(f"{name} must have at most {DECIMALS_MAX} decimals, was {getattr(self, name)}")
        for lower, higher in pairwise(ratios):
            if getattr(self, lower) >= getattr(self, higher):
                raise ValueError(
                    f"{higher} must be above {lower}, was {getattr(self, higher)} against {getattr(self, lower)}"
                )
        return self


def _windows() -> tuple[WindowSettings, ...]:
    sizes = (100, 500, 2_000, 10_000, 60_000, 300_000)
    graces = (5_000, 5_000, 5_000, 5_000, 30_000, 30_000)
    events = (5, 8, 15, 35, 75, 200)
    return tuple(
        WindowSettings(size_ms=size, grace_ms=grace, flag=flag, flag_events=count)
        for size, grace, flag, count in zip(sizes, graces, FLAGS, events, strict=True)
    )


class RuleSettings(Section):
    """One custom rule."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="stands in flags as rule:<name> where it is met")
    expression: str = Field(min_length=1, description="see `processors.rules`")
    level: Literal["WATCH", "ALERT", "CRITICAL", "EXTREME"]


class DetectorSettings(Section):
    """What a cascade is. `assets`: for each asset the keys of this tree in which it differs, as a tree of its own."""

    profile: Literal["absolute", "relative", "either"] = Field(
        "absolute", description="what decides the level; either: the higher of the two"
    )
    mute: bool = Field(False, description="raise no alerts; states and windows are published all the same")
    windows: tuple[WindowSettings, ...] = Field(default_factory=_windows, min_length=1, max_length=WINDOWS_MAX)
    judged_size_ms: int = Field(2_000, description="the size whose windows give probability and level")
    hold_ms: int = Field(10_000, ge=1, description="a level falls when nothing higher was justified for so long")
    tick_lag_ms: int = Field(1_000, ge=0, description="a tick at T judges the window that ends at T - this")
    update_interval_ms: int = Field(1_000, ge=1, description="shortest time between an alert and an UPDATED one")
    state_interval_ms: int = Field(100, ge=1, description="shortest time between two states of an asset")
    score: ScoreSettings = ScoreSettings()
    levels: LevelSettings = LevelSettings()
    correlation: CorrelationSettings = CorrelationSettings()
    relative: RelativeSettings = RelativeSettings()
    rules: tuple[RuleSettings, ...] = Field((), max_length=RULES_MAX)
    assets: dict[str, dict[str, Any]] = Field({}, max_length=ASSETS_MAX, description="overrides by asset")

    @model_validator(mode="after")
    def fit(self) -> Self:
        """Sizes rise, and the judged one and those of the relative profile are among them."""
        sizes = [window.size_ms for window in self.windows]
        if sizes != sorted(set(sizes)):
            raise ValueError(f"windows must stand by rising size_ms, each once, were {sizes}")
        panes = sum(panes_kept(window) for window in self.windows)
        if panes > PANES_MAX:
            raise ValueError(f"windows need {panes} panes, at most {PANES_MAX}; shorten grace_ms of the small sizes")
        if self.judged_size_ms not in sizes:
            raise ValueError(f"judged_size_ms must be the size_ms of one of windows, was {self.judged_size_ms}")
        for window in self.relative.windows:
            if window.size_ms not in sizes:
                raise ValueError(f"relative.windows must be of sizes in windows, was {window.size_ms}")
        names = [rule.name for rule in self.rules]
        if len(set(names)) < len(names):
            raise ValueError(f"rules must have different names, were {names}")
        known = self.figures() if self.rules else {}
        for place, rule in enumerate(self.rules):
            try:
                Rule(rule.expression, known)
            except RuleError as exc:
                raise wrong(("rules", place, "expression"), f"rule {rule.name}, {exc}", rule.expression) from exc
        for asset in self.assets:
            check_name(asset)
            self.of(asset)
        return self

    def figures(self) -> Figures:
        """What the expressions of rules may name."""
        judged = next(window.flag for window in self.windows if window.size_ms == self.judged_size_ms)
        return figures([window.flag for window in self.windows], judged)

    def of(self, asset: str) -> Self:
        """The tree of one asset: this one with the asset's keys over it, and no assets in it.

        Raises ValidationError, which names the key below `assets`."""
        override = self.assets.get(asset, {})
        if "assets" in override:
            raise wrong(("assets", asset, "assets"), "must not stand in the settings of one asset", override["assets"])
        tree = self.model_dump(exclude={"assets"})
        put_over(tree, override, ("assets", asset))
        try:
            settings = type(self).model_validate(tree)
        except ValidationError as exc:
            raise placed(exc, asset, tree) from exc
        for name, mine, ours in zip(SHARED, settings.shared(), self.shared(), strict=True):
            if mine != ours:
                raise wrong(("assets", asset, *name.split(".")), "must be the same for all assets", mine)
        return settings

    def shared(self) -> tuple[Any, ...]:
        """What memory is laid out by, in the order of `SHARED`; it is the same for all assets and while running."""
        correlation = self.correlation
        return (
            [(window.size_ms, window.grace_ms, window.flag) for window in self.windows],
            self.judged_size_ms,
            self.tick_lag_ms,
            (correlation.span_ms, correlation.bin_ms, correlation.lag_bin_ms, correlation.lag_ms_max),
            [window.size_ms for window in self.relative.windows],
        )


class ProcessorSettings(StageSettings):
    """Settings of the detector's stage."""

    detector: DetectorSettings = DetectorSettings()
    market: MarketSettings = MarketSettings()
    host: HostSettings = HostSettings()
