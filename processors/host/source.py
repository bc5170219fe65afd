"""Reads the assigned partitions for the group's consumer: librdkafka in a thread of its own, records on the loop.

The way from the broker to the fold is one thread and one loop long. aiokafka, which holds the membership, takes two
loops and their turns for each record, and does not ask for a partition's next records before its last are taken."""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from itertools import groupby
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from processors.windows.run import LogRun
from runtime.kafka import confluent_config
from runtime.log_reader import PASSING, QUEUE_BACKOFF_MS, QUEUED_KBYTES_MAX, bytes_of, place_of
from runtime.settings import KafkaSettings

RUN_MAX: Final = 500  # records folded before others may run: 5 ms at 100,000/s
WAITING_MAX: Final = 16_000  # records on the way to the agent: 3 MB
FETCH_WAIT_MS: Final = 100  # data ends a wait at once; that there is none is known after it
POLL_S: Final = 0.05  # what the loop asks for waits as long, when nothing comes
Place = tuple[str, int]
log = structlog.get_logger(__name__)


class Source:
    """`start()` on the loop, then `add()` and `remove()`, `ready()` and `take()` from it, `stop()` at the end.

    Whoever is told by `ready()` that a partition has records takes them later: those that come meanwhile are taken with
    them, so that a loop which was held up catches up in one turn."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._turns: dict[Place, int] = {}  # of the partitions that are read, as the loop wants it
        self._turn = 0
        self._wishes: deque[tuple[Place, int, int | None]] = deque()  # offset to read from, None: read it no more
        self._assigned: dict[Place, int] = {}  # turns, as the thread has them
        self._ends: dict[Place, tuple[int, int]] = {}  # turn, and where a partition ended as of the last answer in it
        self._waiting: dict[Place, LogRun] = {}  # by partition, in order and without a gap
        self._untold: deque[Place] = deque()  # partitions whose records nobody has been told of
        self._handed_in = self._taken = 0  # records: by the thread, by the loop
        self._room = threading.Event()
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._read_all, name="source", daemon=True)

    def start(self) -> None:
        """Begin to read what is added."""
        self._loop = asyncio.get_running_loop()
        self._client = Consumer(
            confluent_config(
                self._kafka,
                group_id="liqcascade-source",  # librdkafka asks for one; nothing is committed under it
                enable_auto_commit=False,
                enable_partition_eof=True,
                auto_offset_reset="earliest",
                queued_max_messages_kbytes=QUEUED_KBYTES_MAX,
                fetch_queue_backoff_ms=QUEUE_BACKOFF_MS,
                fetch_wait_max_ms=FETCH_WAIT_MS,
            )
        )
        self._thread.start()

    def add(self, place: Place, offset: int) -> None:
        """Read a partition from `offset` on."""
        self.remove(place)
        self._turn += 1
        self._turns[place] = self._turn
        self._wishes.append((place, self._turn, offset))

    def remove(self, place: Place) -> None:
        """Read it no more; what was read of it and not taken is let go."""
        turn = self._turns.pop(place, None)
        if turn is None:
            return
        self._wishes.append((place, turn, None))
        self._taken += len(self._waiting.pop(place, ()))

    async def ready(self) -> Place:
        """A partition that has records to take, as soon as there is one. Raises what ended the thread."""
        while not self._untold:
            if self._failure is not None:
                raise self._failure
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._untold.popleft()

    def take(self, place: Place) -> LogRun:
        """The next records of a partition; none when it was removed meanwhile."""
        records = self._waiting.pop(place, None) or LogRun([], [], [])
        if len(records) > RUN_MAX:
            self._waiting[place] = records[RUN_MAX:]
            self._tell(place)
            records = records[:RUN_MAX]
        self._taken += len(records)
        if not self._room.is_set():
            self._room.set()
        return records

    @property
    def waiting(self) -> int:
        """Records that have come and were not taken."""
        return sum(map(len, self._waiting.values()))

    def end(self, place: Place) -> int | None:
        """Next offset to be written as of the last answer, None before the first one."""
        turn, end = self._ends.get(place, (0, 0))
        return end if turn == self._turns.get(place) else None

    def stop(self) -> None:
        """End the thread."""
        self._ending.set()

    def _read_all(self) -> None:
        try:
            while not self._ending.is_set():
                self._obey()
                first = self._client.poll(POLL_S)  # `consume` alone would wait for a full batch
                messages = [first, *self._client.consume(RUN_MAX - 1, 0)] if first else []
                for place, own in groupby(messages, place_of):
                    self._hand_in(place, list(own))
        except Exception as exc:  # our own bug: a partition must not fall silent because its reader is gone
            if not self._ending.is_set():
                log.exception("reading failed")
                self._loop.call_soon_threadsafe(self._fail, exc)
        finally:
            self._client.close()

    def _obey(self) -> None:
        while self._wishes:
            place, turn, offset = self._wishes.popleft()
            if offset is None:
                del self._assigned[place]
                self._client.incremental_unassign([TopicPartition(*place)])
            else:
                self._assigned[place] = turn
                self._client.incremental_assign([TopicPartition(*place, offset)])

    def _hand_in(self, place: Place, messages: Sequence[Message]) -> None:
        good, answered = [], False
        for message in messages:
            error = message.error()
            if error is None:
                good.append(message)
            elif error.code() not in (KafkaError._PARTITION_EOF, *PASSING):
                log.warning("reading goes on", topic=place[0], partition=place[1], reason=error.str())
            answered = answered or error is None or error.code() == KafkaError._PARTITION_EOF
        records = run_of(good)
        turn = self._assigned.get(place)
        if turn is None or not answered:
            return
        if records:
            self._await_room()
            self._handed_in += len(records)
            self._loop.call_soon_threadsafe(self._arrived, place, turn, records)
        _, end = self._client.get_watermark_offsets(TopicPartition(*place), cached=True)
        self._ends[place] = turn, end

    def _await_room(self) -> None:
        while self._handed_in - self._taken >= WAITING_MAX and not self._ending.is_set():
            self._room.clear()
            if self._handed_in - self._taken >= WAITING_MAX:
                self._room.wait(POLL_S)

    def _arrived(self, place: Place, turn: int, records: LogRun) -> None:
        if self._turns.get(place) != turn:
            self._taken += len(records)
        elif place in self._waiting:
            self._waiting[place].extend(records)
        else:
            self._waiting[place] = records
            self._tell(place)

    def _tell(self, place: Place) -> None:
        self._untold.append(place)
        self._wake()

    def _fail(self, why: Exception) -> None:
        self._failure = why
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def run_of(messages: Sequence[Message]) -> LogRun:
    """Records of one partition as the client has them, by columns."""
    return LogRun(
        [message.offset() or 0 for message in messages],
        [message.timestamp()[1] for message in messages],
        [bytes_of(message.value()) for message in messages],
    )
