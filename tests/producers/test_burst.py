"""A burst that the broker takes in slowly: nothing is lost, little is kept, and the wait is to be seen."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve

from producers import session as session_module
from producers.exchanges import ADAPTERS
from producers.settings import ProducersSection
from producers.source import Source
from schemas.errors import FrameRefused
from schemas.records import FeedHealth, Funding, Liquidation, OpenInterest
from schemas.words import FeedState
from tests.producers.toy import DEADLINE_S

FRAMES = 20_000
NOW_MS = 1_791_400_000_000
EXCHANGE = "binance"


class SlowOutlet:
    """Takes what comes while the gate is open."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.states: list[FeedState] = []
        self.gate = asyncio.Event()
        self.taken = asyncio.Condition()

    async def liquidations(self, events: Sequence[Liquidation]) -> None:
        await self.gate.wait()
        self.ids += [event.event_id for event in events]
        if len(self.ids) == FRAMES:
            async with self.taken:
                self.taken.notify_all()

    async def market(self, events: Sequence[OpenInterest | Funding]) -> None:
        raise AssertionError("no market data here")

    async def health(self, record: FeedHealth) -> None:
        if record.channel == "liquidation":
            self.states.append(record.state)

    async def raw_frame(self, frame: bytes, *, exchange: str, channel: str, received_time_us: int) -> None:
        raise AssertionError("no raw frames here")

    async def dead_letter(
        self, frame: bytes, error: FrameRefused, *, exchange: str, channel: str, received_time_us: int
    ) -> None:
        raise AssertionError(str(error))


def frame(number: int) -> str:
    order = {
        "s": "BTCUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "9", "p": "60000", "ap": "60000.5", "X": "FILLED",
        "l": "0.1", "z": f"0.{number + 1:06}", "T": NOW_MS + number, "ps": "BTCUSDT", "st": 1,
    }  # fmt: skip
    event = {"e": "forceOrder", "E": NOW_MS, "o": order}
    return json.dumps({"stream": "!forceOrder@arr", "data": event}, separators=(",", ":"))


async def test_burst_is_held_back_and_not_lost(tmp_path: Path) -> None:
    sent = 0

    async def burst(connection: ServerConnection) -> None:
        nonlocal sent
        await connection.recv()
        await connection.send('{"result":null,"id":1}')
        for number in range(FRAMES):
            await connection.send(frame(number))
            sent += 1
        await connection.wait_closed()

    outlet = SlowOutlet()
    adapter = replace(ADAPTERS[EXCHANGE], polls=(), instrument_sources=())
    async with serve(burst, "127.0.0.1", 0, compression=None, close_timeout=0.1) as server:
        origin = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        source = Source(adapter, ProducersSection(origins={EXCHANGE: origin}, cache_folder=tmp_path), outlet)
        async with asyncio.TaskGroup() as tasks:
            await source.run(tasks)
            async with asyncio.timeout(DEADLINE_S):
                before = -1
                while sent == 0 or sent != before:  # the server is held back, for nobody takes what it sends
                    before = sent
                    await asyncio.sleep(0.2)
            assert sent < FRAMES
            await source.channel.review()
            assert outlet.states[-1] is FeedState.SUBSCRIBED, "our own wait is no silence"
            outlet.gate.set()
            async with asyncio.timeout(60), outlet.taken:
                await outlet.taken.wait_for(lambda: len(outlet.ids) == FRAMES)
            await source.stop()
            await source.close()
    assert len(set(outlet.ids)) == FRAMES
    assert [int(event_id.split(":")[3]) for event_id in outlet.ids] == list(range(NOW_MS, NOW_MS + FRAMES))
    assert session_module.RECEIVE_QUEUE_MAX <= 64, "frames that a connection keeps"
