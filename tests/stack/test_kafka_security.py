"""Both Kafka clients over TLS and SCRAM-SHA-512, with the settings that every stage uses."""

import aiokafka
import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from pydantic import SecretStr

from runtime.kafka import aiokafka_config, confluent_config, producer_config
from runtime.settings import KafkaSettings

DEADLINE_S = 30.0


@pytest.fixture
def topic(secure_kafka: KafkaSettings, topic_prefix: str) -> str:
    name = f"{topic_prefix}secure"
    admin = AdminClient(confluent_config(secure_kafka))
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(DEADLINE_S)
    return name


async def test_each_client_reads_what_the_other_wrote(secure_kafka: KafkaSettings, topic: str) -> None:
    confluent = Producer(producer_config(secure_kafka))
    confluent.produce(topic, b"from confluent-kafka")
    assert confluent.flush(DEADLINE_S) == 0
    async with aiokafka.AIOKafkaProducer(**aiokafka_config(secure_kafka)) as producer:
        await producer.send_and_wait(topic, b"from aiokafka")

    consumer = Consumer(confluent_config(secure_kafka, group_id=topic, auto_offset_reset="earliest"))
    consumer.subscribe([topic])
    by_confluent = [message.value() for message in consumer.consume(2, DEADLINE_S)]
    consumer.close()
    by_aiokafka: list[bytes] = []
    async with aiokafka.AIOKafkaConsumer(
        topic, auto_offset_reset="earliest", **aiokafka_config(secure_kafka)
    ) as reader:
        while len(by_aiokafka) < 2:
            by_aiokafka.append((await reader.getone()).value)

    assert by_confluent == by_aiokafka == [b"from confluent-kafka", b"from aiokafka"]


def test_a_wrong_password_is_refused(secure_kafka: KafkaSettings) -> None:
    wrong = secure_kafka.model_copy(update={"sasl_password": SecretStr("guess")})
    with pytest.raises(KafkaException):
        AdminClient(confluent_config(wrong, log_level=0)).list_topics(timeout=5.0)


def test_an_authority_that_is_not_ours_is_refused(secure_kafka: KafkaSettings) -> None:
    without = secure_kafka.model_copy(update={"ssl_ca_file": None})
    with pytest.raises(KafkaException):
        AdminClient(confluent_config(without, log_level=0)).list_topics(timeout=5.0)
