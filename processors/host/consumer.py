"""Faust's consumer with three things changed: an agent gets runs of consecutive records, only offsets that written
state covers are committed, and a partition that the host reads by itself is not fetched beside it.

Faust costs 60 µs an event, whatever the event holds; a run of up to RUN_MAX records costs it as much as one. Positions
behind the state are never committed, because a seek in recovery does not hold in Faust 0.15.3: a restart then begins
at or before what the state has seen, and needs none. The seek when the host has caught up saves a second read; where it
comes to nothing, the host drops what it has seen."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

FETCH_WAIT_MS_MAX: Final = 10  # data ends a wait at once; but not that of a partition whose last answer was being taken
COMMIT_S_MAX: Final = 1.0  # of the 5 s in which a worker ends
log = structlog.get_logger(__name__)


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # no types there
    """The thread of the aiokafka client; a commit that fails is tried again with the next one."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS_MAX  # Faust has no setting for it: 1,500
        return consumer

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        mine = {TP(*tp): offset for tp, offset in offsets.items() if tp in self.assignment()}
        try:
            await self._ensure_consumer().commit({driver.ensure_aiokafka_TP(tp): at for tp, at in mine.items()})
        except KafkaError as exc:
            log.warning("commit failed, the next one covers it", reason=str(exc))
            return False
        return True

    async def hold(self, tp: TP) -> None:
        """Fetch no more of a partition, if it is still ours."""
        client = self._ensure_consumer()
        if tp in self.assignment():
            client.pause(driver.ensure_aiokafka_TP(tp))

    async def go_on(self, tp: TP, offset: int) -> None:
        """Fetch it from `offset` on. Its end is not known until the first answer: silence must not be let in before."""
        client = self._ensure_consumer()
        if tp in self.assignment():
            own = driver.ensure_aiokafka_TP(tp)
            client._subscription.subscription.assignment.state_value(own).highwater = None
            client.seek(own, offset)
            client.resume(own)


class Consumer(driver.Consumer):  # type: ignore[misc]  # no types there
    """Hands out runs; commits what `cover` was told."""

    RUN_MAX: Final = 500

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._covered: dict[TP, int] = {}

    def cover(self, tp: TP, offset: int) -> None:
        """A restart may begin at `offset`: commit it with the next commit."""
        self._covered[tp] = offset

    def hold(self, tp: TP) -> None:
        """Somebody else reads this partition for a while."""
        self.add_future(self._thread.call_thread(self._thread.hold, tp))

    def go_on(self, tp: TP, offset: int) -> None:
        """Read on from `offset`; for a partition that was lost meanwhile nothing happens."""
        self.add_future(self._thread.call_thread(self._thread.go_on, tp, offset))

    async def commit_covered(self) -> None:
        """Commit now, as far as it is possible: what is not committed is folded again, which changes nothing."""
        try:
            await asyncio.wait_for(self.commit(), COMMIT_S_MAX)
        except (TimeoutError, RuntimeError, KafkaError) as exc:  # RuntimeError: the client's thread has ended
            log.warning("commit at the end failed", reason=repr(exc))

    def forget(self, tps: Iterable[TP]) -> None:
        """Partitions that are no longer ours."""
        for tp in tps:
            self._covered.pop(TP(*tp), None)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """Runs of the next records as messages that stand at the offset of their last record."""
        records, _ = await self._wait_next_records(timeout)
        if not records or self.should_stop:
            return
        for tp, batch in records.items():
            for start in range(0, len(batch), self.RUN_MAX):
                if not self.flow_active:
                    return  # what is left is read again by the next owner
                run = batch[start : start + self.RUN_MAX]
                message = self._to_message(tp, run[-1])
                message.value = run
                yield tp, message

    def high_watermark(self, tp: TP) -> int | None:
        """Next offset to be written as of the last fetch, None when not known."""
        client = self._thread._consumer
        if client is None or tp not in client.assignment():
            return None
        mark: int | None = client.highwater(tp)
        return mark

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: a run is one message, so its offsets would all be gaps."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self._covered) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self._covered.get(tp)


class Transport(driver.Transport):  # type: ignore[misc]  # no types there
    """Transport with that consumer."""

    Consumer = Consumer
