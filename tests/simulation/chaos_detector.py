"""Workers that are killed, frozen, joined, sent away and robbed of their state, in the middle of cascades.

`python -m tests.simulation.chaos_detector --seed N`. Liquidations, open interest, funding and health are appended at
their pace while a schedule from the seed has its way with workers and broker. In the end every alert, every window and
every late event that stands in the topics is compared, byte for byte, with what a replay of the two logs gives, and the
market's alerts with what signals.state gives. The last line on stdout is JSON {"seed", "alerts", "market_alerts",
"missing", "extra", "different", "doubled", …}; doubles are byte-equal and only a worker that was frozen may leave them.
Exit code 0 when nothing is missing, extra or different, and nothing
doubled in a run without frozen workers."""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from processors.host.places import ID_FIELDS
from processors.market.fold import MarketFold
from processors.market.replay import MarketReplay
from processors.settings import ProcessorSettings
from schemas.errors import BrokerUnavailable
from schemas.topics import ALERTS, LATE, LIQUIDATIONS, SNAPSHOTS, WINDOWS, Topic
from stack.embedded import EmbeddedStack
from tests.processors.topics import CODEC, DetectorTopics, Worker
from tests.simulation.chaos_detector_load import Load
from tests.simulation.chaos_detector_schedule import LAST_S, Action, schedule

PARTITIONS: Final = 4
WORKERS_MAX: Final = 3
SNAPSHOT_MS: Final = "2000"  # 10 s would leave few of them between two faults
SETTLED_S_MAX: Final = 120.0
COMPARED: Final[tuple[Topic, ...]] = (ALERTS, WINDOWS, LATE)


class Chaos:
    """The workers and what is done to them."""

    def __init__(self, stack: EmbeddedStack, topics: DetectorTopics, load: Load, folder: Path) -> None:
        self._stack, self._topics, self._load, self._folder = stack, topics, load, folder
        self.workers: list[Worker] = []
        self._due: list[tuple[float, Worker]] = []  # frozen ones: when they wake
        self.counts: Counter[str] = Counter()

    def start(self) -> None:
        """One worker more."""
        settings = (("LIQCASCADE_HOST__SNAPSHOT_INTERVAL_MS", SNAPSHOT_MS), ("LIQCASCADE_LOG__FORMAT", "json"))
        self.workers.append(Worker(self._topics, self._folder, settings=settings))

    def inflict(self, action: Action) -> None:
        """Do what is due."""
        self.counts[action.kind] += 1
        faults: dict[str, Callable[[Action], None]] = {
            "kill": self._kill,
            "join": self._join,
            "leave": self._leave,
            "trim": self._trim,
            "broker": self._restart_broker,
            "freeze": self._freeze,
            "hold": lambda action: self._load.hold(action.seconds),
        }
        faults[action.kind](action)

    def attend(self, until_s: float) -> None:
        """Wake the frozen, start again what ended by itself, until then."""
        while time.monotonic() < until_s:
            for due_s, worker in list(self._due):
                if time.monotonic() >= due_s:
                    self._due.remove((due_s, worker))
                    worker.process.send_signal(signal.SIGCONT)
            for worker in list(self.workers):
                if worker.process.poll() is not None:
                    self.counts["ended by themselves"] += 1
                    self.workers.remove(worker)
                    self.start()
            time.sleep(0.05)

    def end(self) -> None:
        """Wake all, let them fold all, and end them in order."""
        for _, worker in self._due:
            worker.process.send_signal(signal.SIGCONT)
        self._due.clear()
        deadline_s = time.monotonic() + SETTLED_S_MAX
        while not self._topics.all_covered():
            assert time.monotonic() < deadline_s, f"not all is folded after {SETTLED_S_MAX:.0f} s"
            self.attend(time.monotonic() + 0.5)
        for worker in self.workers:
            self._stop(worker)

    def _choose(self, action: Action) -> Worker:
        return self.workers[int(action.dice * len(self.workers))]

    def _kill(self, action: Action) -> None:
        worker = self._choose(action)
        self.workers.remove(worker)
        self._forget(worker)
        worker.kill()
        time.sleep(action.seconds)
        self.start()

    def _join(self, action: Action) -> None:
        if len(self.workers) < WORKERS_MAX:
            self.start()

    def _leave(self, action: Action) -> None:
        if len(self.workers) == 1:
            self.start()
        worker = self.workers.pop(0)
        if self._forget(worker):
            worker.kill()  # it stood still, and so cannot leave
        else:
            self._stop(worker)

    def _stop(self, worker: Worker) -> None:
        try:
            self.counts["ended in order"] += worker.stop() == 0
        except subprocess.TimeoutExpired:  # a machine that is busy; it is one more kill -9
            self.counts["did not end"] += 1
            worker.kill()

    def _trim(self, action: Action) -> None:
        """State is gone: all of it, or every partition's own row."""
        for worker in self.workers:
            self._forget(worker)
            worker.kill()
        if action.dice < 0.5:
            self._topics.make_anew(SNAPSHOTS)
        else:
            for partition in self._topics.partitions:
                self._topics.remove(SNAPSHOTS, partition, f"partition/{partition}")
        count = len(self.workers)
        self.workers.clear()
        for _ in range(count):
            self.start()

    def _restart_broker(self, action: Action) -> None:
        self._stack.kafka.kill()
        time.sleep(action.seconds)
        self._stack.kafka.start()

    def _freeze(self, action: Action) -> None:
        worker = self._choose(action)
        if not self._forget(worker):
            worker.process.send_signal(signal.SIGSTOP)
        self._due.append((time.monotonic() + action.seconds, worker))

    def _forget(self, worker: Worker) -> bool:
        """Whether it stood still."""
        stood = [each for each in self._due if each[1] is worker]
        self._due = [each for each in self._due if each[1] is not worker]
        return bool(stood)


