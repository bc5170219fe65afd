"""The three stages in the foreground, each until SIGINT or SIGTERM."""

from typing import Annotated

import typer


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


def sink() -> None:
    """Land the topics in TimescaleDB or PostgreSQL, and in Redis."""
    from runtime.settings import load
    from sinks.app import run
    from sinks.settings import SinkSettings

    run(load(SinkSettings))
