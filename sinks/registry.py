"""Every sink by its name: a new one is a module and a line here."""

from typing import Final

from schemas.errors import SettingsError
from sinks.connector import Connector
from sinks.redis import RedisSink
from sinks.settings import FLUSH_MS_MAX, SinkSettings
from sinks.timescale import TimescaleSink

SINKS: Final[dict[str, type[Connector]]] = {sink.kind: sink for sink in (TimescaleSink, RedisSink)}


def enabled_sinks(settings: SinkSettings) -> list[type[Connector]]:
    """The sinks that the settings name. Raises SettingsError for a name that is none, or a wait that is too long."""
    known = ", ".join(SINKS)
    for key, names in (("sinks.enabled", settings.sinks.enabled), ("sinks.flush_ms", settings.sinks.flush_ms)):
        for name in names:
            if name not in SINKS:
                raise SettingsError(f"{key}: there is no sink {name!r}; choose of {known}")
    for name, flush_ms in settings.sinks.flush_ms.items():
        if not 0 < flush_ms <= FLUSH_MS_MAX:
            raise SettingsError(f"sinks.flush_ms.{name}: {flush_ms} ms is not within 1 and {FLUSH_MS_MAX}")
    return [SINKS[name] for name in dict.fromkeys(settings.sinks.enabled)]
