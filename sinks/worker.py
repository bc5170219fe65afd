"""The task of one sink: poll, batch, land, again. An outage pauses it and loses nothing; a bad record stops nobody.

Whenever anything is in doubt, the batch in hand is dropped and read again from the offsets that the store has."""

import random
import threading
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import structlog
from confluent_kafka import Message

from runtime.kafka import topic_names
from schemas.codec import Codec
from schemas.errors import LiqcascadeError, RecordRefused, SchemaError, Unavailable
from schemas.records import Record
from schemas.topics import Topic
from sinks import metrics
from sinks.connector import Batch, Connector, Position, SinkRecord, batch_of
from sinks.dead_letters import DeadLetters, Stage
from sinks.reader import Reader, position_of
from sinks.settings import SinkSettings

POLL_S: Final = 0.2  # how late a stop or a rebalance is noticed
IDLE_S_MAX: Final = 2.0  # how late an idle sink notices an outage

log = structlog.get_logger()


class State(StrEnum):
    """What the worker does."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED_BY_OUTAGE = "paused by outage"
    STOPPED = "stopped"
    FAILED = "failed"


class Worker:
    """`run()` in a thread of its own; `stop()` from any. `state` and `problem` say how it is."""

    def __init__(self, settings: SinkSettings, connector: Connector) -> None:
        """Connects to nothing yet."""
        self.connector = connector
        self.name = connector.name
        self.state, self.problem = State.STARTING, ""
        self.in_hand = 0  # records of the batch that is being gathered
        self._settings, self._sinks = settings, settings.sinks
        self._flush_s = settings.sinks.flush_ms.get(connector.kind, connector.flush_ms) / 1_000
        self._dead_letters = DeadLetters(settings.kafka, self.name)
        self._codec = Codec(settings.kafka.schema_registry_url)
        names = topic_names(settings.kafka)
        self._topics = {names.of(topic): topic for topic in connector.topics}
        self._stopping = threading.Event()
        self._failures = 0
        self._outage_since_s = self._resume_s = self._check_s = 0.0

    @property
    def condition(self) -> str:
        """What /readyz says: "ok", or the state and what is wrong."""
        if self.state is State.RUNNING and not self.problem:
            return "ok"
        return f"{self.state}: {self.problem}" if self.problem else str(self.state)

    def stop(self) -> None:
        """Let `run` land what it has in hand, and return."""
        self._stopping.set()

    def run(self) -> None:
        """Until `stop`. Raises what cannot be waited out: SettingsError, and our own bugs."""
        reader: Reader | None = None
        try:
            reader = Reader(self._settings.kafka, type(self.connector))
            while not self._stopping.is_set():
                try:
                    self._step(reader)
                except Unavailable as exc:
                    self._pause(reader, exc)
            self._set(State.STOPPED)
        except BaseException as exc:
            self._set(State.FAILED, str(exc))
            raise
        finally:
            self.connector.close()
            if reader is not None:
                reader.close()

    def _step(self, reader: Reader) -> None:
        if reader.assigned and not reader.started and time.monotonic() >= self._resume_s:
            stored = self.connector.open(reader.positions)
            if stored and self.state is State.PAUSED_BY_OUTAGE:
                self._flush(Batch((), stored))  # changes nothing, but shows that the store takes writes again
            reader.start(stored)
            self._resumed()
        batch = self._gather(reader)
        if self.state is State.RUNNING:
            self.problem = reader.problem
        if not reader.started:
            return
        if batch:
            self._land(reader, batch)
        elif time.monotonic() >= self._check_s:
            self.connector.check()
        else:
            return
        self._check_s = time.monotonic() + IDLE_S_MAX

    def _gather(self, reader: Reader) -> list[Message]:
        """The next batch: as many records as there may be, none of which waits longer than the sink allows."""
        batch = reader.read(1, POLL_S)
        deadline_s = time.monotonic() + self._flush_s
        while batch and len(batch) < self._sinks.batch_records_max and not self._stopping.is_set():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                break
            batch += reader.read(self._sinks.batch_records_max - len(batch), min(left_s, POLL_S))
            self.in_hand = len(batch)
            if not reader.started:  # a rebalance: whoever has the partitions now reads these records again
                return []
        return batch

    def _land(self, reader: Reader, batch: Sequence[Message]) -> None:
        records: list[SinkRecord] = []
        next_offsets: dict[Position, int] = {}
        refused = 0
        for message in batch:
            position, offset = position_of(message), message.offset()
            assert offset is not None, "a message from a partition has one"
            record = self._decode(message, position, offset)
            assert offset >= next_offsets.get(position, 0), "offsets of a partition rise"
            next_offsets[position] = offset + 1
            if record is None:
                refused += 1
            else:
                records.append(record)
        if refused:
            self._dead_letters.flush()
        with metrics.PUT_SECONDS.labels(self.name).time():
            refused += self._put(Batch(records, next_offsets))
        metrics.RECORDS.labels(self.name).inc(len(batch) - refused)
        if records:
            metrics.LAG.labels(self.name).set(time.time_ns() // 1_000_000 - records[-1].append_time_ms)
        self._failures = 0
        reader.commit(next_offsets)

    def _put(self, batch: Batch) -> int:
        """Land the records, halving what is refused until the bad ones stand alone; returns how many were bad."""
        try:
            self._flush(batch)
        except RecordRefused as exc:
            records = batch.records
            assert records, "offsets alone hold no value that could be refused"
            if len(records) > 1:
                half = len(records) // 2
                return self._put(batch_of(records[:half])) + self._put(Batch(records[half:], batch.next_offsets))
            bad = records[0]
            self._refuse(bad.position, bad.offset, bad.value, exc, Stage.TASK_PUT)
            self._dead_letters.flush()
            self._flush(Batch((), batch.next_offsets))
            return 1
        return 0

    def _flush(self, batch: Batch) -> None:
        self.connector.put(batch)
        self.connector.flush()

    def _decode(self, message: Message, position: Position, offset: int) -> SinkRecord | None:
        value, topic = message.value(), self._topics[position[0]]
        try:
            if value is None:
                raise SchemaError(f"a record of {position[0]} has no value")
            return SinkRecord(
                topic=topic,
                position=position,
                offset=offset,
                append_time_ms=message.timestamp()[1],
                key=message.key(),
                value=value,
                record=self._codec.decode(_record_type(topic), value),
            )
        except SchemaError as exc:
            self._refuse(position, offset, value, exc, Stage.VALUE_CONVERTER)
            return None

    def _refuse(
        self, position: Position, offset: int, value: bytes | None, error: LiqcascadeError, stage: Stage
    ) -> None:
        self._dead_letters.send(position, offset, value, error, stage)
        metrics.DEAD_LETTERS.labels(self.name, stage.value).inc()

    def _pause(self, reader: Reader, error: Unavailable) -> None:
        """Drop what is in hand and fetch nothing; `_step` asks the store again after a while."""
        reader.stop()
        self.connector.close()
        if self.state is not State.PAUSED_BY_OUTAGE:
            self._outage_since_s = time.monotonic()
            metrics.OUTAGES.labels(self.name).inc()
            log.warning("paused by an outage; nothing is lost", sink=self.name, error=str(error))
        self._set(State.PAUSED_BY_OUTAGE, str(error))
        pause_ms = min(self._sinks.backoff_ms_max, self._sinks.backoff_ms_min << min(self._failures, 20))
        self._failures += 1
        # Half of it is chance, so that workers that lost one store together do not come back together.
        self._resume_s = time.monotonic() + random.uniform(0.5, 1.0) * pause_ms / 1_000

    def _resumed(self) -> None:
        if self.state is State.PAUSED_BY_OUTAGE:
            paused_s = round(time.monotonic() - self._outage_since_s, 3)
            log.info("resumed", sink=self.name, paused_s=paused_s, attempts=self._failures)
        self._set(State.RUNNING)

    def _set(self, state: State, problem: str = "") -> None:
        self.state, self.problem = state, problem
        metrics.RUNNING.labels(self.name).set(state is State.RUNNING)


def _record_type(topic: Topic) -> type[Record]:
    assert topic.record is not None, f"{topic.name} holds no records"
    return topic.record
