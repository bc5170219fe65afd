"""The last liquidations of an asset."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stack.cli.console import print_json, printable

if TYPE_CHECKING:
    from stack.last_events import Event

COLUMNS = ("event time (UTC)", "exchange", "instrument", "side", "USD", "price", "lag ms", "completeness")
COUNT_MAX = 100_000


def events(
    asset: Annotated[str, typer.Argument(help="As in the topics, such as BTC.")],
    last: Annotated[int, typer.Option(min=1, max=COUNT_MAX, help="How many, the newest.")] = 1_000,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, all fields.")] = False,
) -> None:
    """Print the last liquidations of an asset, oldest first, each once.

    Exit code 1 when there is none."""
    from runtime.settings import StageSettings, load
    from stack.last_events import last_events

    found = last_events(load(StageSettings).kafka, asset, last)
    table = Table(*COLUMNS, box=None, header_style="bold")
    for event in found.events:
        if as_json:
            print_json(_row(event))
        else:
            table.add_row(*(escape(printable(cell)) for cell in _cells(event)))
    if not as_json and found.events:
        Console(soft_wrap=True).print(table)
    if len(found.events) < last:
        why = "the topic holds no more" if found.is_all else "further back was not read"
        typer.echo(
            f"{len(found.events):,} liquidations of {printable(asset)} among the last {found.looked_back:,} records of"
            f" its partition; {why}",
            err=True,
        )
    raise typer.Exit(0 if found.events else 1)


def _row(event: "Event") -> dict[str, Any]:
    return {"offset": event.offset, "append_time_ms": event.append_time_ms, "value": event.liquidation}


def _cells(event: "Event") -> tuple[str, ...]:
    one = event.liquidation
    time = datetime.fromtimestamp(one.event_time_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    lag = f"{event.append_time_ms - one.event_time_ms:,}{' (backlog)' if one.backlog else ''}"
    usd, price = f"{one.notional_usd:,.2f}", str(one.price)
    return time, one.exchange, one.instrument, one.side, usd, price, lag, one.completeness
