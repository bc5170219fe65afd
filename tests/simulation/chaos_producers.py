"""Every fault at every exchange, and what the producers make of it.

`python -m tests.simulation.chaos_producers --seed N`. The stage `liqcascade produce` listens to the simulator, which
plays a soak of at least ten minutes at four times its speed and misbehaves by a schedule from the seed. At the end the
published liquidations are compared, row by row, with the simulator's account, and each fault is looked for in
`market.feed-health`. A table goes to stderr; the last line on stdout is JSON {"seed", "sent", "published", "lost",
"doubled", "faults", "named"}. Exit code 0 when nothing was lost or doubled and every fault was named.

A fault must be named within its limit, and the time for which this process itself got no core: see `Lateness`."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from producers.exchange import LIQUIDATION
from runtime.kafka import create_topics, topic_names
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.records import FeedHealth
from schemas.topics import FEED_HEALTH, LIQUIDATIONS
from stack.demo.ledger import Ledger
from stack.demo.stage import Stage
from stack.embedded import EmbeddedStack
from stack.log_range import between
from stack.simulator.faults import Fault
from stack.simulator.scenarios import EXCHANGES
from stack.simulator.server import Simulator, SimulatorOptions
from tests.simulation.chaos_schedule import KINDS, Planned, length_s, schedule

SIMULATED_S: Final = 600.0
SPEED: Final = 4.0
TABLE_WIDTH: Final = 80
PUBLISHED_S_MAX: Final = 60.0  # until what was sent is in the topic, and read; ordinarily a second
TICK_S: Final = 0.05
SETTINGS: Final = {  # a feed that is cut every ten seconds must not wait for half a minute
    "LIQCASCADE_PRODUCERS__BACKOFF_MS_MAX": "2000",
    "LIQCASCADE_PRODUCERS__STABLE_MS": "3000",
    "LIQCASCADE_LOG__FORMAT": "json",
}


class Lateness:
    """How late this process wakes up: what a busy machine takes from everyone on it. Times are the simulator's, ms."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._late: list[tuple[int, int]] = []  # when, by how much

    async def watch(self) -> None:
        """Measure for ever."""
        while True:
            due_ms = self._simulator.now_ms + int(TICK_S * 1000)
            await asyncio.sleep(TICK_S)
            now_ms = self._simulator.now_ms
            if now_ms - due_ms >= TICK_S * 1000:
                self._late.append((now_ms, now_ms - due_ms))

    def between(self, from_ms: int, to_ms: int) -> int:
        """Ms that were lost in that time."""
        return sum(late_ms for at_ms, late_ms in self._late if from_ms <= at_ms <= to_ms)


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(description="Every fault at every exchange, and what the producers make of it.")
    parser.add_argument("--seed", type=int, default=7, help="equal seeds play equal schedules")
    parser.add_argument("--exchanges", default=",".join(EXCHANGES), help="comma-separated, default: all")
    parser.add_argument("--data", type=Path, help="keep the logs in this folder")
    arguments = parser.parse_args()
    exchanges = arguments.exchanges.split(",")
    with tempfile.TemporaryDirectory(prefix="liqcascade-chaos-") as folder:
        data = arguments.data or Path(folder)
        data.mkdir(parents=True, exist_ok=True)
        data.chmod(0o755)
        stack = EmbeddedStack(data / "servers")
        try:
            kafka = KafkaSettings(bootstrap_servers=stack.kafka.start())
            create_topics(kafka)
            result = asyncio.run(play(kafka, data, arguments.seed, exchanges))
        finally:
            stack.stop()
    print(json.dumps(result))
    return 0 if not result["lost"] and not result["doubled"] and result["named"] == result["faults"] else 1


async def play(kafka: KafkaSettings, data: Path, seed: int, exchanges: list[str]) -> dict[str, Any]:
    """Play the schedule, then settle the account."""
    simulator = Simulator(
        SimulatorOptions(scenario="soak", seed=seed, wait_for_subscribers=False, speed=SPEED),
    )
    origins = await simulator.start()
    stage = Stage("produce", ["stack.cli", "produce"], _environment(kafka, data, origins, exchanges), data)
    ledger = Ledger(kafka)
    ledger.start()
    try:
        stage.start()
        await asyncio.to_thread(stage.await_ready)
        simulator.play()
        planned = schedule(seed, exchanges)
        lateness = Lateness(simulator)
        watch = asyncio.create_task(lateness.watch())
        begun = await _misbehave(simulator, planned, max(SIMULATED_S / SPEED, length_s(planned)))
        watch.cancel()
        await simulator.pause()
        await asyncio.to_thread(_await_published, ledger, simulator.status()["rows"])
        stage.ask_to_stop()
        ended_in_order = await asyncio.to_thread(stage.await_end)
        await asyncio.to_thread(_catch_up, ledger)
        health = _health(kafka)
        named = {fault: _named_after_ms(fault, health, lateness) for fault in begun}
        if not ended_in_order:
            print("the stage did not end in order", file=sys.stderr)
        return _settle(simulator, ledger, named, seed)
    finally:
        stage.ask_to_stop()
        await asyncio.to_thread(stage.await_end)
        ledger.stop()
        await simulator.stop()


