"""Frames on stdin to events on stdout, without any server."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer


def decode(
    exchange: Annotated[
        str, typer.Option(help="Whose frames they are: binance, bybit, okx, hyperliquid, gate, bitget.")
    ],
    kind: Annotated[str, typer.Option(help="What to take from them: liquidation, open-interest, funding.")],
    instruments: Annotated[
        Path | None,
        typer.Option(
            help="JSON lines {exchange, instrument, asset, market, contract_size, inverse}, before the shipped ones."
        ),
    ] = None,
    received_time: Annotated[int, typer.Option(help="Receive time of all frames, µs since 1970 UTC.")] = 0,
    at: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="When they were captured (UTC), for formats of old."
        ),
    ] = None,
) -> None:
    """Read one raw frame or REST body a line on stdin and print the normalised events as JSON lines.

    A frame that is refused gives a line {"error": …, "line": n} and exit code 1 at the end; acks and frames of other
    kinds give nothing. A contract whose size is in no table is not refused: its events have null for what hangs on the
    size, and `contracts`, and a sentence on stderr says how to give the size."""
    from producers.decode import decode_lines
    from stack.cli.console import printable

    told = 0
    decoded = decode_lines(
        sys.stdin.buffer,
        exchange=exchange,
        kind=kind,
        instruments=instruments,
        received_time_us=received_time,
        at_ms=None if at is None else round(at.replace(tzinfo=UTC).timestamp() * 1_000),
    )
    for line in decoded:
        sys.stdout.write(line + "\n")
        if len(decoded.unsized) > told:  # the last one is new
            told += 1
            sys.stderr.write(printable(list(decoded.unsized.values())[-1]) + "\n")
    sys.stdout.flush()
    raise typer.Exit(1 if decoded.refused else 0)
