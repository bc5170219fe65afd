"""A TCP proxy on loopback whose network can fall silent or break."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from stack.embedded.ports import HOST, free_port

CHUNK_BYTES: Final = 65_536
ANSWER_S_MAX: Final = 30.0
T = TypeVar("T")


class Proxy:
    """`port` leads to a server's port. Methods may be called from any thread; `close` ends it."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._passing = asyncio.Event()
        self._passing.set()
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._server = self._call(asyncio.start_server(self._connected, HOST, self.port))

    def silence(self) -> None:
        """Pass nothing on, either way; connections are taken and hear nothing. What was sent comes later."""
        self._loop.call_soon_threadsafe(self._passing.clear)

    def cut(self) -> None:
        """Break every connection, and each new one at once."""
        self._refusing = True
        self._loop.call_soon_threadsafe(self._abort_all)

    def heal(self) -> None:
        """Pass all on again."""
        self._refusing = False
        self._loop.call_soon_threadsafe(self._passing.set)

    def close(self) -> None:
        """End it with all connections."""
        self.cut()
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._passing.set)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(ANSWER_S_MAX)

    def _abort_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            await self._passing.wait()
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target_port)
            self._writers.add(far_writer)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
            self._writers.discard(far_writer)
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                await self._passing.wait()
                writer.write(chunk)
                await writer.drain()
        writer.close()
