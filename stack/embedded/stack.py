"""Kafka, PostgreSQL and Redis of one data folder, started together, ended together."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from stack.embedded.folder import DataFolder
from stack.embedded.kafka import SMALL_JVM, KafkaServer, Security
from stack.embedded.postgres import PostgresServer
from stack.embedded.redis import RedisServer
from stack.embedded.server import Server

SERVERS: tuple[type[Server], ...] = (KafkaServer, PostgresServer, RedisServer)


class EmbeddedStack:
    """The three servers. One whose URL is in `given` (names as in the environment) is not started: that URL is used.

    As a context manager it starts them all and stops them all. They end with this process, however it ends."""

    def __init__(
        self,
        data: Path,
        *,
        given: Mapping[str, str] | None = None,
        security: Security | None = None,
        jvm: Sequence[str] = SMALL_JVM,
    ) -> None:
        """`security` adds a listener to the broker, whose address is `kafka.secure_url`; `jvm`: its options."""
        self.data = DataFolder(data)
        self.kafka = KafkaServer(self.data, security=security, jvm=jvm)
        self.postgres = PostgresServer(self.data)
        self.redis = RedisServer(self.data)
        every: tuple[Server, ...] = (self.kafka, self.postgres, self.redis)
        self._given = {server.variable: url for server in every if (url := (given or {}).get(server.variable))}
        self.servers = tuple(server for server in every if server.variable not in self._given)

    def start(self) -> dict[str, str]:
        """Start all at once; returns the URLs as environment settings.

        Raises StackError, with everything stopped again, when one of them cannot start."""
        self.data.acquire()
        errors: list[BaseException] = []
        threads = [threading.Thread(target=_start, args=(server, errors), daemon=True) for server in self.servers]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if errors:
                raise errors[0]
        except BaseException:
            self.stop()
            raise
        return self.environment()

    def stop(self) -> None:
        """Stop all that this stack has started, at once, and let go of the data folder."""
        self._end([server.stop for server in self.servers])

    def kill(self) -> None:
        """The same with SIGKILL: quicker, for data that nobody will read again."""
        self._end([server.kill for server in self.servers])

    def _end(self, ways: list[Callable[[], None]]) -> None:
        threads = [threading.Thread(target=way, daemon=True) for way in ways]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.data.release()

    def heal(self) -> list[str]:
        """Start again, on their data and ports, the servers that have ended by themselves; returns their names.

        Raises StackError when one cannot start; call again to try again."""
        crashed = [server for server in self.servers if server.crashed]
        for server in crashed:
            server.start()
        return [server.name for server in crashed]

    def environment(self) -> dict[str, str]:
        """The URLs as environment settings; of our own servers once they are started."""
        return self._given | {server.variable: server.url for server in self.servers}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _start(server: Server, errors: list[BaseException]) -> None:
    try:
        server.start()
    except BaseException as exc:
        errors.append(exc)