def _environment(kafka: KafkaSettings, data: Path, origins: dict[str, str], exchanges: list[str]) -> dict[str, str]:
    return SETTINGS | {
        "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "LIQCASCADE_PRODUCERS__EXCHANGES": json.dumps(exchanges),
        "LIQCASCADE_PRODUCERS__ORIGINS": json.dumps({name: origins[name] for name in exchanges}),
        "LIQCASCADE_PRODUCERS__CACHE_FOLDER": str(data / "instruments"),
    }


async def _misbehave(simulator: Simulator, planned: list[Planned], seconds: float) -> list[Fault]:
    start_s = time.monotonic()
    begun = []
    async with asyncio.TaskGroup() as tasks:
        for each in planned:
            await asyncio.sleep(max(0.0, start_s + each.at_s - time.monotonic()))
            print(f"{each.at_s:6.1f} s {each.exchange}: {each.kind}", file=sys.stderr)
            inflict = simulator.inflict(each.exchange, each.kind, seconds=each.seconds, offset_s=each.offset_s)
            begun.append(tasks.create_task(inflict))
        await asyncio.sleep(max(0.0, start_s + seconds - time.monotonic()))
    return [task.result() for task in begun]


def _await_published(ledger: Ledger, rows: int) -> None:
    deadline_s = time.monotonic() + PUBLISHED_S_MAX
    while ledger.records[LIQUIDATIONS.name] < rows and time.monotonic() < deadline_s:
        time.sleep(0.05)


def _catch_up(ledger: Ledger) -> None:
    deadline_s = time.monotonic() + PUBLISHED_S_MAX
    while ledger.behind((LIQUIDATIONS,)) and time.monotonic() < deadline_s:
        time.sleep(0.05)


def _health(kafka: KafkaSettings) -> list[FeedHealth]:
    codec, topic = Codec(), topic_names(kafka).of(FEED_HEALTH)
    return [codec.decode(FeedHealth, record.value or b"") for record in between(kafka, [topic])]


def _settle(simulator: Simulator, ledger: Ledger, named: dict[Fault, int | None], seed: int) -> dict[str, Any]:
    """Compare row by row, show the table."""
    sent = Counter(hash((r.exchange, r.instrument, r.side, r.price, r.quantity, r.event_time_ms))
                   for r in simulator.account.rows)  # fmt: skip
    lost, doubled = sent - ledger.rows, ledger.rows - sent
    _show(simulator, ledger, named)
    return {
        "seed": seed,
        "sent": sent.total(),
        "published": ledger.records[LIQUIDATIONS.name],
        "lost": lost.total(),
        "doubled": doubled.total() + ledger.doubled[LIQUIDATIONS.name],
        "faults": len(named),
        "named": sum(after_ms is not None for after_ms in named.values()),
    }


def _named_after_ms(fault: Fault, health: list[FeedHealth], lateness: Lateness) -> int | None:
    """How long after it began the first record of the exchange's liquidations named it; None when none did in time."""
    kind = KINDS[fault.kind]
    end_ms = fault.to_ms + int(kind.limit_s * 1000)
    end_ms += lateness.between(fault.from_ms, end_ms)
    for record in health:
        concerned = record.exchange == fault.exchange and record.channel == LIQUIDATION
        in_time = fault.from_ms <= record.event_time_ms <= end_ms
        if concerned and in_time and kind.names(record):
            return record.event_time_ms - fault.from_ms
    return None


def _show(simulator: Simulator, ledger: Ledger, named: dict[Fault, int | None]) -> None:
    """Faults in rows, exchanges in columns: seconds until it was named; below, the account."""
    status = simulator.status()
    exchanges = list(dict.fromkeys(fault.exchange for fault in named))
    table = Table("fault, s until named", *exchanges)
    for kind in KINDS:
        after = {f.exchange: ms for f, ms in named.items() if f.kind == kind}
        cells = [after.get(name) for name in exchanges]
        table.add_row(kind, *("[red]never" if ms is None else f"{ms / 1000:.1f}" for ms in cells))
    table.add_section()
    for figure in ("sent", "withheld", "damaged", "limits_exceeded"):
        table.add_row(figure, *(str(status[figure][name]) for name in exchanges))
    table.add_row("published", *(str(ledger.by_exchange[name]) for name in exchanges))
    Console(stderr=True, width=TABLE_WIDTH).print(table)
    print(f"simulated: {status['elapsed_s'] * SPEED / 60:.1f} min", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
