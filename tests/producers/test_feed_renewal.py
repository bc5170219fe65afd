"""Connections replaced without a gap, and connections that live but deliver nothing, against a real server."""

import asyncio

import pytest

from producers import feed as feed_module
from producers import watchdog as watchdog_module
from schemas.words import FeedState
from tests.producers.test_feed import CONNECTED, RECONNECTING, STALE, SUBSCRIBED, Listener, running
from tests.producers.toy import toy_server


@pytest.fixture(autouse=True)
def short_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "OVERLAP_S", 0.1)


async def test_new_connection_is_subscribed_before_the_old_one_goes() -> None:
    # old  +a ok  one            two (late)  closed
    # new             +a ok  two             three
    listener = Listener()
    async with toy_server() as server, running(server, listener) as feed:
        await listener.until(lambda: SUBSCRIBED in listener.states)
        await server.send("one")
        feed.renew()
        await server.until(lambda: len(server.received) == 2 and server.received[1] == ["+a"])
        old, new = server.open
        await new.send("two")
        await old.send("two")
        await old.wait_closed()
        await new.send("three")
        await listener.until(lambda: b"three" in listener.frames)
    assert listener.frames == [b"one", b"two", b"two", b"three"]
    assert listener.states == [CONNECTED, SUBSCRIBED]


async def test_connection_is_replaced_at_its_age_again_and_again() -> None:
    listener = Listener()
    async with toy_server() as server, running(server, listener, roll_ms=50):
        await server.until(lambda: len(server.received) >= 4)
    assert listener.states == [CONNECTED, SUBSCRIBED]


async def test_renewal_that_fails_leaves_the_old_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog_module, "ACK_TIMEOUT_S", 0.05)
    listener = Listener()
    async with toy_server() as server, running(server, listener) as feed:
        await listener.until(lambda: SUBSCRIBED in listener.states)
        server.acks = False
        feed.renew()
        await server.until(lambda: len(server.received) >= 3)  # it is tried again
        await server.open[0].send("still here")
        await listener.until(lambda: listener.frames == [b"still here"])
        server.acks = True
        await server.open[0].wait_closed()
    assert listener.states == [CONNECTED, SUBSCRIBED]


async def test_cut_during_a_renewal_is_a_reconnect(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    async with toy_server() as server, running(server, listener) as feed:
        await listener.until(lambda: SUBSCRIBED in listener.states)
        server.acks = False
        feed.renew()
        await server.until(lambda: len(server.received) == 2 and server.received[1] == ["+a"])
        server.open[0].transport.abort()
        await listener.until(lambda: RECONNECTING in listener.states)
        server.acks = True
        await listener.until(lambda: listener.states.count(SUBSCRIBED) == 2)
    assert listener.states == [CONNECTED, SUBSCRIBED, RECONNECTING, CONNECTED, SUBSCRIBED]


async def test_stop_during_a_renewal_hands_over_what_had_arrived() -> None:
    listener = Listener()
    async with toy_server() as server, running(server, listener) as feed:
        await listener.until(lambda: SUBSCRIBED in listener.states)
        feed.renew()
        await server.until(lambda: len(server.received) == 2 and server.received[1] == ["+a"])
        listener.gate.clear()
        for connection in server.open:
            await connection.send("last")
            await (await connection.ping())
    assert listener.frames == [b"last", b"last"]


async def test_connection_that_delivers_nothing_is_stale_and_replaced() -> None:
    listener = Listener()
    async with toy_server() as server, running(server, listener, ("pulse", "a"), pulse_ms_max=100):
        await listener.until(lambda: RECONNECTING in listener.states)
        place = listener.states.index(STALE)
        assert listener.states[: place + 2] == [CONNECTED, SUBSCRIBED, STALE, RECONNECTING]
        assert "nothing came for 0.1 s, not even pulse" in listener.details[place]
        await listener.until(lambda: listener.states.count(SUBSCRIBED) == 2)


async def test_wait_for_the_broker_is_no_dead_pulse() -> None:
    listener = Listener()
    async with toy_server() as server, running(server, listener, ("pulse", "a"), pulse_ms_max=100):
        await listener.until(lambda: SUBSCRIBED in listener.states)
        listener.gate.clear()
        await server.send("one", "two")
        with pytest.raises(TimeoutError):  # five times the limit passes, and nothing comes of it
            async with asyncio.timeout(0.5):
                await listener.until(lambda: FeedState.STALE in listener.states)
        listener.gate.set()
        await listener.until(lambda: listener.frames == [b"one", b"two"])
