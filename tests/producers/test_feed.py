"""The websocket loop against a real server, with every way in which a connection can go wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from producers import session as session_module
from producers import watchdog as watchdog_module
from producers.exchange import FRAME_BYTES_MAX, Heartbeat
from producers.feed import Feed
from producers.settings import ProducersSection
from schemas.errors import BrokerUnavailable
from schemas.words import FeedState
from tests.producers.toy import DEADLINE_S, ToyServer, adapter, toy_server

CONNECTED, SUBSCRIBED, STALE, RECONNECTING = (
    FeedState.CONNECTED,
    FeedState.SUBSCRIBED,
    FeedState.STALE,
    FeedState.RECONNECTING,
)


class Listener:
    """The callbacks of a feed; `until` waits for a condition on what they got."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.states: list[FeedState] = []
        self.details: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self._changed = asyncio.Condition()

    async def on_frame(self, frame: bytes, received_time_us: int, subscribed_time_ms: int) -> None:
        assert received_time_us >= subscribed_time_ms * 1_000 > 0
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.frames.append(frame)
        await self._notify()

    async def on_state(self, state: FeedState, detail: str) -> None:
        self.states.append(state)
        self.details.append(detail)
        await self._notify()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(condition)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def running(
    server: ToyServer,
    listener: Listener,
    topics: Sequence[str] = ("a",),
    heartbeat: Heartbeat | None = None,
    pulse_ms_max: int | None = None,
    roll_ms: int | None = None,
) -> AsyncIterator[Feed]:
    section = ProducersSection(origins={}, backoff_ms_base=5, backoff_ms_max=20, stable_ms=60_000)
    section = section.model_copy(update={"origins": {"gate": server.origin}})
    toy = adapter(heartbeat=heartbeat, pulse_ms_max=pulse_ms_max, roll_ms=roll_ms)
    feed = Feed(
        toy, toy.connections[0], topics, settings=section, on_frame=listener.on_frame, on_state=listener.on_state
    )
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        listener.gate.set()
        await feed.stop()
        async with asyncio.timeout(DEADLINE_S):
            await task


async def test_frames_arrive_after_the_subscription() -> None:
    listener = Listener()
    async with toy_server() as server, running(server, listener, ("a", "b")):
        await listener.until(lambda: SUBSCRIBED in listener.states)
        await server.send("one", "two")
        await listener.until(lambda: len(listener.frames) == 2)
        assert server.received == [["+a,b"]]
    assert listener.frames == [b"one", b"two"]
    assert listener.states == [CONNECTED, SUBSCRIBED]


async def test_connection_that_is_cut_is_opened_again() -> None:
    listener = Listener()
    async with toy_server() as server, running(server, listener):
        for cuts in range(1, 4):
            await listener.until(lambda cuts=cuts: listener.states.count(SUBSCRIBED) == cuts)  # type: ignore[misc]
            await server.send(f"frame {cuts}")
            await listener.until(lambda cuts=cuts: len(listener.frames) == cuts)  # type: ignore[misc]
            await server.cut()
        await listener.until(lambda: listener.states.count(SUBSCRIBED) == 4)
    assert listener.frames == [b"frame 1", b"frame 2", b"frame 3"]
    assert listener.states[:5] == [CONNECTED, SUBSCRIBED, RECONNECTING, CONNECTED, SUBSCRIBED]


async def test_server_that_is_not_there_is_tried_until_it_is() -> None:
    listener, server = Listener(), ToyServer()
    await server.start()
    await server.stop()
    with capture_logs() as lines:
        async with running(server, listener):
            await listener.until(lambda: listener.states.count(RECONNECTING) >= 6)
            await server.start()
            await listener.until(lambda: SUBSCRIBED in listener.states)
        await server.stop()
    waits_ms = [line["wait_ms"] for line in lines if line["event"] == "reconnecting"]
    assert len(set(waits_ms)) > 1
    assert max(waits_ms) <= 20


async def test_heartbeats_are_sent_and_a_missing_answer_is_noticed() -> None:
    listener, heartbeat = Listener(), Heartbeat("ping", interval_ms=20, answer_ms_max=300)
    async with toy_server() as server, running(server, listener, heartbeat=heartbeat):
        await server.until(lambda: bool(server.received) and server.received[0].count("ping") >= 3)
        assert listener.states == [CONNECTED, SUBSCRIBED]
        server.pongs = False
        await listener.until(lambda: RECONNECTING in listener.states)
        assert "heartbeat" in listener.details[listener.states.index(RECONNECTING)]
        server.pongs = True
        await listener.until(lambda: listener.states.count(SUBSCRIBED) == 2)


async def test_pongs_are_no_data_where_a_pulse_is_due() -> None:
    listener, heartbeat = Listener(), Heartbeat("ping", interval_ms=20, answer_ms_max=10_000)
    async with toy_server() as server, running(server, listener, heartbeat=heartbeat, pulse_ms_max=60_000) as feed:
        await listener.until(lambda: SUBSCRIBED in listener.states)
        await server.send("frame")
        await listener.until(lambda: listener.frames == [b"frame"])
        last_ms, pings = feed.last_frame_ms, server.received[0].count("ping")
        await server.until(lambda: server.received[0].count("ping") >= pings + 3)
        assert feed.last_frame_ms == last_ms, "a gap that begins now began with the last frame"


