"""Three exchanges that can send a burst: finished websocket frames, written in large pieces by a process of its own.

`python -m benchmarks._sender FRAMES FRAMES_PER_S` prints {"origins"} when it listens; at a line on stdin it sends, as
fast as it is read but no faster than told, and prints {"sent", "took_s"}; it ends when stdin does."""

import asyncio
import base64
import hashlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from stack.simulator.binance import Binance
from stack.simulator.bybit import Bybit
from stack.simulator.exchange import Client, SimulatedExchange
from stack.simulator.okx import Okx

SYMBOLS: Final = ("BTC", "ETH", "SOL", "XRP", "DOGE", "BNB", "ADA", "LINK")
TICK_MS: Final = 5  # what is due in it is one write
LEAD_MS: Final = 500  # event times begin when sending does
ACCEPT: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
FINAL: Final = 0x80
BYTE_SIZES_MAX, TWO_BYTE_SIZES_MAX = 125, 65_535


def binance_text(number: int, asset: str, at_ms: int) -> str:
    """A frame of one event."""
    return (
        f'{{"stream":"!forceOrder@arr","data":{{"e":"forceOrder","E":{at_ms + 3},"o":{{"s":"{asset}USDT","S":"SELL",'
        f'"o":"LIMIT","f":"IOC","q":"9","p":"60","ap":"60.5","X":"FILLED","l":"0.1","z":"0.{number + 1:07}",'
        f'"T":{at_ms},"ps":"{asset}USDT","st":1}}}}}}'
    )


def bybit_text(number: int, asset: str, at_ms: int) -> str:
    """A frame of one event."""
    return (
        f'{{"topic":"allLiquidation.{asset}USDT","type":"snapshot","ts":{at_ms + 3},"data":[{{"T":{at_ms},'
        f'"s":"{asset}USDT","S":"Buy","v":"0.{number + 1:07}","p":"60.5"}}]}}'
    )


def okx_text(number: int, asset: str, at_ms: int) -> str:
    """A frame of one event."""
    return (
        '{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"details":[{"bkLoss":"0","bkPx":"60.5",'
        f'"ccy":"","posSide":"long","side":"sell","sz":"{(number + 1) / 100}","ts":"{at_ms}"}}],'
        f'"instFamily":"{asset}-USDT","instId":"{asset}-USDT-SWAP","instType":"SWAP","uly":"{asset}-USDT"}}]}}'
    )


# Each exchange, the word in a subscription by which the connection of its liquidations is known, its frames.
EXCHANGES: Final[dict[str, tuple[SimulatedExchange, str, Callable[[int, str, int], str]]]] = {
    "binance": (Binance(), "forceOrder", binance_text),
    "bybit": (Bybit(), "allLiquidation.BTCUSDT", bybit_text),
    "okx": (Okx(), "SWAP", okx_text),
}


class Sender:
    """The server of all three. `writers`: connections that subscribed to the liquidations, by exchange."""

    def __init__(self) -> None:
        self.writers: dict[str, asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client, REST or websocket."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                address, headers = urlsplit(head[0].split()[1]), _headers(head[1:])
                _, name, path = address.path.split("/", 2)
                exchange = EXCHANGES[name][0]
                if "sec-websocket-key" in headers:
                    writer.write(_accepted(headers["sec-websocket-key"]))
                    await self._listen(exchange, Client(f"/{path}"), reader, writer)
                    return
                body = exchange.rest(f"/{path}", dict(parse_qsl(address.query)), time.time_ns() // 1_000_000).body
                text = json.dumps(body).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(text)
                )
                writer.write(text)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()

    async def _listen(
        self, exchange: SimulatedExchange, client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            kind, data = await _receive(reader)
            if kind == CLOSE:
                writer.write(frame(data, CLOSE))
                return
            if kind == PING:
                writer.write(frame(data, PONG))
            elif kind == TEXT:
                for text in exchange.answer(data.decode(), client).texts:
                    writer.write(frame(text.encode()))
                if EXCHANGES[exchange.name][1] in data.decode():
                    self.writers[exchange.name] = writer

    async def burst(self, frames: int, per_s: int) -> dict[str, Any]:
        """Send so many frames, alternating between the exchanges."""
        start_ms = time.time_ns() // 1_000_000 + LEAD_MS + frames // 100  # it takes 5 µs to make one
        pieces = [_pieces(name, number, frames, per_s, start_ms) for number, name in enumerate(EXCHANGES)]
        await asyncio.sleep(max(0.0, start_ms / 1_000 - time.time()))
        start = time.monotonic()
        await asyncio.gather(
            *(self._send(self.writers[name], each, start) for name, each in zip(EXCHANGES, pieces, strict=True))
        )
        return {"sent": frames, "took_s": round(time.monotonic() - start, 3)}

    async def _send(self, writer: asyncio.StreamWriter, pieces: list[bytes], start: float) -> None:
        """One piece a tick; held back by the reader, it makes up for lost time as soon as it is let."""
        for number, piece in enumerate(pieces):
            early_s = start + number * TICK_MS / 1_000 - time.monotonic()
            if early_s > 0:
                await asyncio.sleep(early_s)
            writer.write(piece)
            await writer.drain()


def frame(data: bytes, kind: int = TEXT) -> bytes:
    """A frame of a server, unmasked, RFC 6455 section 5.2."""
    size = len(data)
    if size <= BYTE_SIZES_MAX:
        return bytes((FINAL | kind, size)) + data
    if size <= TWO_BYTE_SIZES_MAX:
        return bytes((FINAL | kind, 126)) + size.to_bytes(2, "big") + data
    return bytes((FINAL | kind, 127)) + size.to_bytes(8, "big") + data


def _pieces(name: str, place: int, frames: int, per_s: int, start_ms: int) -> list[bytes]:
    """What one exchange sends, tick by tick: every third frame."""
    text, ticks = EXCHANGES[name][2], frames * 1_000 // (per_s * TICK_MS)
    each = frames // ticks
    pieces = []
    for tick in range(ticks):
        numbers = [n for n in range(tick * each, (tick + 1) * each) if n % len(EXCHANGES) == place]
        at_ms = start_ms + tick * TICK_MS
        pieces.append(b"".join(frame(text(n, SYMBOLS[n // 3 % len(SYMBOLS)], at_ms).encode()) for n in numbers))
    return pieces


async def _receive(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Kind and content of a client's frame, which is masked and never fragmented."""
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size > BYTE_SIZES_MAX:
        size = int.from_bytes(await reader.readexactly(2 if size == BYTE_SIZES_MAX + 1 else 8), "big")
    mask, data = await reader.readexactly(4), await reader.readexactly(size)
    return first & 0xF, bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))


def _accepted(key: str) -> bytes:
    accept = base64.b64encode(hashlib.sha1((key + ACCEPT).encode(), usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def _headers(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines if line)
    return {name.lower(): value.strip() for name, _, value in pairs}


async def main(frames: int, per_s: int) -> None:
    """The process."""
    sender, loop = Sender(), asyncio.get_running_loop()
    server = await asyncio.start_server(sender.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"origins": {name: f"http://127.0.0.1:{port}/{name}" for name in EXCHANGES}}), flush=True)
    if await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await sender.burst(frames, per_s)), flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
