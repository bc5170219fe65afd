"""Bytewax, one worker, sliding windows by event time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as windowing
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

from benchmarks._peers.task import BROKERS, EVENTS, STEPS, TOPIC, WINDOWS_MS, Watch, decode

Timed = tuple[datetime, float]
Sums = tuple[int, float]
watch = Watch(EVENTS, times=STEPS)
flow = Dataflow("peer")


class _Nowhere(StatelessSinkPartition[Any]):  # type: ignore[misc]  # not in this environment
    def write_batch(self, items: list[Any]) -> None:
        pass


class Nowhere(DynamicSink[Any]):  # type: ignore[misc]
    """A flow must end in a sink."""

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Nowhere:
        """One for the worker."""
        return _Nowhere()


def _timed(message: Any) -> tuple[str, Timed]:
    fields = decode(message.value)
    return fields["asset"], (datetime.fromtimestamp(fields["event_time_ms"] / 1_000, UTC), fields["notional_usd"])


def _add(sums: Sums, event: Timed) -> Sums:
    return sums[0] + 1, sums[1] + event[1]


def _add_last(sums: Sums, event: Timed) -> Sums:
    watch.see()  # as often as an event is in windows of the last size
    return _add(sums, event)


def _merge(one: Sums, other: Sums) -> Sums:
    return one[0] + other[0], one[1] + other[1]


keyed = op.map("decode", op.input("read", flow, KafkaSource(BROKERS.split(","), [TOPIC])), _timed)
for size_ms, grace_ms in WINDOWS_MS:
    closed = windowing.fold_window(
        f"window_{size_ms}",
        keyed,
        windowing.EventClock(lambda event: event[0], wait_for_system_duration=timedelta(milliseconds=grace_ms)),
        windowing.SlidingWindower(
            length=timedelta(milliseconds=size_ms),
            offset=timedelta(milliseconds=size_ms // STEPS),
            align_to=datetime(2020, 1, 1, tzinfo=UTC),
        ),
        lambda: (0, 0.0),
        _add_last if size_ms == WINDOWS_MS[-1][0] else _add,
        _merge,
        ordered=False,  # sums need no order, and order costs
    )
    op.output(f"out_{size_ms}", closed.down, Nowhere())
run_main(flow)
