"""Jobs in a thread, one after the other, so that the next batch is read while the server works on the last.

What fails is raised at the next call, and whatever was handed in behind it is not done."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

AHEAD_MAX: Final = 2  # jobs handed in and not done: one at the server, one ready


class Background:
    """`do` and `wait` from one thread; `close` ends it."""

    def __init__(self, name: str) -> None:
        """The thread starts with the first job."""
        self._thread = ThreadPoolExecutor(1, name)
        self._jobs: deque[Future[None]] = deque()
        self._failed = False

    def do(self, job: Callable[[], None]) -> None:
        """Hand a job in; waits while too many are there. Raises what one before has failed of; this one is dropped."""
        while len(self._jobs) >= AHEAD_MAX or (self._jobs and self._jobs[0].done()):
            self._take()
        self._jobs.append(self._thread.submit(self._run, job))

    def wait(self) -> None:
        """Until all is done. Raises what a job has failed of."""
        while self._jobs:
            self._take()

    def close(self) -> None:
        """Do nothing more and forget failures; a job that runs is waited for."""
        self._failed = True
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._jobs.clear()

    def _take(self) -> None:
        try:
            self._jobs.popleft().result()
        except BaseException:
            for skipped in self._jobs:
                skipped.exception()  # it was dropped: nothing ran behind the failure
            self._jobs.clear()
            self._failed = False
            raise

    def _run(self, job: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            job()
        except BaseException:
            self._failed = True
            raise
