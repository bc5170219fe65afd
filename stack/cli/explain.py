"""Why an alert was raised, from the alerts topic alone."""

import sys
from typing import Annotated

import typer

from stack.cli.console import print_json, printable


def explain(
    alert_id: Annotated[str, typer.Argument(help="As in the topic: asset, start of the episode and sequence.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object: alert, sentences, sums.")] = False,
) -> None:
    """Say in words and numbers why an alert was raised: levels, contributions, exchanges, and what is missing.

    Exit code 1 when the topic does not hold the alert."""
    from runtime.settings import StageSettings, load
    from stack.alert_log import find_alert
    from stack.explanation import explain, sentences

    alert = find_alert(
        load(StageSettings).kafka, alert_id, told=lambda count: print(f"looked at {count:,} alerts", file=sys.stderr)
    )
    if as_json:
        print_json(explain(alert))
        return
    for sentence in sentences(alert):
        typer.echo(printable(sentence))
