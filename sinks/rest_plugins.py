"""Kinds of connectors as Connect's clients ask for them: which there are, their keys, whether settings fit."""

from typing import Any

from schemas.errors import RequestRefused
from sinks.configs import is_secret, problems_of
from sinks.configs_keys import Key, keys_of
from sinks.registry import SINKS
from sinks.rest_version import VERSION
from sinks.settings import SinkSettings

Json = Any


def plugins() -> Json:
    """All kinds."""
    return [{"class": kind, "type": "sink", "version": VERSION} for kind in SINKS]


def plugin_keys(kind: str, settings: SinkSettings) -> Json:
    """The keys of one. Raises RequestRefused."""
    if kind not in SINKS:
        raise RequestRefused(f"Unknown plugin {kind}.", 404)
    return [_definition(key, place) for place, key in enumerate(keys_of(SINKS[kind], settings), 1)]


def validate(kind: str, properties: dict[str, str], settings: SinkSettings) -> Json:
    """Every key with its value and what is wrong with it. Raises RequestRefused."""
    given = properties.get("connector.class", "")
    if given != kind:
        raise RequestRefused(f"Included connector type {given} does not match request type {kind}", 400)
    if kind not in SINKS:
        raise RequestRefused(f"Failed to find any class that implements Connector and which name matches {kind}", 400)
    problems = problems_of(properties, settings)
    keys = keys_of(SINKS[kind], settings)
    configs = [
        {
            "definition": _definition(key, place),
            "value": _value(key.name, properties.get(key.name, key.default), key.choices, problems),
        }
        for place, key in enumerate(keys, 1)
    ]
    known = {key.name for key in keys}
    configs += [
        {"definition": _definition(Key(name=name), 0), "value": _value(name, properties[name], (), problems)}
        for name in problems.keys() - known
    ]
    groups = list(dict.fromkeys(key.group for key in keys))
    return {"name": kind, "error_count": len(problems), "groups": groups, "configs": configs}


def _definition(key: Key, place: int) -> Json:
    return {
        "name": key.name,
        "type": key.type,
        "required": key.required,
        "default_value": key.default,
        "importance": key.importance,
        "documentation": key.documentation,
        "group": key.group,
        "width": "MEDIUM",
        "display_name": key.name,
        "dependents": [],
        "order": place,
    }


def _value(name: str, value: str | None, choices: tuple[str, ...], problems: dict[str, list[str]]) -> Json:
    return {
        "name": name,
        "value": "[hidden]" if value and is_secret(name) else value,
        "recommended_values": list(choices),
        "errors": problems.get(name, []),
        "visible": True,
    }
