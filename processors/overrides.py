"""Settings of one asset over those of all: merging, and errors that name the key as it stands in the whole tree."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError


def put_over(tree: dict[str, Any], override: Mapping[str, Any], place: tuple[str, ...]) -> None:
    """Put an override over a dumped tree; windows are named by their flag, those of the relative profile by size.

    Raises ValidationError, which names the key below `place`, for a window that is not there."""
    for key, value in override.items():
        below = tree.get(key)
        if isinstance(below, tuple) and isinstance(value, Mapping):
            named = {str(one.get("flag", one["size_ms"])): dict(one) for one in below}
            for name, part in value.items():
                if name not in named or not isinstance(part, Mapping):
                    known = ", ".join(named)
                    raise wrong((*place, key, name), f"must be a table, and its name one of {known}", part)
                named[name].update(part)
            tree[key] = tuple(named.values())
        elif isinstance(below, dict) and isinstance(value, Mapping):
            put_over(below, value, (*place, key))
        else:
            tree[key] = value


def check_name(asset: str) -> None:
    """Raises ValidationError for what can be no asset: settings under a wrong name would hold for nothing."""
    if not asset or asset == "*" or asset != asset.strip().upper():
        raise wrong(("assets", asset), "must be an asset as it stands in the topics, such as BTC", asset)


def wrong(place: tuple[int | str, ...], sentence: str, given: Any) -> ValidationError:
    """An error at one key."""
    kind = PydanticCustomError("override", "{sentence}", {"sentence": sentence})
    error = InitErrorDetails(type=kind, loc=place, input=given)
    return ValidationError.from_exception_data("settings", [error])


def placed(found: ValidationError, asset: str, tree: Mapping[str, Any]) -> ValidationError:
    """The same errors as they stand in the whole tree: below the asset, windows by name instead of by number."""
    errors: list[InitErrorDetails] = []
    for error in found.errors():
        loc = list(error["loc"])
        for at in range(1, len(loc)):
            if loc[at - 1] == "windows" and isinstance(loc[at], int):
                windows = tree["relative"]["windows"] if loc[0] == "relative" else tree["windows"]
                loc[at] = str(windows[loc[at]].get("flag", windows[loc[at]].get("size_ms")))
        sentence = error["msg"].removeprefix("Value error, ")
        kind: Any = error["type"]
        if kind != "extra_forbidden":
            kind = PydanticCustomError("override", "{sentence}", {"sentence": sentence})
        errors.append(InitErrorDetails(type=kind, loc=("assets", asset, *loc), input=error["input"]))
    return ValidationError.from_exception_data("settings", errors)
