"""A worker: its share of the tasks of all connectors, as connect.configs and the other workers have it.

All workers follow the same topics and see the same members, so each knows by itself which tasks are its own. When two
disagree for a moment, a task runs twice or not at all: partitions are given out by the connector's own consumer group
and offsets move on a condition, so neither loses or doubles a record."""

import threading
import time
from typing import Final

import structlog

from runtime.log_levels import LEVELS, LogLevels
from schemas.errors import LiqcascadeError, SettingsError
from schemas.topics import CONFIGS, STATUSES
from sinks import metrics
from sinks.configs import ConnectorConfig, read
from sinks.configs_log import ConfigsLog
from sinks.configs_state import Restart, Target, TaskStatus, config_record, status_record, topic_record
from sinks.membership import ID_SEPARATOR, Membership
from sinks.settings import SinkSettings
from sinks.task import State, Task
from sinks.task_thread import TaskThread

TRACE_EVERY_S: Final = 5.0  # a reason that changes with every try is told to the others this often
WORDS: Final = {
    State.STARTING: "UNASSIGNED",
    State.RUNNING: "RUNNING",
    State.PAUSED: "PAUSED",
    State.PAUSED_BY_OUTAGE: "PAUSED",
    State.STOPPED: "UNASSIGNED",
    State.FAILED: "FAILED",
}

TaskId = tuple[str, int]

log = structlog.get_logger()


