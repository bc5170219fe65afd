"""Settings of the market stage: when many assets cascade together. Times in ms."""

from itertools import pairwise
from typing import Final, Self

from pydantic import Field, model_validator

from runtime.settings import Section

LEVELS: Final = ("watch", "alert", "critical", "extreme")


class MarketSettings(Section):
    """A level is justified from so many assets on that are exceptional at once."""

    watch_assets: int = Field(5, ge=1)
    alert_assets: int = Field(15, ge=1)
    critical_assets: int = Field(40, ge=1)
    extreme_assets: int = Field(80, ge=1)
    ratio: float = Field(1.5, gt=0, description="an asset is exceptional from this R on")
    breadth_ms: int = Field(30_000, ge=1_000, le=60_000, description="and counts for so long; one in WATCH while it is")
    hold_ms: int = Field(10_000, ge=1, le=60_000, description="a level falls when nothing higher was justified so long")
    update_interval_ms: int = Field(1_000, ge=1, description="shortest time between an alert and an UPDATED one")
    blind_ms: int = Field(10_000, ge=2_000, description="a partition without progress for so long is named")
    correlation_min: float = Field(0.5, ge=0, le=1, description="from here on contagion between two assets is named")
    lag_s_max: int = Field(10, ge=1, le=20)

    @model_validator(mode="after")
    def rise(self) -> Self:
        """A threshold below that of a lower level would make the lower level unreachable."""
        for lower, higher in pairwise([f"{level}_assets" for level in LEVELS]):
            if getattr(self, lower) >= getattr(self, higher):
                raise ValueError(
                    f"{higher} must be above {lower}, was {getattr(self, higher)} against {getattr(self, lower)}"
                )
        return self
