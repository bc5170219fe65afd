"""`liqcascade audit`: is everything where it should be, once?"""

from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from runtime.clock import wall_clock_ms
from schemas.errors import SettingsError
from stack.cli.console import complain, print_json
from stack.cli.replay import to_time_ms

NAMED_MAX: Final = 20
WIDTH_MAX: Final = 500  # of the table: a name that is cut off says nothing


def audit(
    from_: Annotated[str, typer.Option("--from", help="First append time: an ISO time (UTC if it says none) or ms.")],
    to: Annotated[str | None, typer.Option(help="Append time behind the last; default: now.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with every missing and doubled id.")] = False,
) -> None:
    """Compare the topics with what the sinks have landed, and name every missing or doubled id.

    A record that a connector has not come to yet waits and is not missing; one that it refused must be in the dead
    letters. Exit code 1 when something is missing or doubled."""
    from runtime.settings import load
    from sinks.settings import SinkSettings
    from stack.audit import audit as settle

    from_ms = to_time_ms("--from", from_)
    to_ms = wall_clock_ms() if to is None else to_time_ms("--to", to)
    if to_ms <= from_ms:
        raise SettingsError(f"--to {to} must be after --from {from_}")
    account = settle(load(SinkSettings), from_ms=from_ms, to_ms=to_ms)
    if as_json:
        print_json(
            {"from_ms": from_ms, "to_ms": to_ms, "missing": account.missing, "doubled": account.doubled}
            | msgspec.to_builtins(account)
        )
        raise typer.Exit(1 if account.missing or account.doubled else 0)
    columns = ("connector", "topic", "records", "ids", "landed", "dead_letters", "waiting", "kept_no_longer")
    table = Table(*(name.replace("_", " ") for name in columns), "missing", "doubled", box=None, header_style="bold")
    for line in account.lines:
        cells = [getattr(line, name) for name in columns]
        cells += [len(line.missing), len(line.doubled)]
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells))
    console = Console(soft_wrap=True)
    console.width = max(console.width, Measurement.get(console, console.options.update(width=WIDTH_MAX), table).maximum)
    console.print(table)
    for line in account.lines:
        for what, ids in (("missing", line.missing), ("doubled", line.doubled)):
            for identity in ids[:NAMED_MAX]:
                complain(f"{what} in {line.connector}: {identity} of {line.topic}")
            if len(ids) > NAMED_MAX:
                complain(f"{what} in {line.connector}: {len(ids) - NAMED_MAX:,} more of {line.topic}; --json names all")
    for name in account.not_audited:
        typer.echo(f"{name} is not audited: its store cannot be asked", err=True)
    raise typer.Exit(1 if account.missing or account.doubled else 0)