class Worker:
    """`run` in a thread of its own. Other threads read, and write to `log`."""

    def __init__(self, settings: SinkSettings, worker_id: str) -> None:
        """Joins the others; the topics must be there."""
        self.settings, self.worker_id = settings, worker_id
        self.log = ConfigsLog(settings.kafka)
        self.membership = Membership(settings.kafka, worker_id)
        self.log_levels = LogLevels()
        self.caught_up = False
        self.invalid: dict[str, str] = {}  # connectors whose settings do not fit, and why
        self._parsed: dict[str, tuple[dict[str, str], ConnectorConfig | None]] = {}
        self._threads: dict[TaskId, TaskThread] = {}
        self._told: dict[TaskId, tuple[TaskStatus, float]] = {}
        self._stopping = threading.Event()

    @property
    def rebalancing(self) -> bool:
        """Whether it is not known now which worker has which task."""
        return not self.caught_up or not self.membership.members

    def stop(self) -> None:
        """Let `run` end, after all tasks have landed what they have in hand."""
        self._stopping.set()

    def run(self) -> None:
        """Until `stop`. Raises BrokerUnavailable when the broker is out at the start."""
        try:
            self.log.catch_up(self._stopping)
            self._seed()
            self.caught_up = True
            while not self._stopping.is_set():
                for wanted in self.log.read():
                    if isinstance(wanted, Restart):
                        self._restart(wanted)
                    elif wanted.level in LEVELS:
                        self.log_levels.set(wanted.logger, wanted.level)
                self.membership.poll()
                self._balance()
                self._tell()
        finally:
            self._end()

    def config(self, name: str) -> ConnectorConfig | None:
        """Of a connector, or None where its settings do not fit; `invalid` says why."""
        properties = self.log.state.configs[name]
        known = self._parsed.get(name)
        if known is None or known[0] != properties:
            try:
                found = read(properties, self.settings)
                self.invalid.pop(name, None)
            except SettingsError as exc:
                found = None
                self.invalid[name] = str(exc)
                log.error("connector cannot run", sink=name, error=str(exc))
            known = self._parsed[name] = (properties, found)
        return known[1]

    def tasks_of(self, name: str) -> range:
        """The numbers of a connector's tasks; none while it is stopped or cannot run."""
        config = self.config(name) if name in self.log.state.configs else None
        if config is None or self.log.state.target(name) is Target.STOPPED:
            return range(0)
        return range(config.tasks_max)

    def assigned(self) -> dict[TaskId, str]:
        """Every task and the instance that has it; {} while rebalancing."""
        members = self.membership.members
        if not members:
            return {}
        tasks = [(name, number) for name in sorted(self.log.state.configs) for number in self.tasks_of(name)]
        return {task: members[place % len(members)] for place, task in enumerate(tasks)}

    def status(self, task: TaskId) -> TaskStatus:
        """How a task is: of its own as it is now, of others as they say."""
        thread = self._threads.get(task)
        if thread is not None:
            return self._status(thread.task)
        owner = self.assigned().get(task, "")
        known = self.log.state.statuses.get(task)
        if known is not None and known.instance == owner:
            return known
        return TaskStatus("UNASSIGNED", owner.partition(ID_SEPARATOR)[0] or self.worker_id)

    def conditions(self) -> dict[str, str]:
        """What /readyz says: by connector, the first of its tasks here that is not well."""
        if self.rebalancing:
            return {"worker": "rebalancing"}
        parts = {"worker": "ok"}
        parts |= {name: f"failed: {why}" for name, why in self.invalid.items() if name in self.log.state.configs}
        for (name, number), owner in self.assigned().items():
            if owner != self.membership.instance:
                continue
            thread = self._threads.get((name, number))
            condition = thread.task.condition if thread is not None else str(State.STARTING)
            if parts.setdefault(name, "ok") == "ok":
                parts[name] = condition
        return parts

    def tasks(self) -> dict[TaskId, Task]:
        """Those that run here."""
        return {key: thread.task for key, thread in list(self._threads.items())}

    def _seed(self) -> None:
        """The connectors of the settings where nobody has made them yet; what is in the topic wins."""
        wanted = first_connectors(self.settings)
        known = self.log.state.configs
        for name, properties in wanted.items():
            if name not in known:
                key, value = config_record(name, properties)
                self.log.write(CONFIGS, [(key, value)], wait=False)
        self.log.deliver()
        self.log.catch_up(self._stopping)
        for name in known.keys() - wanted.keys():
            log.info("runs though the settings do not name it; DELETE /connectors/… ends it", sink=name)

    def _balance(self) -> None:
        """Start, stop, pause and resume tasks as it should be; what must end first is looked at again next time."""
        for key, thread in list(self._threads.items()):
            if thread.ending and not thread.alive:
                del self._threads[key]
        if not self.rebalancing:
            mine = [key for key, owner in self.assigned().items() if owner == self.membership.instance]
            for key, thread in list(self._threads.items()):
                if key not in mine or thread.task.config is not self.config(key[0]):
                    thread.stop()
            for key in mine:
                if key not in self._threads:
                    config = self.config(key[0])
                    assert config is not None, "it has tasks"
                    self._threads[key] = TaskThread(Task(config, key[1]))
        for (name, _), thread in self._threads.items():
            if self.log.state.target(name) is Target.PAUSED:
                thread.task.pause()
            else:
                thread.task.resume()
        metrics.TASKS.set(len(self._threads))
        metrics.CONNECTORS.set(len({name for name, _ in self._threads}))

    def _restart(self, wanted: Restart) -> None:
        if wanted.connector in self.invalid:
            self._parsed.pop(wanted.connector, None)
        for (name, number), thread in self._threads.items():
            meant = wanted.include_tasks if wanted.task is None else wanted.task == number
            if name == wanted.connector and meant and (thread.failed or not wanted.only_failed):
                thread.stop()

    def _status(self, task: Task) -> TaskStatus:
        trace = "" if task.condition in ("ok", State.STARTING) else task.condition
        return TaskStatus(WORDS[task.state], self.worker_id, self.membership.instance, trace)

    def _tell(self) -> None:
        """Let the others know what has changed."""
        now_s = time.monotonic()
        records: list[tuple[str, bytes | None]] = []
        for (name, number), thread in self._threads.items():
            status = self._status(thread.task)
            told, told_s = self._told.get((name, number), (None, 0.0))
            if status != told and (told is None or status.state != told.state or now_s - told_s > TRACE_EVERY_S):
                records.append(status_record(name, number, status))
                self._told[name, number] = (status, now_s)
            for topic in thread.task.topics_read - self.log.state.topics.get(name, set()):
                records.append(topic_record(name, topic))
                thread.task.topics_read.discard(topic)
        try:
            self.log.write(STATUSES, records, wait=False)
        except LiqcascadeError as exc:  # the broker's queue is full: the next change is told
            log.debug("telling how tasks are", error=str(exc))

    def _end(self) -> None:
        threads = list(self._threads.values())
        for thread in threads:
            thread.stop()
        for thread in threads:
            thread.join()
        self.membership.close()
        self.log.close()


def first_connectors(settings: SinkSettings) -> dict[str, dict[str, str]]:
    """Those that the settings want, by name."""
    wanted = {kind: {"connector.class": kind} for kind in settings.sinks.enabled} | settings.sinks.connectors
    return {name: {"name": name} | properties for name, properties in wanted.items()}
