"""The stage: one thread a sink, /metrics, /healthz and /readyz, orderly end."""

import signal
import threading
import time
from types import FrameType
from typing import Final

import structlog

from runtime import logs
from runtime.kafka import create_topics
from runtime.operations import OperationsServer
from schemas.topics import DEAD_LETTERS
from sinks.registry import enabled_sinks
from sinks.settings import SinkSettings
from sinks.worker import State, Worker

STOP_S_MAX: Final = 4.0  # then the stage ends without the last batch, which the next start reads again
WATCH_S: Final = 0.2

log = structlog.get_logger()


class SinkStage:
    """All enabled sinks. `start`, then `wait` until `stop` or a failure, then `close`."""

    def __init__(self, settings: SinkSettings) -> None:
        """Raises SettingsError for a sink that is not known."""
        self._settings = settings
        kinds = enabled_sinks(settings)
        self.workers = [Worker(settings, kind(settings)) for kind in kinds]
        self._topics = list(dict.fromkeys([topic for kind in kinds for topic in kind.topics] + [DEAD_LETTERS]))
        self._operations: OperationsServer | None = None
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._error: BaseException | None = None

    def start(self) -> str:
        """Returns the address of the operations server; stores that are out are waited for, and /readyz says so.

        Raises BrokerUnavailable, SettingsError."""
        create_topics(self._settings.kafka, self._topics)
        self._operations = OperationsServer(self._settings.operations, alive=self.alive, ready=self.ready)
        address = self._operations.start()
        self._threads = [
            threading.Thread(target=self._run, args=(worker,), name=f"sink-{worker.name}", daemon=True)
            for worker in self.workers
        ]
        for thread in self._threads:
            thread.start()
        log.info("started", sinks=[worker.name for worker in self.workers], operations=address)
        return address

    def stop(self) -> None:
        """Ask all to land what they have in hand and to end; may be called from a signal handler."""
        self._stopping.set()

    def wait(self) -> None:
        """Until `stop`, or until a sink has failed. Raises what it failed of."""
        while not self._stopping.wait(WATCH_S):
            pass  # a wait without limit would keep Python from running signal handlers
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End all within STOP_S_MAX."""
        for worker in self.workers:
            worker.stop()
        deadline_s = time.monotonic() + STOP_S_MAX
        for worker, thread in zip(self.workers, self._threads, strict=False):
            thread.join(max(0.0, deadline_s - time.monotonic()))
            if thread.is_alive():
                log.warning("left in the middle of a batch; it is read again at the next start", sink=worker.name)
        if self._operations is not None:
            self._operations.stop()

    def alive(self) -> dict[str, str]:
        """A part a sink: "ok" while its thread runs."""
        return {worker.name: "failed" if worker.state is State.FAILED else "ok" for worker in self.workers}

    def ready(self) -> dict[str, str]:
        """A part a sink: "ok" while it lands records, else what it waits for."""
        return {worker.name: worker.condition for worker in self.workers}

    def _run(self, worker: Worker) -> None:
        try:
            worker.run()
        except BaseException as exc:  # a sink that is dead in a process that lives would go unnoticed
            self._error = self._error or exc
            self._stopping.set()


def run(settings: SinkSettings) -> None:
    """The stage until SIGINT or SIGTERM. To be called in the main thread.

    Raises SettingsError, BrokerUnavailable; anything else is a bug of ours."""
    logs.configure(settings.log, stage="sink")
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
