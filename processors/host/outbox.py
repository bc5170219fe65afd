"""What a flow publishes, each topic in the order of the log, and which of it the broker has confirmed."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from processors.host.publisher import Header
from processors.outputs.output import Message
from schemas.topics import ALERTS, Topic


@dataclass(slots=True)
class Unconfirmed:
    """Counts the records between two captures of the state that the broker has not confirmed."""

    count: int = 0
    when_none: Callable[[], None] | None = None

    def confirm(self, records: int) -> None:
        """So many are confirmed."""
        self.count -= records
        assert self.count >= 0
        if not self.count and self.when_none is not None:
            self.when_none()


@dataclass(slots=True)
class Outgoing:
    """Records of one topic on their way, in order. `after`: how many journal entries the broker must have before."""

    topic: Topic
    messages: Sequence[Message]
    headers: Sequence[Header]
    unconfirmed: Unconfirmed
    after: int


class Outbox:
    """Records wait here for room in the producer, and behind a journal entry until the broker has it.

    Topics do not wait for each other, so that an alert passes by windows. `send(outgoing)` hands the first of its
    messages to the producer and returns how many: none when that is full."""

    def __init__(self, send: Callable[[Outgoing], int]) -> None:
        self._send = send
        self._lanes: dict[str, deque[Outgoing]] = {ALERTS.name: deque()}  # by topic, alerts first
        self._unconfirmed = Unconfirmed()
        self._entries = self._entries_passed = 0
        self._records = 0

    def __len__(self) -> int:
        """Records that wait."""
        return self._records

    @property
    def empty(self) -> bool:
        """Whether no record waits, and no journal entry is on its way."""
        return not self._records and self._entries == self._entries_passed

    def put(self, topic: Topic, messages: Sequence[Message], headers: Sequence[Header] = ()) -> None:
        """Queue records of one topic."""
        self._unconfirmed.count += len(messages)
        self._records += len(messages)
        lane = self._lanes.setdefault(topic.name, deque())
        lane.append(Outgoing(topic, messages, headers, self._unconfirmed, self._entries))

    def put_entry(self) -> Unconfirmed:
        """A journal entry is on its way: hold back what follows until `pass_entry` is called with what this returns.

        The broker has them in order."""
        self._unconfirmed.count += 1
        self._entries += 1
        return self._unconfirmed

    def pass_entry(self, unconfirmed: Unconfirmed) -> None:
        """The broker has the oldest entry that was on its way."""
        self._entries_passed += 1
        unconfirmed.confirm(1)

    def pump(self) -> None:
        """Send what may be sent."""
        for lane in self._lanes.values():
            while lane and lane[0].after <= self._entries_passed:
                head = lane[0]
                taken = self._send(head)
                if not taken:
                    break
                self._records -= taken
                head.messages = head.messages[taken:]
                if not head.messages:
                    lane.popleft()

    def clear(self) -> None:
        """Send none of it."""
        for lane in self._lanes.values():
            lane.clear()
        self._records = 0

    def when_confirmed(self, call: Callable[[], None]) -> None:
        """Call once all that was put until now is confirmed; at once when it is."""
        known, self._unconfirmed = self._unconfirmed, Unconfirmed()
        known.when_none = call
        if not known.count:
            call()
