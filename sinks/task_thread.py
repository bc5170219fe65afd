"""The thread of one task."""

import threading
import time
from typing import Final

import structlog

from sinks.task import State, Task

STOP_S_MAX: Final = 4.0  # then a worker ends without the last batch, which the next start reads again

log = structlog.get_logger()


class TaskThread:
    """Runs from the start on. A task that fails stays here and says so, until somebody stops it."""

    def __init__(self, task: Task) -> None:
        """Start."""
        self.task = task
        self._stop_s = 0.0
        self._thread = threading.Thread(target=self._run, name=f"sink-{task.name}-{task.number}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    @property
    def ending(self) -> bool:
        """Whether somebody has stopped it."""
        return self._stop_s > 0

    @property
    def failed(self) -> bool:
        """Whether it ended by itself."""
        return self.task.state is State.FAILED

    def stop(self) -> None:
        """Ask it to land what is in hand and to end; again is no harm."""
        self._stop_s = self._stop_s or time.monotonic()
        self.task.stop()

    def join(self) -> None:
        """Wait until it has ended, at most STOP_S_MAX from the stop on."""
        self._thread.join(max(0.0, self._stop_s + STOP_S_MAX - time.monotonic()))
        if self.alive:
            log.warning("left in the middle of a batch; it is read again at the next start", sink=self.task.name)

    def _run(self) -> None:
        try:
            self.task.run()
        except BaseException as exc:  # whatever it is: the state says it, and who looks after the worker sees it
            log.error("task failed", sink=self.task.name, task=self.task.number, error=str(exc) or repr(exc))
