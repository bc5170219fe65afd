"""What may be sent when, and what counts as confirmed."""

from hypothesis import given
from hypothesis import strategies as st

from processors.host.outbox import Outbox, Outgoing
from processors.outputs.output import Message
from schemas.topics import ALERTS, STATE, WINDOWS, Topic


class Producer:
    """Takes as many records as there is room for."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken: list[tuple[str, str]] = []  # topic and key
        self.reports: list[tuple[Outgoing, int]] = []

    def send(self, outgoing: Outgoing) -> int:
        count = min(self.room, len(outgoing.messages))
        self.room -= count
        self.taken += [(outgoing.topic.name, message["key"]) for message in outgoing.messages[:count]]
        if count:
            self.reports.append((outgoing, count))
        return count

    def confirm_all(self) -> None:
        for outgoing, count in self.reports:
            outgoing.unconfirmed.confirm(count)
        self.reports.clear()


def messages(*keys: str) -> list[Message]:
    return [{"key": key, "value": b""} for key in keys]


def test_an_alert_passes_by_windows_that_wait_for_room() -> None:
    producer = Producer(room=1)
    outbox = Outbox(producer.send)
    outbox.put(WINDOWS, messages("w1", "w2", "w3"))
    outbox.pump()
    outbox.put(ALERTS, messages("a1"))
    producer.room = 2
    outbox.pump()
    assert producer.taken == [(WINDOWS.name, "w1"), (ALERTS.name, "a1"), (WINDOWS.name, "w2")]
    assert len(outbox) == 1


def test_nothing_shows_before_the_broker_has_the_journal_entry_it_follows() -> None:
    producer = Producer(room=10)
    outbox = Outbox(producer.send)
    first = outbox.put_entry()
    outbox.put(ALERTS, messages("a1"))
    second = outbox.put_entry()
    outbox.put(ALERTS, messages("a2"))
    outbox.pump()
    assert not producer.taken
    outbox.pass_entry(first)
    outbox.pump()
    assert producer.taken == [(ALERTS.name, "a1")]
    assert not outbox.empty
    outbox.pass_entry(second)
    outbox.pump()
    assert producer.taken == [(ALERTS.name, "a1"), (ALERTS.name, "a2")]
    assert outbox.empty


def test_a_state_is_ready_when_all_before_its_capture_is_confirmed() -> None:
    producer, ready = Producer(room=10), []
    outbox = Outbox(producer.send)
    outbox.put(WINDOWS, messages("w1", "w2"))
    entry = outbox.put_entry()
    outbox.when_confirmed(lambda: ready.append("first"))
    outbox.put(WINDOWS, messages("w3"))
    outbox.pump()
    producer.confirm_all()
    assert not ready, "the entry is on its way"
    outbox.pass_entry(entry)
    assert ready == ["first"]
    outbox.when_confirmed(lambda: ready.append("second"))
    outbox.pump()
    producer.confirm_all()
    assert ready == ["first", "second"]


@given(
    parts=st.lists(st.tuples(st.sampled_from((STATE, WINDOWS, ALERTS)), st.integers(1, 5)), max_size=20),
    rooms=st.lists(st.integers(0, 7), max_size=40),
)
def test_each_topic_is_sent_in_order_and_whole(parts: list[tuple[Topic, int]], rooms: list[int]) -> None:
    producer = Producer(room=0)
    outbox, put, pieces = Outbox(producer.send), list[tuple[str, str]](), iter(parts)
    for room in [*rooms, *[1_000] * len(parts)]:
        topic, count = next(pieces, (STATE, 0))
        if count:
            keys = [str(len(put) + number) for number in range(count)]
            put += [(topic.name, key) for key in keys]
            outbox.put(topic, messages(*keys))
        producer.room = room
        outbox.pump()
        assert len(outbox) == len(put) - len(producer.taken)
    for topic in (STATE, WINDOWS, ALERTS):
        assert [one for one in producer.taken if one[0] == topic.name] == [one for one in put if one[0] == topic.name]
