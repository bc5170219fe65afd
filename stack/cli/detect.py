"""The detector over a file, without any server."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import SettingsError


def detect(
    events: Annotated[Path, typer.Option(help="JSON lines {topic, append_time_ms, value} in log order.")],
    alerts: Annotated[Path, typer.Option(help="Where the alerts go, as JSON lines.")],
    windows: Annotated[Path, typer.Option(help="Where the closed windows go, as JSON lines.")],
    market: Annotated[bool, typer.Option(help="Also the alerts of the market (*), over all assets.")] = False,
    settings: Annotated[Path | None, typer.Option(help="Settings (TOML) instead of liqcascade.toml.")] = None,
) -> None:
    """Fold a file of liquidations, open interest, funding and feed health; write what the detector says of it.

    A line that does not fit ends the command with exit code 1 and names the line; nothing is written then."""
    from processors.detect import detect as fold
    from processors.history import read_history
    from processors.settings import ProcessorSettings
    from runtime.settings import FILE_VARIABLE, load
    from schemas.codec import to_json
    from schemas.records import Record

    if settings is not None:
        os.environ[FILE_VARIABLE] = str(settings)
    tree = load(ProcessorSettings)
    for path in (alerts, windows):
        if not path.absolute().parent.is_dir():
            raise SettingsError(f"writing {path}: there is no folder {path.absolute().parent}; make it first")
    try:
        with events.open("rb") as lines:
            parts = read_history(lines, partitions=tree.kafka.partitions)
    except OSError as exc:
        raise SettingsError(f"reading {events}: {exc.strerror}") from exc
    found, closed = fold(parts, tree.detector, tree.market if market else None)

    def write(path: Path, records: Iterable[Record]) -> None:
        try:
            with path.open("wb") as out:
                out.writelines(to_json(record) + b"\n" for record in records)
        except IsADirectoryError as exc:
            raise SettingsError(f"writing {path}: it is a folder, name a file in it") from exc

    write(alerts, found)
    write(windows, closed)
