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
    from stack.reading import record_counts

    kafka = load(StageSettings).kafka
    if create:
        create_topics(kafka)
    counts = record_counts(kafka)
    names = topic_names(kafka)
    rows = [
        {
            "topic": names.of(topic),
            "key": topic.key,
            "record": topic.record.__name__ if topic.record else "bytes",
            "partitions": topic.partitions(kafka.partitions),
            "retention_ms": None if topic.compacted else topic.retention_ms,
            "records": counts.get(names.of(topic)),
        }
        for topic in TOPICS.values()
    ]
    if as_json:
        for row in rows:
            print_json(row)
        return
    table = Table("topic", "key", "record", "partitions", "kept", "records", box=None, header_style="bold")
    for row in rows:
        records = "missing" if row["records"] is None else f"{row['records']:,}"
        table.add_row(
            str(row["topic"]), str(row["key"]), str(row["record"]), str(row["partitions"]), _kept(row), records
        )
    Console().print(table)


def _kept(row: dict[str, object]) -> str:
    retention_ms = row["retention_ms"]
    if retention_ms is None:
        return "compacted"
    assert isinstance(retention_ms, int)
    return "for ever" if retention_ms < 0 else f"{retention_ms // 86_400_000} days"
