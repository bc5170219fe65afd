"""Deadlines of a connection against a real server: what counts as life, and what our own waiting is not."""

import asyncio

import pytest

from producers import watchdog as watchdog_module
from producers.exchange import Heartbeat
from tests.producers.test_feed import RECONNECTING, SUBSCRIBED, Listener, running
from tests.producers.toy import toy_server


@pytest.fixture(autouse=True)
def short_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog_module, "PING_INTERVAL_S", 0.05)
    monkeypatch.setattr(watchdog_module, "PING_TIMEOUT_S", 0.5)


async def test_peer_that_answers_no_ping_is_dead() -> None:
    listener = Listener()
    async with toy_server() as server, running(server, listener):
        await listener.until(lambda: SUBSCRIBED in listener.states)
        server.open[-1].transport.pause_reading()
        await listener.until(lambda: RECONNECTING in listener.states)
        assert "a ping was not answered in 0.5 s" in listener.details[listener.states.index(RECONNECTING)]
        server.open[-1].transport.resume_reading()
        await listener.until(lambda: listener.states.count(SUBSCRIBED) == 2)


async def test_pong_behind_frames_that_wait_for_the_broker_is_not_late() -> None:
    frames = 2_000
    listener = Listener()
    async with toy_server() as server, running(server, listener):
        await listener.until(lambda: SUBSCRIBED in listener.states)
        listener.gate.clear()
        await server.send(*map(str, range(frames)))  # more than the client keeps: it stops reading
        with pytest.raises(TimeoutError):  # three times the limit passes, and nothing comes of it
            async with asyncio.timeout(1.5):
                await listener.until(lambda: RECONNECTING in listener.states)
        listener.gate.set()
        await listener.until(lambda: len(listener.frames) == frames)
    assert RECONNECTING not in listener.states


async def test_heartbeats_go_on_while_frames_wait_for_the_broker() -> None:
    listener, heartbeat = Listener(), Heartbeat("ping", interval_ms=20, answer_ms_max=10_000)
    async with toy_server() as server, running(server, listener, heartbeat=heartbeat):
        await listener.until(lambda: SUBSCRIBED in listener.states)
        listener.gate.clear()
        await server.send("one")
        await server.until(lambda: bool(server.received[-1]))
        sent = len(server.received[-1])
        await server.until(lambda: len(server.received[-1]) >= sent + 5)  # else the exchange would cut us
        assert listener.frames == []
        listener.gate.set()
        await listener.until(lambda: listener.frames == [b"one"])
    assert RECONNECTING not in listener.states
