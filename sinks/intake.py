"""Messages of a batch -> records of the topics, and letters about those that are none."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from confluent_kafka import Message

from schemas.codec import Codec
from schemas.errors import SchemaError
from schemas.records import Record
from schemas.topics import Topic
from sinks.connector import Batch, Position, SinkRecord
from sinks.dead_letters import Letter, Stage, headers_of
from sinks.reader import position_of
from sinks.task_refusals import class_name
from sinks.values import Values


class Intake:
    """Decodes for one task."""

    def __init__(self, topics: Mapping[str, Topic], registry_url: str | None) -> None:
        """`topics`: by full name."""
        codec = Codec(registry_url)
        self._topics = {name: (topic, Values(codec, _record_type(topic))) for name, topic in topics.items()}

    def batch_of(self, messages: Iterable[Message]) -> tuple[Batch, list[Letter]]:
        """The batch of messages that are in order within each partition; one topic stands behind the other."""
        by_topic: dict[str | None, list[Message]] = defaultdict(list)
        for message in messages:
            by_topic[message.topic()].append(message)
        records: list[SinkRecord] = []
        letters: list[Letter] = []
        next_offsets: dict[Position, int] = {}
        for name, group in by_topic.items():
            assert name is not None, "a message comes from a topic"
            topic, values = self._topics[name]
            decoded = values.decode([message.value() for message in group])
            for message, record in zip(group, decoded, strict=True):
                position, offset = position_of(message), message.offset()
                assert offset is not None, "a message from a partition has one"
                assert offset >= next_offsets.get(position, 0), "offsets of a partition rise"
                next_offsets[position] = offset + 1
                if isinstance(record, SchemaError):
                    letters.append(_letter(message, position, offset, record))
                else:
                    records.append(_sink_record(message, topic, position, offset, record))
        return Batch(records, next_offsets), letters


def _sink_record(message: Message, topic: Topic, position: Position, offset: int, record: Record) -> SinkRecord:
    value = message.value()
    assert value is not None, "what has no value was not decoded"
    return SinkRecord(
        topic=topic,
        position=position,
        offset=offset,
        append_time_ms=message.timestamp()[1],
        key=message.key(),
        value=value,
        record=record,
        headers=headers_of(message),
    )


def _letter(message: Message, position: Position, offset: int, error: SchemaError) -> Letter:
    return Letter(
        position=position,
        offset=offset,
        key=message.key(),
        value=message.value(),
        headers=headers_of(message),
        error=error,
        stage=Stage.VALUE_CONVERTER,
        class_name=class_name(Codec),
    )


def _record_type(topic: Topic) -> type[Record]:
    assert topic.record is not None, f"{topic.name} holds no records"
    return topic.record
