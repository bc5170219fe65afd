"""A range of the live topics through the detector once more."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from schemas.errors import SettingsError
from stack.cli.console import complain, print_json

EXAMPLES = "2026-11-23T12:00, 2026-11-23T14:00+02:00 or 1795435200000"


def replay(
    from_: Annotated[str, typer.Option("--from", help="First moment: an ISO time (UTC if it says none) or ms.")],
    alerts: Annotated[Path, typer.Option(help="Where the alerts go, as JSON lines.")],
    to: Annotated[str | None, typer.Option(help="Moment behind the last; default: the end as it is now.")] = None,
    verify: Annotated[bool, typer.Option(help="Compare with the alerts topic, field by field.")] = False,
) -> None:
    """Fold a range of the topics with its journal again and write the alerts that it gave; those of the market (*) are
    folded from signals.state, as far back as it is kept and as far as a worker has come.

    The last line is JSON; with --verify it counts the alerts that are missing in the topic, extra there or different,
    shows the first difference, and names episodes that began before what can be replayed. Exit code 1 if any
    differs."""
    from processors.replay import Replay
    from processors.settings import ProcessorSettings
    from runtime.settings import load
    from schemas.codec import to_json

    from_ms, to_ms = to_time_ms("--from", from_), None if to is None else to_time_ms("--to", to)
    if to_ms is not None and to_ms <= from_ms:
        raise SettingsError(f"--to {to} must be after --from {from_}")
    if alerts.is_dir() or not alerts.absolute().parent.is_dir():
        raise SettingsError(f"writing {alerts}: name a file in a folder that is there")
    tree = load(ProcessorSettings)
    range_ = Replay(tree.kafka, tree.detector, tree.market, from_ms=from_ms, to_ms=to_ms)
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("replaying", total=range_.records)
        result = range_.run(verify=verify, told=lambda records: progress.advance(task, records))
        progress.update(task, completed=range_.records)
    with alerts.open("wb") as out:
        out.writelines(to_json(alert) + b"\n" for alert in result.alerts)
    counts = {"alerts": len(result.alerts)}
    if not verify:
        print_json(counts)
        return
    first = result.first_difference
    if first is not None:
        complain(f"{first.alert_id}: {first.field} was published as {first.published}, replayed as {first.replayed}")
    names = ("verified", "missing", "extra", "different", "doubled", "not_verified")
    print_json(
        counts
        | {name: getattr(result, name) for name in names}
        | {"first_difference": None if first is None else first._asdict()}
    )
    raise typer.Exit(1 if first is not None else 0)


def to_time_ms(option: str, text: str) -> int:
    """An ISO time or ms as ms. Raises SettingsError, naming the option."""
    if text.isdecimal():
        return int(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError as exc:
        raise SettingsError(f"{option} {text}: say a time like {EXAMPLES}") from exc
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1_000)
