"""The whole settings tree: every stage's section in one, where an unknown key is an error."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_settings import SettingsConfigDict

from processors.settings import ProcessorSettings
from producers.settings import ProducerSettings
from sinks.settings import SinkSettings


class Settings(ProducerSettings, ProcessorSettings, SinkSettings):
    """All sections."""

    model_config = SettingsConfigDict(extra="forbid")


def lines(settings: Settings) -> Iterator[str]:
    """The tree as lines of TOML with dotted keys, secrets masked; what is not set stands as a comment."""
    yield from _lines("", settings.model_dump(mode="json"))


def _lines(prefix: str, tree: Mapping[str, Any]) -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _lines(f"{prefix}{key}.", value)
        elif value is None:
            yield f"# {prefix}{key} is not set"
        else:
            yield f"{prefix}{key} = {json.dumps(value, ensure_ascii=False)}"
