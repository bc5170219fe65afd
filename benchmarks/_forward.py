"""`python -m benchmarks._forward BROKERS FROM TO`: a bare Faust agent that forwards each record, default settings."""

import sys
import tempfile
from typing import Any, Final

import faust

BROKERS, SOURCE, TARGET = sys.argv[1:]
READY: Final = "forwarding"

app = faust.App(
    "bench-forward", broker=f"kafka://{BROKERS}", store="memory://", datadir=tempfile.mkdtemp(), web_enabled=False,
    topic_allow_declare=False, topic_disable_leader=True, value_serializer="raw",
)  # fmt: skip
source, target = (app.topic(name, key_serializer="raw", value_serializer="raw") for name in (SOURCE, TARGET))


@app.agent(source)  # type: ignore[untyped-decorator]  # no types there
async def forward(events: Any) -> None:
    """One by one."""
    async for event in events.events():
        await target.send(key=event.key, value=event.value)


@app.on_partitions_assigned.connect  # type: ignore[untyped-decorator]  # no types there
async def say(*_: Any, **__: Any) -> None:
    """The group has given partitions to it."""
    print(READY, file=sys.__stdout__, flush=True)


sys.argv = ["faust", "worker", "--loglevel", "error"]
app.main()
