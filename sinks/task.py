"""A task of a connector: poll, batch, land, again. An outage pauses it and loses nothing; a bad record stops nobody.

Whenever anything is in doubt, what is in hand is dropped and read again from the offsets that the store has."""

import random
import threading
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import structlog
from confluent_kafka import Message

from runtime.kafka import topic_names
from schemas.errors import LiqcascadeError, RecordRefused, Unavailable
from sinks.configs import ConnectorConfig
from sinks.configs_keys import FOREVER_MS
from sinks.connector import Batch, Position, batch_of
from sinks.intake import Intake
from sinks.reader import Reader
from sinks.task_figures import Figures
from sinks.task_refusals import Refusals

POLL_S: Final = 0.2  # how late a stop, a pause or a rebalance is noticed
IDLE_S_MAX: Final = 2.0  # how late an idle sink notices an outage
BATCH_S_MAX: Final = 10.0  # then a batch is put, full or not, though its flush may be later
HELD_RECORDS_MAX: Final = 50_000  # put and not flushed, 1 kB each: 50 MB a task; then the flush comes early

log = structlog.get_logger()


class State(StrEnum):
    """What the task does."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    PAUSED_BY_OUTAGE = "paused by outage"
    STOPPED = "stopped"
    FAILED = "failed"


class Task:
    """`run()` in a thread of its own; `stop`, `pause` and `resume` from any. `state` and `problem` say how it is."""

    def __init__(self, config: ConnectorConfig, number: int = 0) -> None:
        """Connects to nothing yet."""
        self.config, self.number, self.name = config, number, config.name
        self.connector = config.connector()
        self.state, self.problem = State.STARTING, ""
        self.in_hand = 0  # records of the batch that is being gathered
        self.topics_read: set[str] = set()
        self._figures = Figures(self.name, number)
        self._refusals = Refusals(config, number, self._figures)
        names = topic_names(config.settings.kafka)
        topics = {names.of(topic): topic for topic in config.topics}
        self._intake = Intake(topics, config.settings.kafka.schema_registry_url)
        self._stopping, self._pausing = threading.Event(), threading.Event()
        self._held: list[Batch] = []  # put and not flushed
        self._failures = 0
        self._outage_since_s = self._resume_s = self._check_s = self._due_s = 0.0

    @property
    def condition(self) -> str:
        """What /readyz says: "ok", or the state and what is wrong."""
        if self.state in (State.RUNNING, State.PAUSED) and not self.problem:
            return "ok"
        return f"{self.state}: {self.problem}" if self.problem else str(self.state)

    def stop(self) -> None:
        """Let `run` land what it has in hand, and return."""
        self._stopping.set()

    def pause(self) -> None:
        """Land what is in hand, then fetch nothing until `resume`; the partitions stay this task's."""
        self._pausing.set()

    def resume(self) -> None:
        """End a pause; nothing where there is none."""
        self._pausing.clear()

    def run(self) -> None:
        """Until `stop`. Raises what cannot be waited out: SettingsError, a refused record that is not tolerated, an
        outage that lasted longer than it may, and our own bugs."""
        reader: Reader | None = None
        try:
            reader = Reader(self.config.settings.kafka, self.name, self.config.topics)
            while not self._stopping.is_set():
                try:
                    self._step(reader)
                except Unavailable as exc:
                    self._wait_out(reader, exc)
            if self._held:
                self._flush(reader)
            self._set(State.STOPPED)
        except Unavailable:  # at the very last flush: whoever comes next reads it again
            self._set(State.STOPPED)
        except BaseException as exc:
            self._set(State.FAILED, str(exc) or repr(exc))
            raise
        finally:
            self.connector.close()
            if reader is not None:
                reader.close()
            self._figures.end()

    def _step(self, reader: Reader) -> None:
        if self._pausing.is_set():
            self._rest(reader)
            return
        if reader.assigned and not reader.started and time.monotonic() >= self._resume_s:
            self._open(reader)
        batch = self._gather(reader)
        if self.state is State.RUNNING:
            self.problem = reader.problem
        if not reader.started:
            self._held.clear()  # of a connector that is opened anew before anything else
            return
        if batch:
            self._land(reader, batch)
        if self._held:
            if time.monotonic() >= self._due_s or self._held_records() >= HELD_RECORDS_MAX:
                self._flush(reader)
        elif not batch and time.monotonic() >= self._check_s:
            self.connector.check()
            self._check_s = time.monotonic() + IDLE_S_MAX

    def _open(self, reader: Reader) -> None:
        self._held.clear()
        stored = self.connector.open(reader.positions)
        if stored and self.state is State.PAUSED_BY_OUTAGE:
            self.connector.put(Batch((), stored))  # changes nothing, but shows that the store takes writes again
            self.connector.flush()
        reader.start(stored)
        self._figures.partitions(len(reader.positions))
        if self.state is State.PAUSED_BY_OUTAGE:
            paused_s = round(time.monotonic() - self._outage_since_s, 3)
            log.info("resumed", sink=self.name, task=self.number, paused_s=paused_s, attempts=self._failures)
        self._set(State.RUNNING)

    def _rest(self, reader: Reader) -> None:
        """Pause, as long as one poll: the group is served, so the partitions stay here."""
        if reader.started:
            if self._held:
                self._flush(reader)
            reader.stop()
            self.connector.close()
        reader.read(1, POLL_S)
        self._set(State.PAUSED)

    def _gather(self, reader: Reader) -> list[Message]:
        """The next batch: as many records as there may be, none of which waits longer than the sink allows."""
        flush_s, records_max = self.config.flush_ms / 1_000, self.config.batch_records_max
        batch = reader.read(1, min(POLL_S, max(0.0, self._due_s - time.monotonic())) if self._held else POLL_S)
        if not batch:
            return []
        if not self._held:
            self._due_s = time.monotonic() + flush_s
        deadline_s = min(self._due_s, time.monotonic() + BATCH_S_MAX)
        while len(batch) < records_max and not self._stopping.is_set() and not self._pausing.is_set():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                break
            batch += reader.read(records_max - len(batch), min(left_s, POLL_S))
            self.in_hand = len(batch)
            if not reader.started:  # a rebalance: whoever has the partitions now reads these records again
                return []
        return batch

    def _land(self, reader: Reader, messages: Sequence[Message]) -> None:
        batch, letters = self._intake.batch_of(messages)
        self.topics_read.update(topic for topic, _ in batch.next_offsets)
        self._figures.read(len(messages))
        for letter in letters:
            self._refusals.add(letter)
        self._refusals.flush()
        self._held.append(batch)
        try:
            with self._figures.put(len(batch.records)):
                self.connector.put(batch)
        except RecordRefused:
            self._isolate(reader)
        self._figures.held(self._held_records())

    def _flush(self, reader: Reader) -> None:
        try:
            self.connector.flush()
        except RecordRefused:
            self._isolate(reader)
            return
        self._landed(reader)

    def _landed(self, reader: Reader, refused: int = 0) -> None:
        moved: dict[Position, int] = {}
        for batch in self._held:
            moved.update(batch.next_offsets)
        self._figures.landed(self._held, refused)
        self._held.clear()
        self._failures = 0
        self._check_s = time.monotonic() + IDLE_S_MAX
        reader.commit(moved)

    def _isolate(self, reader: Reader) -> None:
        """Land what is held in halves until the bad records stand alone, from where the store says that it is."""
        landed = self.connector.flush()
        refused = 0
        for batch in self._held:
            left = [record for record in batch.records if record.offset >= landed.get(record.position, 0)]
            behind = {at: offset for at, offset in batch.next_offsets.items() if offset > landed.get(at, 0)}
            if behind:
                refused += self._halve(Batch(left, behind))
        self._landed(reader, refused)

    def _halve(self, batch: Batch) -> int:
        """Returns how many were bad."""
        try:
            self.connector.put(batch)
            self.connector.flush()
        except RecordRefused as exc:
            records = batch.records
            assert records, "offsets alone hold no value that could be refused"
            if len(records) > 1:
                half = len(records) // 2
                return self._halve(batch_of(records[:half])) + self._halve(Batch(records[half:], batch.next_offsets))
            self._refusals.add_record(records[0], exc, type(self.connector))
            self._refusals.flush()
            self.connector.put(Batch((), batch.next_offsets))
            self.connector.flush()
            return 1
        return 0

    def _held_records(self) -> int:
        return sum(len(batch.records) for batch in self._held)

    def _wait_out(self, reader: Reader, error: Unavailable) -> None:
        """Drop what is in hand and fetch nothing; `_step` asks the store again after a while."""
        reader.stop()
        self.connector.close()
        self._held.clear()
        now_s = time.monotonic()
        if self.state is not State.PAUSED_BY_OUTAGE:
            self._outage_since_s = now_s
            self._figures.outage()
            log.warning("paused by an outage; nothing is lost", sink=self.name, task=self.number, error=str(error))
        limit_ms = self.config.retry_timeout_ms
        if limit_ms != FOREVER_MS and (now_s - self._outage_since_s) * 1_000 > limit_ms:
            raise LiqcascadeError(f"errors.retry.timeout: the outage outlasts {limit_ms} ms: {error}") from error
        self._set(State.PAUSED_BY_OUTAGE, str(error))
        least_ms = self.config.settings.sinks.backoff_ms_min
        pause_ms = min(self.config.retry_delay_ms_max, least_ms << min(self._failures, 20))
        self._failures += 1
        self._figures.retried()
        # Half of it is chance, so that workers that lost one store together do not come back together.
        self._resume_s = now_s + random.uniform(0.5, 1.0) * pause_ms / 1_000

    def _set(self, state: State, problem: str = "") -> None:
        self.state, self.problem = state, problem
        self._figures.running(state is State.RUNNING)
