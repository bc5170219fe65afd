"""Everything that a topic holds."""

from confluent_kafka import Consumer, Message, TopicPartition

from runtime.kafka import confluent_config, describe
from runtime.settings import KafkaSettings
from schemas.topics import Topic
from tests.producers.toy import DEADLINE_S


def records(settings: KafkaSettings, topic: Topic) -> list[Message]:
    """Partition by partition, in the order of their offsets."""
    name = settings.topic_prefix + topic.name
    consumer = Consumer(confluent_config(settings, group_id="tests", enable_auto_commit=False))
    found: list[Message] = []
    try:
        for partition in range(describe(settings)[name]):
            start, end = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=DEADLINE_S)
            consumer.assign([TopicPartition(name, partition, start)])
            for _ in range(start, end):
                message = consumer.poll(DEADLINE_S)
                assert message is not None
                assert message.error() is None
                found.append(message)
    finally:
        consumer.close()
    return found
