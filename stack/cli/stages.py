"""The three stages in the foreground, each until SIGINT or SIGTERM."""

from typing import Annotated

import typer

from stack.cli.workers import WORKERS_MAX, run_workers


def produce(
    exchange: Annotated[
        list[str] | None, typer.Option(help="Exchange to connect to; repeat for several. Default: all known.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="The exchanges' own addresses, whatever producers.origins says.")
    ] = False,
) -> None:
    """Take liquidations, open interest and funding from the exchanges to the topics."""
    from producers.app import run
    from producers.settings import ProducerSettings
    from runtime.settings import load

    settings = load(ProducerSettings, **({"producers": {"exchanges": exchange}} if exchange else {}))
    if live:
        settings = settings.model_copy(update={"producers": settings.producers.model_copy(update={"origins": {}})})
    run(settings)


def process() -> None:
    """Fold the topics into windows, states and cascade alerts (a Faust worker)."""
    from processors.app import run
    from processors.settings import ProcessorSettings
    from runtime.settings import load

    run(load(ProcessorSettings))


def sink(
    workers: Annotated[
        int, typer.Option(min=1, max=WORKERS_MAX, help="Processes that share the tasks; REST ports count up.")
    ] = 1,
) -> None:
    """Land the topics in the stores: TimescaleDB or PostgreSQL, Redis, and what its REST interface is told."""
    from runtime.settings import load
    from sinks.app import run
    from sinks.settings import SinkSettings

    settings = load(SinkSettings)
    if workers == 1:
        run(settings)
    else:
        raise typer.Exit(run_workers(workers, rest_port=settings.rest.port, operations_port=settings.operations.port))
