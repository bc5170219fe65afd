"""The topics, as they should be and as they are."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from stack.cli.console import print_json


def topics(
    create: Annotated[bool, typer.Option(help="Create those that are missing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List every topic with key, record, partitions, retention and the number of records it holds."""
    from runtime.kafka import create_topics, topic_names
    from runtime.settings import StageSettings, load
    from schemas.topics import TOPICS
    from stack.log_range import record_counts

    kafka = load(StageSettings).kafka
    if create:
        create_topics(kafka)
    counts = record_counts(kafka)
    names = topic_names(kafka)
    table = Table("topic", "key", "record", "partitions", "kept", "records", box=None, header_style="bold")
    for topic in TOPICS.values():
        name, retention_ms = names.of(topic), None if topic.compacted else topic.retention_ms
        record = topic.record.__name__ if topic.record else "bytes"
        partitions, records = topic.partitions(kafka.partitions), counts.get(name)
        if as_json:
            row = {"topic": name, "key": topic.key, "record": record, "partitions": partitions}
            print_json(row | {"retention_ms": retention_ms, "records": records})
            continue
        shown = "missing" if records is None else f"{records:,}"
        table.add_row(name, topic.key, record, str(partitions), _kept(retention_ms), shown)
    if not as_json:
        Console(soft_wrap=True).print(table)


def _kept(retention_ms: int | None) -> str:
    if retention_ms is None:
        return "compacted"
    return "for ever" if retention_ms < 0 else f"{retention_ms // 86_400_000} days"
