"""Settings of the producers' stage."""

import os
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from producers.exchanges import ADAPTERS
from runtime.settings import RedisSettings, Section, StageSettings

SCHEMES: Final = ("http://", "https://", "ws://", "wss://")


def cache_folder_default() -> Path:
    """$XDG_CACHE_HOME/liqcascade, or ~/.cache/liqcascade."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "liqcascade"


def _known(name: str) -> str:
    if name not in ADAPTERS:
        raise ValueError(f"{name!r} is not an exchange that is known; known are {', '.join(ADAPTERS)}")
    return name


def _origin(url: str) -> str:
    if not url.startswith(SCHEMES):
        raise ValueError(f"an origin begins with one of {', '.join(SCHEMES)}")
    return url.rstrip("/")


ExchangeName = Annotated[str, AfterValidator(_known)]
Origin = Annotated[str, AfterValidator(_origin)]


class ProducersSection(Section):
    """Which exchanges, where they are, and the limits of their feeds."""

    exchanges: list[ExchangeName] = Field(list(ADAPTERS), min_length=1, description="exchanges to listen to")
    origins: dict[ExchangeName, Origin] = Field(
        {}, description="exchange -> scheme, host and path prefix that replace its official ones, websocket and REST"
    )
    cache_folder: Path = Field(
        default_factory=cache_folder_default, description="keeps the tables of instruments for a start without REST"
    )
    queue_messages_max: int = Field(
        100_000, ge=100, le=10_000_000, description="records waiting for the broker; at the limit the feeds wait"
    )
    backoff_ms_base: int = Field(500, ge=1, le=60_000, description="first wait before a reconnect, doubled each time")
    backoff_ms_max: int = Field(30_000, ge=1, le=600_000, description="longest wait before a reconnect")
    stable_ms: int = Field(60_000, ge=1, description="a connection that held this long resets the wait")
    silent_ms_min: int = Field(
        60_000, ge=100, description="no silence of a channel shorter than this is told, whatever its usual gap is"
    )
    silent_ms_unlearned: int = Field(
        1_800_000, ge=100, description="how long a channel may be without data while its usual gap is not known"
    )
    record_folder: Path | None = Field(
        None, description="record every frame as received to this folder, beside publishing"
    )
    raw_frames: bool = Field(False, description="publish every frame as received to the topic of raw frames")


class ProducerSettings(StageSettings):
    """Settings of `liqcascade produce`."""

    producers: ProducersSection = ProducersSection()
    redis: RedisSettings = RedisSettings()
