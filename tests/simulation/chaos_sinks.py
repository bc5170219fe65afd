"""Every fault at the stores, the workers and the broker behind the sinks, and what the audit says in the end.

`python -m tests.simulation.chaos_sinks --seed N --count COUNT`. Liquidations, windows and alerts are appended, poison
among them, while workers land them and a schedule from the seed has its way: PostgreSQL and Redis are killed, stopped,
filled up, made read-only, partitioned away and cut off, workers are killed and added, the broker is restarted. The last
line on stdout is JSON {"seed", "records", "lost", "doubled", "dead_letters", "poison", …}. Exit code 0 when nothing is
lost or doubled and each sink's dead letters are exactly the poison.

A full disk needs a small file system to be mounted; where that is not allowed, this one fault is left out and named."""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

from confluent_kafka import KafkaError, Message, Producer
from pydantic import SecretStr

from runtime.kafka import create_topics, producer_config
from runtime.settings import KafkaSettings, RedisSettings
from schemas.codec import Codec
from schemas.records import Record
from schemas.topics import ALERTS, LIQUIDATIONS, WINDOWS, Topic
from sinks.app import TOPICS
from sinks.settings import DatabaseSettings, SinkSettings, SinksSection
from stack.audit import Account, audit
from stack.dead_letters import read_letters
from stack.embedded import EmbeddedStack
from tests.simulation.chaos_sinks_faults import Faults, mount_small
from tests.simulation.chaos_sinks_schedule import length_s, schedule
from tests.sinks.records import alert, liquidation, window

ASSETS: Final = tuple(f"COIN{number}" for number in range(24))
PARTITIONS: Final = 4
ALERTS_MAX: Final = 5_000  # Redis trims its stream at 10,000
POISON_OF: Final = 1_000  # one of so many records
REFUSED_VALUES_OF: Final = 10  # one poison of so many can be decoded, and is refused by the stores
LANDED_S_MAX: Final = 240.0
APPENDED_S_MAX: Final = 120.0
LOOK_S: Final = 1.0
SLICE_S: Final = 0.05
SINKS: Final = ("timescale", "redis")


