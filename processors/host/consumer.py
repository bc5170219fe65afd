"""Faust's consumer with three things changed: records come from a `Source`, an agent gets runs of consecutive ones, and
only offsets that written state covers are committed. aiokafka holds the membership and fetches nothing.

Faust costs 60 µs an event, whatever the event holds; a run of up to RUN_MAX records costs it as much as one. Where to
read from is the host's to say, once it has caught up: a seek in recovery does not hold in Faust 0.15.3. A position that
no written state covers is never committed, so whoever looks at the group sees where a restart begins."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from processors.host.source import Source
from processors.windows.run import LogRun
from runtime.settings import KafkaSettings

APPEND_TIME: Final = 1  # timestamp type of Kafka
COMMIT_S_MAX: Final = 1.0  # of the 5 s in which a worker ends
log = structlog.get_logger(__name__)


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # no types there
    """The thread of the aiokafka client; a commit that fails is tried again with the next one."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # One that nobody asks for records leaves its group after `broker_max_poll_interval`: this one is always asked.
        self._asking = consumer._subscription.fetch_context()
        self._asking.__enter__()
        return consumer

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Fetch none of them: a `Source` does."""
        client = self._ensure_consumer()
        client.pause(*(driver.ensure_aiokafka_TP(tp) for tp in assigned))
        await super().on_partitions_assigned(assigned, generation_id)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: it would look at what aiokafka fetches. The host's watchdog sees records that do not come."""

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        mine = {TP(*tp): offset for tp, offset in offsets.items() if tp in self.assignment()}
        try:
            await self._ensure_consumer().commit({driver.ensure_aiokafka_TP(tp): at for tp, at in mine.items()})
        except KafkaError as exc:
            log.warning("commit failed, the next one covers it", reason=str(exc))
            return False
        return True


class Consumer(driver.Consumer):  # type: ignore[misc]  # no types there
    """Hands out runs; commits what `cover` was told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._covered: dict[TP, int] = {}
        self._source = Source(self.transport.kafka)

    async def on_start(self) -> None:
        """Start the source beside the client."""
        self._source.start()
        await super().on_start()

    async def on_stop(self) -> None:
        """End the source too."""
        self._source.stop()
        await super().on_stop()

    def cover(self, tp: TP, offset: int) -> None:
        """A restart may begin at `offset`: commit it with the next commit."""
        self._covered[tp] = offset

    def hold(self, tp: TP) -> None:
        """Somebody else reads this partition for a while."""
        self._source.remove(tp)

    def go_on(self, tp: TP, offset: int) -> None:
        """Read on from `offset`."""
        self._source.add(tp, offset)

    async def commit_covered(self) -> None:
        """Commit now, as far as it is possible: what is not committed is folded again, which changes nothing."""
        try:
            await asyncio.wait_for(self.commit(), COMMIT_S_MAX)
        except (TimeoutError, RuntimeError, KafkaError) as exc:  # RuntimeError: the client's thread has ended
            log.warning("commit at the end failed", reason=repr(exc))
        except asyncio.CancelledError as exc:  # of the commit, by the client's thread that ends; or of whoever waits
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            log.warning("commit at the end failed", reason=repr(exc))

    def forget(self, tps: Iterable[TP]) -> None:
        """Partitions that are no longer ours."""
        for tp in tps:
            self._source.remove(tp)
            self._covered.pop(TP(*tp), None)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Tell the agent which partition has records.

        Faust's own hands in each record, in eight turns of the loop and four tasks. What a rebalance lets go on its way
        to the agent, the host reads again."""
        while not fetcher.should_stop:
            if not self.flow_active:
                await self.can_resume_flow.wait()
            await self.callback(self._message(TP(*await self._source.ready())))

    def take(self, tp: TP) -> LogRun:
        """The run that the agent was told of, and what has come since."""
        return self._source.take(tp)

    def high_watermark(self, tp: TP) -> int | None:
        """Next offset to be written as of the last answer, None when not known."""
        return self._source.end(tp)

    def _message(self, tp: TP) -> ConsumerMessage:
        return ConsumerMessage(
            *tp,
            offset=0,
            timestamp=0.0,
            timestamp_type=APPEND_TIME,
            headers=(),
            key=None,
            value=tp,
            checksum=None,
            serialized_value_size=0,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: a run is one message, so its offsets would all be gaps."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self._covered) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self._covered.get(tp)


class Transport(driver.Transport):  # type: ignore[misc]  # no types there
    """Transport with that consumer. `kafka`: where its source reads."""

    Consumer = Consumer

    def __init__(self, *args: Any, kafka: KafkaSettings, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kafka = kafka