async def test_subscription_without_an_answer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog_module, "ACK_TIMEOUT_S", 0.05)
    listener = Listener()
    async with toy_server() as server:
        server.acks = False
        async with running(server, listener):
            await listener.until(lambda: RECONNECTING in listener.states)
            assert "not answered" in listener.details[listener.states.index(RECONNECTING)]
            assert SUBSCRIBED not in listener.states
            server.acks = True
            monkeypatch.setattr(watchdog_module, "ACK_TIMEOUT_S", DEADLINE_S)
            await listener.until(lambda: SUBSCRIBED in listener.states)


async def test_refused_topic_is_named_and_left_out() -> None:
    listener = Listener()
    async with toy_server() as server:
        server.refused = {"b"}
        async with running(server, listener, ("a", "b", "c")) as feed:
            await listener.until(lambda: SUBSCRIBED in listener.states)
            assert server.received == [["+a,b,c"], ["+a,c"]]
            assert "refused: no b" in listener.details[listener.states.index(RECONNECTING)]
            assert listener.details[listener.states.index(SUBSCRIBED)] == "topics: 2; refused: b"
            server.refused = set()
            await feed.add(["b", "d"])
            await server.until(lambda: "+b,d" in server.received[-1])
            assert feed.topics == ["a", "b", "c", "d"]
            assert feed.refused == set()


async def test_announced_cut_is_answered_by_a_new_connection() -> None:
    listener = Listener()
    async with toy_server() as server, running(server, listener):
        await listener.until(lambda: SUBSCRIBED in listener.states)
        await server.send("bye")
        await listener.until(lambda: listener.states.count(SUBSCRIBED) == 2)
    assert "maintenance" in listener.details[listener.states.index(RECONNECTING)]


async def test_frame_beyond_the_limit_ends_the_connection_and_nothing_else() -> None:
    listener = Listener()
    async with toy_server() as server, running(server, listener):
        await listener.until(lambda: SUBSCRIBED in listener.states)
        await server.send("x" * (FRAME_BYTES_MAX + 1))
        await listener.until(lambda: listener.states.count(SUBSCRIBED) == 2)
        await server.send("y" * FRAME_BYTES_MAX)
        await listener.until(lambda: bool(listener.frames))
    assert [len(frame) for frame in listener.frames] == [FRAME_BYTES_MAX]


async def test_frames_that_had_arrived_are_handed_over_at_the_stop() -> None:
    listener = Listener()
    async with toy_server() as server, running(server, listener):
        await listener.until(lambda: SUBSCRIBED in listener.states)
        listener.gate.clear()
        await server.send(*map(str, range(50)))
        assert await (await server.open[-1].ping()) >= 0  # the client has read all that was sent before
    assert listener.frames == [str(number).encode() for number in range(50)]
    assert RECONNECTING not in listener.states


async def test_wait_for_the_broker_is_no_silence_of_the_exchange() -> None:
    listener, heartbeat = Listener(), Heartbeat("ping", interval_ms=20, answer_ms_max=40)
    async with toy_server() as server, running(server, listener, heartbeat=heartbeat):
        await listener.until(lambda: SUBSCRIBED in listener.states)
        listener.gate.clear()
        await server.send("one", "two")
        with pytest.raises(TimeoutError):  # five times the answer's deadline pass, and nothing comes of it
            async with asyncio.timeout(0.2):
                await listener.until(lambda: RECONNECTING in listener.states)
        listener.gate.set()
        await listener.until(lambda: len(listener.frames) == 2)
        await server.until(lambda: len(server.received[-1]) > 3)
    assert RECONNECTING not in listener.states


async def test_stop_does_not_wait_for_a_server_that_never_answers() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        await reader.read()
        writer.close()

    called = asyncio.Event()
    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        section = ProducersSection().model_copy(
            update={"origins": {"gate": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"}}
        )
        listener = Listener()
        feed = Feed(
            adapter(),
            adapter().connections[0],
            ["a"],
            settings=section,
            on_frame=listener.on_frame,
            on_state=listener.on_state,
        )
        task = asyncio.create_task(feed.run())
        await called.wait()
        await feed.stop()
        await asyncio.wait_for(task, session_module.OPEN_TIMEOUT_S / 2)
    assert listener.states == []


async def test_error_of_our_own_ends_the_feed() -> None:
    listener = Listener()
    listener.error = BrokerUnavailable("publishing: no broker")
    async with toy_server() as server:
        section = ProducersSection().model_copy(update={"origins": {"gate": server.origin}})
        feed = Feed(
            adapter(),
            adapter().connections[0],
            ["a"],
            settings=section,
            on_frame=listener.on_frame,
            on_state=listener.on_state,
        )
        task = asyncio.create_task(feed.run())
        await listener.until(lambda: SUBSCRIBED in listener.states)
        await server.send("one")
        with pytest.raises(BrokerUnavailable):
            await asyncio.wait_for(task, DEADLINE_S)
    assert RECONNECTING not in listener.states
