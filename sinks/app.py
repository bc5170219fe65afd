"""The stage: a worker with its REST interface, /metrics, /healthz and /readyz, orderly end."""

import signal
import sys
import threading
from types import FrameType
from typing import Final

import structlog

from runtime import logs
from runtime.kafka import create_topics
from runtime.operations import OperationsServer
from schemas.errors import SettingsError
from schemas.topics import CONFIGS, DEAD_LETTERS, STATUSES
from sinks.configs import problems_of
from sinks.registry import SINKS
from sinks.rest import RestServer
from sinks.settings import SinkSettings
from sinks.task import State
from sinks.worker import Worker, first_connectors

WATCH_S: Final = 0.2
# Python: 0.005. A transaction waits for the server some six times, and behind each wait for the thread that decodes the
# next batch: 30 ms for 15 ms of the server's work. This way 1.
SWITCH_S: Final = 0.0002
END_S_MAX: Final = 8.0  # the tasks' own 4 s, and leaving two groups
TOPICS: Final = [
    *dict.fromkeys(topic for kind in SINKS.values() for topic in kind.topics),
    DEAD_LETTERS,
    CONFIGS,
    STATUSES,
]

log = structlog.get_logger()


class SinkStage:
    """`start`, then `wait` until `stop` or the end of the worker, then `close`."""

    def __init__(self, settings: SinkSettings) -> None:
        """Raises SettingsError when a connector of the settings can never run."""
        self._settings = settings
        for name, properties in first_connectors(settings).items():
            problems = problems_of(properties, settings)
            if problems:
                sentences = "; ".join(sentence for one in problems.values() for sentence in one)
                raise SettingsError(f"sinks: the connector {name} cannot run: {sentences}")
        self._rest = RestServer(settings.rest)
        self._operations: OperationsServer | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self.worker: Worker | None = None

    def start(self) -> str:
        """Returns the address of the operations server; stores that are out are waited for, and /readyz says so.

        Raises BrokerUnavailable, SettingsError."""
        create_topics(self._settings.kafka, TOPICS)
        self._operations = OperationsServer(self._settings.operations, alive=self.alive, ready=self.ready)
        address = self._operations.start()
        worker_id = self._rest.bind()
        self.worker = Worker(self._settings, worker_id)
        self._thread = threading.Thread(target=self._run, args=(self.worker,), name="worker", daemon=True)
        self._thread.start()
        self._rest.serve(self.worker)
        log.info("started", worker=worker_id, operations=address)
        return address

    def stop(self) -> None:
        """Ask all to land what they have in hand and to end; may be called from a signal handler."""
        self._stopping.set()

    def wait(self) -> None:
        """Until `stop`, or until the worker has failed. Raises what it failed of."""
        while not self._stopping.wait(WATCH_S):
            pass  # a wait without limit would keep Python from running signal handlers
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End all within END_S_MAX."""
        self._rest.stop()
        if self.worker is not None and self._thread is not None:
            self.worker.stop()
            self._thread.join(END_S_MAX)
        if self._operations is not None:
            self._operations.stop()

    def alive(self) -> dict[str, str]:
        """By connector, "ok" while none of its tasks here has failed: it stays so until somebody restarts it."""
        if self.worker is None:
            return {}
        parts: dict[str, str] = {}
        for (name, _), task in self.worker.tasks().items():
            failed = task.state is State.FAILED
            parts[name] = "failed" if failed else parts.get(name, "ok")
        return parts

    def ready(self) -> dict[str, str]:
        """By connector, "ok" while its tasks here land records, else what they wait for."""
        return {"worker": "starting"} if self.worker is None else self.worker.conditions()

    def _run(self, worker: Worker) -> None:
        try:
            worker.run()
        except BaseException as exc:  # a worker that is dead in a process that lives would go unnoticed
            self._error = self._error or exc
            self._stopping.set()


def share_fairly() -> None:
    """Let threads that wait for stores have their turn soon. For a process that does nothing else."""
    sys.setswitchinterval(SWITCH_S)


def run(settings: SinkSettings) -> None:
    """The stage until SIGINT or SIGTERM. To be called in the main thread.

    Raises SettingsError, BrokerUnavailable; anything else is a bug of ours."""
    logs.configure(settings.log, stage="sink")
    share_fairly()
    stage = SinkStage(settings)

    def end(number: int, frame: FrameType | None) -> None:
        stage.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        stage.start()
        stage.wait()
    finally:
        stage.close()
