"""The host of the detector on a real broker, fed by hand instead of by a group's consumer."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from processors.detector import Detector
from processors.host.context import Sieve
from processors.host.host import Host
from processors.host.settings import HostSettings
from processors.settings import DetectorSettings
from runtime.log_reader import LogReader, LogRecord
from schemas.headers import SENT_HEADER
from schemas.records import DetectorSnapshot, FeedHealth, JournalContext, JournalEntry, Liquidation
from schemas.topics import FEED_HEALTH, FUNDING, JOURNAL, LATE, LIQUIDATIONS, OPEN_INTEREST, SNAPSHOTS
from schemas.words import Exchange, FeedState, JournalKind, Side
from tests.processors.logs import funding, open_interest
from tests.processors.topics import CODEC, DetectorTopics, liquidation

OLD_MS = 1_700_000_000_000  # each is late for every window, so each gives one output at once
DEADLINE_S = 60.0
SETTINGS = HostSettings(snapshot_interval_ms=200, tick_interval_ms=50)


@pytest.fixture
def topics(kafka: str, topic_prefix: str, compiled: None) -> DetectorTopics:
    return DetectorTopics(kafka, topic_prefix, partitions=2)


class Covered(dict[int, int]):
    """Offsets that may be committed, by partition."""


class Followed(list[tuple[int, int | None]]):
    """Partition and offset from which what is handed in counts, None while it does not."""


@asynccontextmanager
async def running(
    topics: DetectorTopics, covered: Covered | None = None, followed: Followed | None = None
) -> AsyncIterator[Host]:
    """A host that owns all partitions and has recovered."""
    told = Followed() if followed is None else followed
    host = Host(
        topics.kafka,
        SETTINGS,
        detector=lambda partition: Detector(DetectorSettings(), partition=partition),
        high_watermark=lambda partition: end(topics, partition),
        on_covered=(Covered() if covered is None else covered).__setitem__,
        on_behind=lambda partition: told.append((partition, None)),
        on_level=lambda partition, offset: told.append((partition, offset)),
    )
    host.start()
    try:
        host.assign(topics.partitions)
        await until(lambda: set(host.troubles().values()) == {"ok"}, "all partitions fold")
        yield host
    finally:
        await host.stop()


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {DEADLINE_S:.0f} s: {what}"
        await asyncio.sleep(0.01)


def end(topics: DetectorTopics, partition: int) -> int:
    with LogReader(topics.kafka, {}, ending=threading.Event()) as reader:
        return reader.bounds(topics.names.of(LIQUIDATIONS), partition)[1]


def late_ids(topics: DetectorTopics, partition: int = 0) -> list[str]:
    return [CODEC.decode(Liquidation, record.value or b"").event_id for record in topics.read(LATE, partition)]


async def test_records_that_were_not_handed_in_are_read(topics: DetectorTopics) -> None:
    # log        0 1 2 3 4 5 6 7 8 9
    # handed in  0 1 2       6   8 9      (6 and 8 in one run)
    topics.append((liquidation(number, event_time_ms=OLD_MS) for number in range(10)), partition=0)
    async with running(topics) as host:
        more = [liquidation(number, event_time_ms=OLD_MS) for number in range(10, 20)]
        topics.append(more, partition=0)
        log = topics.read(LIQUIDATIONS, 0)[10:]
        host.deliver(0, log[0:3])
        host.deliver(0, [log[6], log[8], log[9]])
        await until(lambda: len(late_ids(topics)) >= 20, "all are published")
    assert late_ids(topics) == [f"event-{number}" for number in range(20)]


async def test_the_consumer_goes_on_where_the_host_has_caught_up(topics: DetectorTopics) -> None:
    followed = Followed()
    topics.append((liquidation(number, event_time_ms=OLD_MS) for number in range(10)), partition=0)
    async with running(topics, followed=followed) as host:
        assert [offset for partition, offset in followed if partition == 0] == [None, None, 10]
        assert followed[-1][1] is not None, "nobody is behind"
        followed.clear()
        topics.append((liquidation(number, event_time_ms=OLD_MS) for number in range(10, 20)), partition=0)
        host.deliver(0, topics.read(LIQUIDATIONS, 0)[15:])
        await until(lambda: len(followed) == 2, "what was missing is read")
        assert followed == [(0, None), (0, 20)]


async def test_a_consumer_that_fell_silent_is_noticed(topics: DetectorTopics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processors.host.host.WATCH_S", 0.2)
    async with running(topics):
        topics.append((liquidation(number, event_time_ms=OLD_MS) for number in range(10)), partition=0)
        await until(lambda: len(late_ids(topics)) == 10, "the host has read them itself")


async def test_a_partition_that_hangs_is_started_again(topics: DetectorTopics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processors.host.host.WATCH_S", 0.1)
    monkeypatch.setattr("processors.host.watchdog.HANGS_S", 0.3)
    async with running(topics) as host:
        stuck = host._flows[0]
        for name in ("fold", "skip_to"):
            monkeypatch.setattr(stuck, name, lambda what: None)
        topics.append((liquidation(number, event_time_ms=OLD_MS) for number in range(10)), partition=0)
        await until(lambda: host._flows.get(0, stuck) is not stuck, "it was started again")
        await until(lambda: len(late_ids(topics)) == 10, "and folds")
    assert stuck.closed


async def test_a_part_that_ends_ends_the_worker(topics: DetectorTopics, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(topics) as host:
        monkeypatch.setattr(host, "_at_end", lambda flow: 1 // 0)
        await until(host.failed.done, "it says so")
    assert "ZeroDivisionError" in str(host.failed.result())


async def test_what_is_published_says_when_it_was_sent(topics: DetectorTopics) -> None:
    topics.append([liquidation(0, event_time_ms=OLD_MS)], partition=0)
    before_us = time.time_ns() // 1_000
    async with running(topics):
        await until(lambda: bool(topics.read(LATE, 0)), "it is published")
    sent_us = int(dict(topics.read(LATE, 0)[0].headers)[SENT_HEADER])
    assert before_us <= sent_us <= time.time_ns() // 1_000


async def test_a_new_owner_knows_the_ids_of_the_ten_minutes_before(topics: DetectorTopics) -> None:
    events = [liquidation(number, event_time_ms=OLD_MS) for number in range(10)]
    for turn in range(2):  # the second owner begins behind the first one's state, and gets the same events again
        async with running(topics) as host:
            topics.append([*events, liquidation(10 + turn, event_time_ms=OLD_MS)], partition=0)
            host.deliver(0, topics.read(LIQUIDATIONS, 0)[11 * turn :])
            await until(lambda turn=turn: f"event-{10 + turn}" in late_ids(topics), "all are folded")  # type: ignore[misc]
    assert late_ids(topics) == [f"event-{number}" for number in range(12)]
    topics.assert_published_as_replayed()


async def test_records_that_come_again_are_dropped(topics: DetectorTopics) -> None:
    async with running(topics) as host:
        topics.append((liquidation(number, event_time_ms=OLD_MS) for number in range(10)), partition=0)
        log = topics.read(LIQUIDATIONS, 0)
        for first, last in ((0, 4), (2, 8), (0, 10)):
            host.deliver(0, log[first:last])
    assert late_ids(topics) == [f"event-{number}" for number in range(10)]


async def test_an_offset_is_covered_only_when_its_state_is_in_the_topic(topics: DetectorTopics) -> None:
    covered = Covered()
    async with running(topics, covered) as host:
        topics.append((liquidation(number, event_time_ms=OLD_MS) for number in range(10)), partition=0)
        host.deliver(0, topics.read(LIQUIDATIONS, 0))
        assert covered.get(0, 0) == 0
        await until(lambda: covered.get(0) == 10, "the state is written")
        rows = {record.key: CODEC.decode(DetectorSnapshot, record.value or b"") for record in topics.read(SNAPSHOTS, 0)}
        assert rows[b"partition/0"].next_offset == 10


async def test_a_record_that_no_sum_can_hold_is_a_dead_letter_alone(topics: DetectorTopics) -> None:
    bad = msgspec.structs.replace(liquidation(5, event_time_ms=OLD_MS), side=Side.UNKNOWN)
    good = [liquidation(number, event_time_ms=OLD_MS) for number in range(10)]
    async with running(topics) as host:
        topics.append([*good[:5], bad, *good[6:]], partition=0)
        host.deliver(0, topics.read(LIQUIDATIONS, 0))
    assert late_ids(topics) == [f"event-{number}" for number in range(10) if number != 5]
    assert topics.letters() == {(0, 5): 1}


async def test_an_owner_that_was_replaced_publishes_nothing_and_takes_over_anew(topics: DetectorTopics) -> None:
    async with running(topics) as host:
        now_ms = time.time_ns() // 1_000_000
        topics.append((liquidation(number, event_time_ms=now_ms) for number in range(40)), partition=0)
        opened = len(topics.read(JOURNAL, 0))
        other = JournalEntry(partition=0, epoch=7, sequence=90, after_offset=-1, kind=JournalKind.TICK)
        topics.write(JOURNAL, 0, other)
        host.deliver(0, topics.read(LIQUIDATIONS, 0))
        await until(lambda: "journal" in host.troubles()["partition 0"], "it sees the other's entry")
        await until(lambda: host.troubles()["partition 0"] == "ok", "it has taken over anew")
        epochs = [CODEC.decode(JournalEntry, record.value or b"").epoch for record in topics.read(JOURNAL, 0)[opened:]]
        assert epochs[-1] > 7
    topics.assert_published_as_replayed()


async def test_feed_health_goes_through_every_journal(topics: DetectorTopics) -> None:
    health = FeedHealth(
        exchange=Exchange.BYBIT, channel="liquidation", state=FeedState.LIVE, since_ms=1, event_time_ms=1
    )
    topics.write(FEED_HEALTH, 0, health, key="bybit/liquidation")
    async with running(topics):
        for partition in topics.partitions:
            await until(lambda partition=partition: bool(contexts(topics, partition)), "the health is journaled")  # type: ignore[misc]
        down = msgspec.structs.replace(health, state=FeedState.DOWN)
        topics.write(FEED_HEALTH, 0, down, key="bybit/liquidation")
        await until(lambda: contexts(topics, 1)[-1] == down, "and so is its change")


async def test_open_interest_and_funding_go_through_the_journal_of_their_partition(topics: DetectorTopics) -> None:
    #  partition 1   before the start   then, within the same 10 s or not
    #  interest      2                  more
    interest = open_interest(asset="ETH", coins=2.0)
    topics.write(OPEN_INTEREST, 1, open_interest(asset="ETH", coins=1.0), key="ETH")
    topics.write(OPEN_INTEREST, 1, interest, key="ETH")
    topics.write(FUNDING, 1, funding(0, 0.0001, asset="ETH"), key="ETH")
    async with running(topics):
        await until(lambda: len(entries(topics, 1)) == 2, "the latest of each source is journaled")
        told = {entry.topic: entry.value for entry in entries(topics, 1)}
        assert told[OPEN_INTEREST.name] == CODEC.encode(OPEN_INTEREST, interest)
        topics.write(FUNDING, 1, funding(0, 0.0002, asset="ETH", exchange=Exchange.OKX), key="ETH")
        await until(lambda: len(entries(topics, 1)) > 2, "and what comes")
    assert entries(topics, 0) == []
    detector = Detector(DetectorSettings(), partition=1)
    for record in topics.read(JOURNAL, 1):
        detector.apply(CODEC.decode(JournalEntry, record.value or b""))
    assert detector.contexts_refused == 0


def test_sieve_lets_one_of_a_source_and_step_in() -> None:
    sieve = Sieve(CODEC, "p.")
    value = CODEC.encode(OPEN_INTEREST, open_interest())
    times_ms = (10_000, 12_000, 19_999, 20_000)
    records = [LogRecord("p.market.open-interest", 0, k, time_ms, b"BTC", value) for k, time_ms in enumerate(times_ms)]
    assert [sieve.passes(sieve.source(record) or "", record) for record in records] == [True, False, False, True]
    assert sieve.source(records[0]._replace(value=b"junk")) is None
    health = LogRecord("p.market.feed-health", 0, 0, 1, b"bybit/liquidation", b"any")
    assert sieve.passes(sieve.source(health) or "", health)
    assert sieve.passes(sieve.source(health) or "", health)


def entries(topics: DetectorTopics, partition: int) -> list[JournalContext]:
    read = [CODEC.decode(JournalEntry, record.value or b"") for record in topics.read(JOURNAL, partition)]
    return [entry.context for entry in read if entry.context is not None]


def contexts(topics: DetectorTopics, partition: int) -> list[FeedHealth]:
    entries = [CODEC.decode(JournalEntry, record.value or b"") for record in topics.read(JOURNAL, partition)]
    return [CODEC.decode(FeedHealth, entry.context.value) for entry in entries if entry.context is not None]
