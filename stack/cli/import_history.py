"""History from a file into topics of its own."""

from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import SettingsError
from stack.cli.console import print_json


def import_history(
    events: Annotated[Path, typer.Option(help="JSON lines {topic, append_time_ms, value} in log order.")],
    prefix: Annotated[str, typer.Option(help="Prefix of the topics, so that history never mixes with live events.")] = (
        "history."
    ),
) -> None:
    """Publish a file of liquidations, open interest, funding and feed health, with the journal that `detect` makes.

    A worker with kafka.topic_prefix set to the prefix then gives the same alerts and windows as `detect`. A line that
    does not fit ends the command with exit code 1 and names the line; nothing is published then."""
    from processors.import_history import import_history as publish
    from processors.settings import ProcessorSettings
    from runtime.settings import load

    tree = load(ProcessorSettings)
    kafka = tree.kafka.model_copy(update={"topic_prefix": prefix})
    try:
        with events.open("rb") as lines:
            published = publish(lines, kafka, tree.detector)
    except OSError as exc:
        raise SettingsError(f"reading {events}: {exc.strerror}") from exc
    print_json({"prefix": prefix, "published": published})
