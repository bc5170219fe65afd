"""Settings in force: one tree for all assets, changed by records of settings.assets. Pure.

A record is JSON, {"origin": "worker" or "command", "settings": {…}}. Under the key `*` stands the whole tree with the
overrides of all assets, and replaces everything; under an asset stand its overrides, all of them. A worker publishes
its own tree at the start where it differs from the newest one of a worker: what a command has changed since then
outlives restarts, and a changed file takes over."""

from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple

import msgspec
from pydantic import ValidationError

from processors.overrides import check_name
from processors.settings import ASSETS_MAX, SHARED, DetectorSettings
from runtime.settings import sentences
from schemas.errors import SettingsError

ALL: Final = "*"
VALUE_BYTES_MAX: Final = 500_000  # of a record: 300 assets with 20 overrides of 50 bytes each take 300 KB
Origin = Literal["worker", "command"]


class SettingsRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Value of a record of settings.assets."""

    origin: Origin
    settings: dict[str, Any]


class Changed(NamedTuple):
    """What a record changed."""

    settings: DetectorSettings  # the whole tree from here on
    asset: str | None  # the only asset that it changed, None: any


def encode(origin: Origin, settings: dict[str, Any]) -> bytes:
    """Value of a record."""
    return msgspec.json.encode(SettingsRecord(origin, settings), order="deterministic")


def tree_of(settings: DetectorSettings) -> dict[str, Any]:
    """The whole tree as it stands in a record."""
    return settings.model_dump(mode="json")


def read(value: bytes) -> SettingsRecord:
    """Value of a record. Raises SettingsError."""
    if len(value) > VALUE_BYTES_MAX:
        raise SettingsError(f"settings record: {len(value)} bytes, at most {VALUE_BYTES_MAX}")
    try:
        return msgspec.json.decode(value, type=SettingsRecord)
    except msgspec.MsgspecError as exc:
        raise SettingsError(f"settings record: {exc}") from exc


def changed(now: DetectorSettings, key: str, value: bytes) -> Changed:
    """The tree after a record. Raises SettingsError, which names the key, for one that does not fit."""
    record = read(value)
    if key == ALL:
        return Changed(_after(now, record.settings), None)
    if not key:
        raise SettingsError("settings record: its key must be an asset or *, was empty")
    assets = {asset: override for asset, override in now.assets.items() if asset != key}
    if record.settings:
        assets[key] = record.settings
    if len(assets) > ASSETS_MAX:
        raise SettingsError(f"settings record: detector.assets would hold {len(assets)} assets, at most {ASSETS_MAX}")
    settings = now.model_copy(update={"assets": assets})
    try:
        check_name(key)
        settings.of(key)  # of all the others it is known that they fit
    except ValidationError as exc:
        raise SettingsError("settings record: " + sentences(exc, below="detector")) from exc
    return Changed(settings, key)


def _whole(value: dict[str, Any]) -> DetectorSettings:
    try:
        return DetectorSettings.model_validate(value)
    except ValidationError as exc:
        raise SettingsError("settings record: " + sentences(exc, below="detector")) from exc


def _after(now: DetectorSettings, tree: dict[str, Any]) -> DetectorSettings:
    settings = _whole(tree)
    for name, given, held in zip(SHARED, settings.shared(), now.shared(), strict=True):
        if given != held:
            raise SettingsError(
                f"settings record: detector.{name} cannot change while the detector runs, was {given} against {held};"
                " stop every worker, change the file and remove the snapshots"
            )
    return settings


class History(NamedTuple):
    """What the records of settings.assets come to."""

    settings: DetectorSettings  # in force
    of_worker: DetectorSettings | None  # the newest tree that a worker has published
    refused: list[str]  # why records changed nothing


def after_all(first: DetectorSettings, records: Iterable[tuple[str, bytes]]) -> History:
    """What (key, value) of all records come to, in the order of the topic, where `first` holds before them."""
    settings, of_worker, refused = first, None, []
    for key, value in records:
        try:
            settings = changed(settings, key, value).settings
        except SettingsError as exc:
            refused.append(str(exc))
            continue
        if key == ALL and read(value).origin == "worker":
            of_worker = settings
    return History(settings, of_worker, refused)


class Running:
    """Follows the records of settings.assets and says what all of them come to, as the value of one record."""

    def __init__(self) -> None:
        self._settings: DetectorSettings | None = None
        self.whole: bytes | None = None  # of a record under `*`; None before the first one that says all

    def take(self, key: str, value: bytes) -> None:
        """Take the next record. Raises SettingsError, which names the key, for one that does not fit; it changes
        nothing then.

        A worker's own tree may have other windows than the one before: it is what its memory is laid out by."""
        record = read(value)
        if key == ALL and (self._settings is None or record.origin == "worker"):
            settings = _whole(record.settings)
        elif self._settings is None:
            return
        else:
            settings = changed(self._settings, key, value).settings
        whole = encode(record.origin, tree_of(settings))
        if len(whole) > VALUE_BYTES_MAX:
            raise SettingsError(
                f"settings record: the settings of all assets would take {len(whole)} bytes, at most {VALUE_BYTES_MAX}"
            )
        self._settings, self.whole = settings, whole
