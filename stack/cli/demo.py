"""The whole flow on this machine with one command."""

from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import SettingsError
from stack.cli.console import complain, print_json


def demo(
    seconds: Annotated[
        float | None, typer.Option(min=1, help="End by itself after this, counted from when everything is up.")
    ] = None,
    frames: Annotated[
        Path | None,
        typer.Option(help="Play the captured Binance, Bybit and OKX frames of this folder, not a scenario."),
    ] = None,
    scenario: Annotated[str, typer.Option(help="calm, cascade, flash or soak.")] = "cascade",
    seed: Annotated[int, typer.Option(help="Seed of the scenario.")] = 7,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="NAME@SECONDS: database, redis, detector, producer or feed; repeat for more."),
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="The real exchanges instead of simulated ones.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="Keep data and logs in this folder; default: a temporary one.")
    ] = None,
) -> None:
    """Start everything, play simulated exchanges or listen to the real ones, show a live table, settle the account.

    The last line on stdout is one JSON object. Exit code 1 when anything was lost or doubled."""
    from runtime.logs import configure
    from runtime.settings import LogSettings
    from stack.demo.options import DemoOptions, parse_fault
    from stack.demo.run import run_demo
    from stack.simulator.scenarios import SCENARIOS

    if frames is not None and not frames.is_dir():
        raise SettingsError(f"--frames {frames} is not a folder")
    if live and (frames is not None or any(text.startswith("feed@") for text in fault or [])):
        raise SettingsError("--live: --frames and the fault `feed` are for simulated exchanges")
    if scenario not in SCENARIOS:
        raise SettingsError(f"--scenario {scenario}: say one of {', '.join(SCENARIOS)}")
    configure(LogSettings(format="console"), stage="demo")
    faults = tuple(parse_fault(text) for text in fault or [])
    account = run_demo(
        DemoOptions(seconds=seconds, scenario=scenario, seed=seed, frames=frames, faults=faults, data=data, live=live)
    )
    for sentence in account.why:
        complain(sentence)
    print_json(account)
    raise typer.Exit(1 if account.lost or account.duplicates else 0)
