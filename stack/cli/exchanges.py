"""Which exchanges are live, as their producers announce it in Redis."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stack.cli.console import print_json, printable

STYLES = {"LIVE": "green", "SUBSCRIBED": "green", "CONNECTED": "yellow", "SILENT": "yellow"}


def exchanges(as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False) -> None:
    """Print every channel of every exchange that a running producer announces; exit code 1 when there is none."""
    from producers.presence import present
    from runtime.settings import load
    from sinks.settings import SinkSettings

    records = list(present(load(SinkSettings).redis))
    table = Table("exchange", "channel", "state", "since (UTC)", "", box=None, header_style="bold")
    for record in records:
        if as_json:
            print_json(record)
            continue
        since = datetime.fromtimestamp(record.since_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        state = f"[{STYLES.get(record.state, 'red')}]{record.state}[/]"
        table.add_row(
            record.exchange, escape(printable(record.channel)), state, since, escape(printable(record.detail))
        )
    if not as_json:
        Console(soft_wrap=True).print(table if records else "no producer announces an exchange")
    raise typer.Exit(0 if records else 1)
