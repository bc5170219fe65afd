"""`liqcascade stack`: Kafka, PostgreSQL and Redis on this machine."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from stack.cli.console import print_json

if TYPE_CHECKING:
    from stack.supervisor import StackStatus

app = typer.Typer(help="Kafka, PostgreSQL and Redis on this machine, without Docker.", no_args_is_help=True)
Data = Annotated[
    Path, typer.Option(envvar="LIQCASCADE_DATA", help="Folder for their data; one stack a folder.", show_default=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]
DATA = Path("var/stack")


@app.command(epilog="Example: eval $(liqcascade stack up --detach) && liqcascade doctor")
def up(
    data: Data = DATA,
    detach: Annotated[bool, typer.Option(help="Leave them running; `stack down` ends them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start the servers and print their URLs as environment settings.

    Without --detach they end with this command. A server whose URL is set in the environment is not started."""
    from runtime.logs import configure
    from runtime.settings import LogSettings
    from stack import supervisor

    configure(LogSettings(format="console"), stage="stack")
    given = {name: os.environ[name] for name in supervisor.VARIABLES if os.environ.get(name)}

    def announce(status: "StackStatus") -> None:
        if as_json:
            print_json(asdict(status))
        else:
            typer.echo("\n".join(f"export {name}={url}" for name, url in status.environment.items()))
        if status.already:
            typer.echo(f"the stack in {status.data} was up already (process {status.pid})", err=True)
        elif not detach:
            typer.echo(f"up in {status.data}; Ctrl-C ends it", err=True)

    supervisor.up(data, detach=detach, given=given, announce=announce)


@app.command(epilog="Example: liqcascade stack down")
def down(data: Data = DATA) -> None:
    """End the servers; their data stay."""
    from stack import supervisor

    typer.echo("ended" if supervisor.down(data) else f"nothing runs in {data}", err=True)


@app.command(epilog="Example: liqcascade stack status --json")
def status(data: Data = DATA, as_json: AsJson = False) -> None:
    """Print what runs; exit code 1 when the stack is down."""
    from stack import supervisor

    now = supervisor.status(data)
    if as_json:
        print_json(asdict(now))
    else:
        table = Table("server", "state", "process", "url", "MB", box=None, header_style="bold")
        for server in now.servers:
            state = "[green]up[/]" if server.up else "[red]down[/]"
            megabytes = f"{server.bytes_used / 1e6:,.1f}"
            table.add_row(server.name, state, str(server.pid or "-"), server.url or "-", megabytes)
        Console(soft_wrap=True).print(table)
    raise typer.Exit(0 if now.up else 1)
