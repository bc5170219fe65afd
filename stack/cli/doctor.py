"""Checks each server and says what to do."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from stack.cli.console import print_json, printable


def doctor(as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False) -> None:
    """Check settings, Kafka, topics, schema registry, database, Redis and disk; exit code 1 when one is not well."""
    from stack.doctor import examine

    console, well = Console(soft_wrap=True, highlight=False), True
    for finding in examine():
        well = well and finding.ok
        if as_json:
            print_json(asdict(finding))
            continue
        mark = "[green]ok[/]  " if finding.ok else "[bold red]no[/]  "
        console.print(f"{mark}{finding.check:<16}{escape(printable(finding.found))}")
        if finding.advice:
            console.print(f"    {'':<16}[yellow]{escape(finding.advice)}[/]")
    raise typer.Exit(0 if well else 1)
