"""What a flow publishes, in the order of the log, and which of it the broker has confirmed."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.topics import Topic


@dataclass(slots=True)
class Unconfirmed:
    """Counts the records between two captures of the state that the broker has not confirmed."""

    count: int = 0
    when_none: Callable[[], None] | None = None

    def confirm(self) -> None:
        """One record is confirmed."""
        self.count -= 1
        assert self.count >= 0
        if not self.count and self.when_none is not None:
            self.when_none()


@dataclass(slots=True)
class Outgoing:
    """One record on its way; `topic` None is a journal entry that is on its way already (a barrier)."""

    topic: Topic | None
    unconfirmed: Unconfirmed
    key: bytes = b""
    value: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    confirmed: bool = False


class Outbox:
    """Records wait here for room in the producer, and behind a journal entry until the broker has it.

    `send(outgoing)` hands one to the producer; False when that is full."""

    def __init__(self, send: Callable[[Outgoing], bool]) -> None:
        self._send = send
        self._waiting: deque[Outgoing] = deque()
        self._unconfirmed = Unconfirmed()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, topic: Topic, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """Queue a record."""
        self._unconfirmed.count += 1
        self._waiting.append(Outgoing(topic, self._unconfirmed, key, value, headers))

    def put_barrier(self) -> Outgoing:
        """Hold back what follows until `confirm` is called for this entry, which is on its way."""
        self._unconfirmed.count += 1
        barrier = Outgoing(None, self._unconfirmed)
        self._waiting.append(barrier)
        return barrier

    def confirm(self, outgoing: Outgoing) -> None:
        """The broker has it."""
        outgoing.confirmed = True
        outgoing.unconfirmed.confirm()

    def pump(self) -> None:
        """Send what may be sent, in order."""
        while self._waiting:
            head = self._waiting[0]
            if not (head.confirmed if head.topic is None else self._send(head)):
                return
            self._waiting.popleft()

    def clear(self) -> None:
        """Send none of it."""
        self._waiting.clear()

    def when_confirmed(self, call: Callable[[], None]) -> None:
        """Call once all that was put until now is confirmed; at once when it is."""
        known, self._unconfirmed = self._unconfirmed, Unconfirmed()
        known.when_none = call
        if not known.count:
            call()