def compare(topics: DetectorTopics) -> dict[str, int]:
    """What the topics hold beside what a replay gives, all of `COMPARED`."""
    result = Counter(alerts=0, windows=0, late=0, missing=0, extra=0, different=0, doubled=0)
    for partition in topics.partitions:
        replayed = topics.replayed(partition, run=500)
        for topic in COMPARED:
            given = replayed[topic.name]
            result[topic.name.rpartition(".")[2].replace("cascades", "alerts")] += len(given)
            published = [record.value or b"" for record in topics.read(topic, partition) if record.key != b"*"]
            _count(topic, given, published, result)
    _compare_market(topics, result)
    return dict(result)


def _compare_market(topics: DetectorTopics, result: Counter[str]) -> None:
    """The market's alerts beside what its fold gives over all states, as far as it has come."""
    settings = ProcessorSettings(kafka=topics.kafka)
    judged_size_ms = settings.detector.judged_size_ms
    market = MarketReplay(
        topics.kafka,
        CODEC,
        lambda: MarketFold(settings.market, partitions=topics.kafka.partitions, judged_size_ms=judged_size_ms),
        from_ms=0,
        to_ms=None,
        ending=threading.Event(),
    )
    given = [CODEC.encode(ALERTS, alert) for alert in market.run(lambda records: None)]
    result["market_alerts"] = len(given)
    _count(ALERTS, given, [CODEC.encode(ALERTS, alert) for alert in market.published()], result)


def _count(topic: Topic, given: list[bytes], published: list[bytes], result: Counter[str]) -> None:
    wanted, found = _by_id(topic, given), _by_id(topic, published)
    for one_id in wanted.keys() | found.keys():
        want, have = wanted.get(one_id), found.get(one_id)
        kind = "missing" if have is None else "extra" if want is None else "different" if set(have) != set(want) else ""
        if kind:
            result[kind] += 1
            print(f"{kind} in {topic.name}: {one_id}", file=sys.stderr)
        result["doubled"] += len(have or [0]) - 1
    first = dict.fromkeys(published)  # doubles aside, they stand in the order of the replay
    if not (result["missing"] or result["extra"] or result["different"]) and list(first) != given:
        result["different"] += 1
        print(f"another order in {topic.name}", file=sys.stderr)


def _by_id(topic: Topic, values: list[bytes]) -> dict[str, list[bytes]]:
    assert topic.record is not None
    found: dict[str, list[bytes]] = {}
    for value in values:
        found.setdefault(str(CODEC.decode_plain(topic.record, value)[ID_FIELDS[topic.name]]), []).append(value)
    return found


def play(stack: EmbeddedStack, folder: Path, seed: int, *, freezes: bool) -> dict[str, Any]:
    """Play the schedule, then compare."""
    topics = DetectorTopics(stack.kafka.start(), "", partitions=PARTITIONS)
    load = Load(topics.kafka, seed)
    chaos = Chaos(stack, topics, load, folder)
    try:
        chaos.start()
        chaos.workers[0].ready()
        load.start()
        began_s = time.monotonic()
        actions = schedule(seed, freezes=freezes)
        for action in actions:
            chaos.attend(began_s + action.at_s)
            print(f"{time.monotonic() - began_s:6.1f} s: {action.kind}", file=sys.stderr)
            try:
                chaos.inflict(action)
            except BrokerUnavailable as exc:  # a fault within another one
                print(f"        not done: {exc}", file=sys.stderr)
        chaos.attend(time.monotonic() + LAST_S)
        load.end()
        chaos.end()
    finally:
        load.end() if load.is_alive() else None
        for worker in chaos.workers:
            worker.kill()
    print(f"faults: {dict(chaos.counts)}", file=sys.stderr)
    sent = sum(len(topics.read(LIQUIDATIONS, partition)) for partition in topics.partitions)
    return {"seed": seed} | compare(topics) | {"liquidations": sent, "faults": len(actions)}


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(description="Faults at the detector's workers, and what they publish.")
    parser.add_argument("--seed", type=int, default=7, help="equal seeds play equal schedules")
    parser.add_argument("--data", type=Path, help="keep the logs in this folder")
    parser.add_argument("--no-freeze", action="store_true", help="no frozen workers: then nothing may be doubled")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="liqcascade-chaos-") as temporary:
        folder = arguments.data or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        stack = EmbeddedStack(folder / "servers")
        try:
            result = play(stack, folder, arguments.seed, freezes=not arguments.no_freeze)
        finally:
            stack.stop()
    print(json.dumps(result))
    wrong = result["missing"] + result["extra"] + result["different"]
    return 0 if not wrong and not (arguments.no_freeze and result["doubled"]) else 1


if __name__ == "__main__":
    sys.exit(main())
