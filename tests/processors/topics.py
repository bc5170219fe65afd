"""The topics of one test: append liquidations, read what the detector wrote, replay both logs, run workers."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import httpx
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from processors.detector import Delivered, Detector
from processors.host.places import PLACES_HEADER, PUBLISHED
from processors.host.recovery import Recovered, recover
from processors.journal import replay
from processors.settings import DetectorSettings
from processors.windows.store import why_refused
from runtime.kafka import confluent_config, create_topics, describe, producer_config, topic_names
from runtime.log_reader import LogReader, LogRecord
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import SchemaError
from schemas.records import JournalEntry, Liquidation, Record
from schemas.topics import ALERTS, DEAD_LETTERS, JOURNAL, LATE, LIQUIDATIONS, MARKET, SNAPSHOTS, WINDOWS, Topic
from schemas.words import Completeness, Exchange, Market, PriceKind, Side
from tests.stack import waiting

CODEC: Final = Codec()
ASSETS: Final = ("BTC", "ETH", "SOL", "DOGE")
RUN: Final = """
from processors.app import run
from processors.settings import ProcessorSettings
from runtime.settings import load
run(load(ProcessorSettings))
"""
FLUSH_S_MAX: Final = 30.0
WORKER_S_MAX: Final = 120.0  # workers start, take over and fold beside all that a busy machine does
STOP_S_MAX: Final = 10.0


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that workers do."""
    waiting.eventually(condition, what, deadline_s=WORKER_S_MAX)


def liquidation(number: int, *, event_time_ms: int, asset: str | None = None, backlog: bool = False) -> Liquidation:
    """The number says all: assets take turns."""
    return Liquidation(
        event_id=f"event-{number}",
        exchange=(Exchange.BINANCE, Exchange.BYBIT, Exchange.OKX)[number % 3],
        asset=asset or ASSETS[number % len(ASSETS)],
        instrument="I",
        market=Market.USDT,
        side=Side.LONG,
        price=100.0,
        quantity=float(1 + number % 7),
        notional_usd=100.0 * (1 + number % 7),
        price_kind=PriceKind.AVERAGE,
        completeness=Completeness.ALL,
        event_time_ms=event_time_ms,
        received_time_us=event_time_ms * 1_000,
        backlog=backlog,
    )