class Load:
    """Appends records at an even pace, in a thread, and remembers where the poison lies."""

    def __init__(self, kafka: KafkaSettings, seed: int, count: int, seconds: float) -> None:
        self.expected = {LIQUIDATIONS.name: 0, WINDOWS.name: 0, ALERTS.name: 0}  # good ones
        self.poison: set[tuple[str, int, int]] = set()
        self.failures: list[str] = []
        self._dice, self._count, self._seconds = Random(seed), count, seconds
        self._codec = Codec()
        self._producer = Producer(producer_config(kafka, queue_buffering_max_messages=2_000_000))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._alert_of = max(200, count // ALERTS_MAX)
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """Wait until the broker has all."""
        self._thread.join(self._seconds + APPENDED_S_MAX)
        if self._error is not None:
            raise self._error
        left = self._producer.flush(APPENDED_S_MAX)
        assert not self._thread.is_alive(), "the broker takes less than is appended"
        assert not left, f"{left} records were not acknowledged"
        assert not self.failures, self.failures[:3]

    def _run(self) -> None:
        try:
            begun_s = time.monotonic()
            for number in range(self._count):
                if number % 500 == 0:
                    due_s = begun_s + number / self._count * self._seconds
                    while (ahead_s := due_s - time.monotonic()) > 0:
                        time.sleep(min(SLICE_S, ahead_s))
                    self._producer.poll(0)
                self._append(number)
        except BaseException as exc:
            self._error = exc

    def _append(self, number: int) -> None:
        asset = self._dice.choice(ASSETS)
        if number % POISON_OF == POISON_OF // 2:
            is_value = number // POISON_OF % REFUSED_VALUES_OF == 0
            record = liquidation(number, asset=asset, price=-1.0)
            value = self._codec.encode(LIQUIDATIONS, record) if is_value else b"no Avro " + str(number).encode()
            self._send(LIQUIDATIONS, asset, value, self._remember)
        elif number % self._alert_of == 1:
            self._good(ALERTS, asset, alert(number, asset=asset))
        elif number % 20 == 3:
            self._good(WINDOWS, asset, window(number, asset=asset))
        else:
            price = round(1_000.0 * (1 + self._dice.random()), 2)
            self._good(LIQUIDATIONS, asset, liquidation(number, asset=asset, price=price))

    def _good(self, topic: Topic, asset: str, record: Record) -> None:
        self.expected[topic.name] += 1
        self._send(topic, asset, self._codec.encode(topic, record), self._sent)

    def _send(self, topic: Topic, asset: str, value: bytes, then: Callable[[KafkaError | None, Message], None]) -> None:
        self._producer.produce(topic.name, key=asset, value=value, on_delivery=then)

    def _sent(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failures.append(error.str())

    def _remember(self, error: KafkaError | None, message: Message) -> None:
        self._sent(error, message)
        self.poison.add((message.topic() or "", message.partition() or 0, message.offset() or 0))


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(description="Every fault at stores, workers and broker behind the sinks.")
    parser.add_argument("--seed", type=int, default=7, help="equal seeds play equal schedules")
    parser.add_argument("--count", type=int, default=1_000_000, help="records; one of a thousand is poison")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="liqcascade-chaos-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with mount_small(folder / "servers" / "postgres", records=arguments.count) as is_small:
            result = play(folder, arguments.seed, arguments.count, is_small=is_small)
    print(json.dumps(result))
    exact = result["dead_letters"] == result["poison"] and not result["wrong_letters"]
    return 0 if exact and not result["lost"] and not result["doubled"] else 1


def play(folder: Path, seed: int, count: int, *, is_small: bool) -> dict[str, Any]:
    """Append, land and misbehave, then ask the audit."""
    begun_s, from_ms = time.monotonic(), time.time_ns() // 1_000_000
    stack = EmbeddedStack(folder / "servers")
    faults: Faults | None = None
    try:
        kafka = KafkaSettings(bootstrap_servers=stack.kafka.start(), partitions=PARTITIONS)
        create_topics(kafka, TOPICS)
        settings = SinkSettings(
            kafka=kafka,
            sinks=SinksSection(enabled=SINKS),
            database=DatabaseSettings(url=SecretStr(stack.postgres.start()), retention=False),
            redis=RedisSettings(url=SecretStr(stack.redis.start())),
        )
        faults = Faults(stack, settings, folder, can_fill=is_small)
        faults.add_worker()
        faults.add_worker()
        planned = schedule(seed)
        load = Load(kafka, seed, count, length_s(planned))
        load.start()
        faults.run(planned)
        load.finish()
        account = _await_landed(settings, faults, from_ms)
        return _settle(account, load, settings, seed, count) | {
            "faults": dict(faults.counts),
            "left_out": faults.left_out,
            "outages": faults.outages(),
            "seconds": round(time.monotonic() - begun_s, 1),
        }
    finally:
        if faults is not None:
            faults.end()
        stack.stop()


def _await_landed(settings: SinkSettings, faults: Faults, from_ms: int) -> Account:
    """The audit, once nothing waits any more, or time is up."""
    deadline_s = time.monotonic() + LANDED_S_MAX
    while faults.behind(settings) and time.monotonic() < deadline_s:
        faults.heal_workers()
        time.sleep(LOOK_S)
    begun_s = time.monotonic()
    account = audit(settings, from_ms=from_ms, to_ms=time.time_ns() // 1_000_000 + 60_000)
    print(f"the audit took {time.monotonic() - begun_s:.1f} s", file=sys.stderr)
    return account


def _settle(account: Account, load: Load, settings: SinkSettings, seed: int, count: int) -> dict[str, Any]:
    lines = [line for line in account.lines if load.expected.get(line.topic)]
    lost = sum(
        len(line.missing) + line.waiting + line.kept_no_longer + load.expected[line.topic] - line.landed
        for line in lines
    )
    letters: dict[str, set[tuple[str, int, int]]] = {sink: set() for sink in SINKS}
    for letter in read_letters(settings.kafka):
        assert letter.place is not None
        letters[letter.by].add(letter.place)
    for line in lines:
        for what in (*line.missing[:20], *line.doubled[:20]):
            print(f"{line.connector} {line.topic}: {what}", file=sys.stderr)
        print(f"{line.connector} {line.topic}: {line.landed} landed, {line.waiting} wait", file=sys.stderr)
    return {
        "seed": seed,
        "records": count,
        "lost": lost,
        "doubled": account.doubled,
        "dead_letters": max(len(places) for places in letters.values()),
        "poison": len(load.poison),
        "wrong_letters": sum(len(places ^ load.poison) for places in letters.values()),
    }


if __name__ == "__main__":
    sys.exit(main())
