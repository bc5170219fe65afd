"""The whole settings tree: every stage's section in one, where an unknown key is an error."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from processors.settings import ProcessorSettings
from producers.settings import ProducerSettings
from sinks.settings import SinkSettings

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Settings(ProducerSettings, ProcessorSettings, SinkSettings):
    """All sections."""

    model_config = SettingsConfigDict(extra="forbid")


def lines(settings: Settings) -> Iterator[str]:
    """The tree as lines of TOML that can be read again: what is secret or not set stands as a comment."""
    yield from tree_lines(settings.model_dump())


def tree_lines(tree: Mapping[str, Any]) -> Iterator[str]:
    """Any tree of settings in the same way."""
    yield from _lines("", tree)


def _lines(prefix: str, tree: Mapping[str, Any]) -> Iterator[str]:
    for name, value in tree.items():
        key = name if BARE_KEY.fullmatch(name) else json.dumps(name, ensure_ascii=False)
        if isinstance(value, dict) and value:
            yield from _lines(f"{prefix}{key}.", value)
        elif isinstance(value, SecretStr):
            yield f"# {prefix}{key} is {'set, and secret' if value.get_secret_value() else 'not set'}"
        elif value is None:
            yield f"# {prefix}{key} is not set"
        else:
            yield f"{prefix}{key} = {_toml(value)}"


def _toml(value: Any) -> str:
    """A value as TOML writes it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
