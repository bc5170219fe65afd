"""What settings are in force."""

from typing import Annotated

import typer

from stack.cli.console import print_json

app = typer.Typer(help="The settings in force.", no_args_is_help=True)


@app.command(epilog="Example: liqcascade settings show > liqcascade.toml")
def show(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Print every setting with its value, defaults included, as TOML; secrets are masked."""
    from runtime.settings import load
    from stack.settings import Settings, lines

    settings = load(Settings)
    if as_json:
        print_json(settings.model_dump(mode="json"))
    else:
        typer.echo("\n".join(lines(settings)))