class DetectorTopics:
    """All topics of the detector under a prefix."""

    def __init__(
        self, bootstrap_servers: str, prefix: str, *, partitions: int, settings: DetectorSettings | None = None
    ) -> None:
        self.settings = settings or DetectorSettings()
        self.kafka = KafkaSettings(bootstrap_servers=bootstrap_servers, topic_prefix=prefix, partitions=partitions)
        self.partitions = range(partitions)
        self.names = topic_names(self.kafka)
        self._producer = Producer(producer_config(self.kafka, linger_ms=0))
        create_topics(self.kafka)

    def append(self, records: Iterable[Liquidation | bytes], *, partition: int | None = None) -> None:
        """Append to the liquidations and wait for all; bytes go as they are."""
        for record in records:
            value = CODEC.encode(LIQUIDATIONS, record) if isinstance(record, Liquidation) else record
            key = record.asset if isinstance(record, Liquidation) else "?"
            place: dict[str, Any] = {} if partition is None else {"partition": partition}
            self._producer.produce(self.names.of(LIQUIDATIONS), value, key, **place)
        assert self._producer.flush(FLUSH_S_MAX) == 0

    def read(self, topic: Topic, partition: int) -> list[LogRecord]:
        """All that stands in a partition."""
        with LogReader(self.kafka, {(self.names.of(topic), partition): 0}, ending=threading.Event()) as reader:
            return list(reader.to_end())

    def count(self, topic: Topic) -> int:
        """Records in all partitions of a topic."""
        with LogReader(self.kafka, {}, ending=threading.Event()) as reader:
            return sum(reader.bounds(self.names.of(topic), partition)[1] for partition in self.partitions)

    def letters(self) -> Counter[tuple[int, int]]:
        """Partition and offset of every liquidation in the dead letters."""
        records = [record for partition in self.partitions for record in self.read(DEAD_LETTERS, partition)]
        return Counter(
            (int(dict(record.headers)["partition"]), int(dict(record.headers)["offset"])) for record in records
        )

    def replayed(self, partition: int, *, run: int) -> dict[str, list[bytes]]:
        """What the fold gives over both logs of a partition, by topic, in runs of so many."""
        detector = Detector(self.settings, partition=partition)
        read = [(record, _liquidation(record.value or b"")) for record in self.read(LIQUIDATIONS, partition)]
        log = [Delivered(record.offset, record.timestamp, event) for record, event in read if event is not None]
        entries = [CODEC.decode(JournalEntry, record.value or b"") for record in self.read(JOURNAL, partition)]
        runs = [log[start : start + run] for start in range(0, len(log), run)]
        given: dict[str, list[bytes]] = {topic.name: [] for topic in PUBLISHED}
        for output in replay(detector.fold, detector.apply, runs, entries):
            given.setdefault(output.topic.name, []).append(CODEC.encode(output.topic, output.record))
        return given

    def take_over(self, partition: int = 0, *, ending: threading.Event | None = None) -> Recovered:
        """What a new owner of all partitions finds in one."""
        return recover(
            self.kafka,
            CODEC,
            self.partitions,
            new_detector=lambda number: Detector(self.settings, partition=number),
            ending=ending or threading.Event(),
        )[partition]

    def write(self, topic: Topic, partition: int, record: Record, *, key: str = "", **headers: str) -> None:
        """Append one record of any topic."""
        sent: list[tuple[str, str | bytes | None]] = [(name, value.encode()) for name, value in headers.items()]
        self._producer.produce(self.names.of(topic), CODEC.encode(topic, record), key, partition, headers=sent)
        assert self._producer.flush(FLUSH_S_MAX) == 0

    def remove(self, topic: Topic, partition: int, key: str) -> None:
        """Remove a row of a compacted topic."""
        self._producer.produce(self.names.of(topic), None, key, partition)
        assert self._producer.flush(FLUSH_S_MAX) == 0

    def make_anew(self, topic: Topic) -> None:
        """Delete a topic and create it, empty."""
        name, admin = self.names.of(topic), AdminClient(confluent_config(self.kafka))
        admin.delete_topics([name])[name].result()
        eventually(lambda: name not in describe(self.kafka), "it is gone")
        create_topics(self.kafka)

    def all_covered(self) -> bool:
        """Whether the state in the topics has seen the ends of all partitions."""
        name = self.names.of(LIQUIDATIONS)
        with LogReader(self.kafka, {}, ending=threading.Event()) as reader:
            ends = {partition: reader.bounds(name, partition)[1] for partition in self.partitions}
        seen = {}
        for partition in self.partitions:
            for row in self.read(SNAPSHOTS, partition):
                if row.key == f"partition/{partition}".encode() and row.value is not None:
                    seen[partition] = json.loads(dict(row.headers)[PLACES_HEADER])[LIQUIDATIONS.name]
        return seen == ends

    def assert_published_as_replayed(self) -> int:
        """Every output stands once in its topic, in order, byte for byte as a replay gives it; returns how many."""
        total = 0
        for partition in self.partitions:
            replayed = self.replayed(partition, run=7)
            for topic in (ALERTS, WINDOWS, LATE):
                published = [record.value for record in self.read(topic, partition) if record.key != MARKET.encode()]
                assert len(published) == len(set(published)), f"doubles in {topic.name}/{partition}"
                assert published == replayed[topic.name], f"{topic.name}/{partition}"
                total += len(published)
        return total


class Worker:
    """A worker of the detector in a process of its own; killed at the end of the `with` block if it still runs."""

    def __init__(
        self,
        topics: DetectorTopics,
        folder: Path,
        *,
        settings: Sequence[tuple[str, str]] = (),
        command: Sequence[str] = (sys.executable, "-c", RUN),
    ) -> None:
        self.port = _free_port()
        self._log = folder / f"worker-{self.port}.log"
        environment = {
            "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS": topics.kafka.bootstrap_servers,
            "LIQCASCADE_KAFKA__TOPIC_PREFIX": topics.kafka.topic_prefix,
            "LIQCASCADE_KAFKA__PARTITIONS": str(topics.kafka.partitions),
            "LIQCASCADE_OPERATIONS__PORT": str(self.port),
            "LIQCASCADE_HOST__SNAPSHOT_INTERVAL_MS": "500",
            **dict(settings),
        }
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def ready(self) -> None:
        """Wait until it has joined the group and all its partitions fold."""
        eventually(lambda: self._get("/readyz") == 200, f"ready; its log:\n{self._log.read_text()}")

    def metrics(self) -> str:
        """What it tells Prometheus."""
        return httpx.get(f"http://127.0.0.1:{self.port}/metrics").text

    def said(self) -> str:
        """Its log."""
        return self._log.read_text()

    def partitions(self) -> set[str]:
        """The partitions that it owns and folds, by name."""
        try:
            parts = httpx.get(f"http://127.0.0.1:{self.port}/readyz").json()
        except httpx.TransportError:
            return set()
        return {name for name, state in parts.items() if name.startswith("partition") and state == "ok"}

    def kill(self) -> None:
        """As kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """In order, by SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S_MAX)

    def _get(self, path: str) -> int | None:
        assert self.process.poll() is None, f"the worker ended: {self._log.read_text()}"
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}").status_code
        except httpx.TransportError:
            return None


def _liquidation(value: bytes) -> Liquidation | None:
    """None for what goes to the dead letters."""
    try:
        event = CODEC.decode(Liquidation, value)
    except SchemaError:
        return None
    return None if why_refused(event) else event


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
