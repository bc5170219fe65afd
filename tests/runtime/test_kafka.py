"""Client settings and topics, on the real broker."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer

from runtime.kafka import aiokafka_config, confluent_config, create_topics, describe, producer_config
from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable, SettingsError
from schemas.topics import LIQUIDATIONS, STATE

KEYS = ["BTC", "ETH", "1000PEPE", "牛来", "龙虾", "*", "a" * 200, "é"]


def test_topics_are_created_once_with_the_partitions_of_the_settings(kafka: str, topic_prefix: str) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=3)
    assert topic_prefix + "market.liquidations" in create_topics(settings)
    assert create_topics(settings) == []
    present = describe(settings)
    assert present[topic_prefix + LIQUIDATIONS.name] == 3
    assert present[topic_prefix + STATE.name] == 1


def test_another_number_of_partitions_is_refused(kafka: str, topic_prefix: str) -> None:
    create_topics(KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=3), [LIQUIDATIONS])
    with pytest.raises(SettingsError, match=r"has 3 partitions, kafka\.partitions asks for 4"):
        create_topics(KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=4), [LIQUIDATIONS])


def test_both_clients_put_an_asset_into_the_same_partition(kafka: str, topic_prefix: str) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=12)
    create_topics(settings, [LIQUIDATIONS])
    topic = topic_prefix + LIQUIDATIONS.name
    assert partitions_by_confluent(settings, topic) == asyncio.run(partitions_by_aiokafka(settings, topic))


def partitions_by_confluent(settings: KafkaSettings, topic: str) -> dict[str, int]:
    found: dict[str, int] = {}
    producer = Producer(producer_config(settings))
    for key in KEYS:

        def delivered(error: object, message: object, key: str = key) -> None:
            assert error is None
            found[key] = message.partition()  # type: ignore[attr-defined]

        producer.produce(topic, key=key.encode(), value=b"", on_delivery=delivered)
    assert producer.flush(30) == 0
    return found


async def partitions_by_aiokafka(settings: KafkaSettings, topic: str) -> dict[str, int]:
    producer = AIOKafkaProducer(**aiokafka_config(settings))
    await producer.start()
    try:
        return {key: (await producer.send_and_wait(topic, key=key.encode(), value=b"")).partition for key in KEYS}
    finally:
        await producer.stop()


def test_a_broker_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.kafka.ADMIN_TIMEOUT_S", 1.0)
    with pytest.raises(BrokerUnavailable, match=r"connecting to Kafka at 127\.0\.0\.1:9: .*liqcascade stack up"):
        describe(KafkaSettings(bootstrap_servers="127.0.0.1:9"))


def test_security_settings_reach_librdkafka_under_its_names() -> None:
    settings = KafkaSettings(security_protocol="SASL_SSL", sasl_username="u", sasl_password="p", ssl_ca_file="/ca.pem")
    config = confluent_config(settings, linger_ms=5)
    assert config["security.protocol"] == "SASL_SSL"
    assert config["sasl.mechanism"] == "SCRAM-SHA-512"
    assert (config["sasl.username"], config["sasl.password"]) == ("u", "p")
    assert (config["ssl.ca.location"], config["linger.ms"]) == ("/ca.pem", 5)


def test_a_missing_certificate_is_named() -> None:
    with pytest.raises(SettingsError, match="ssl_ca_file"):
        aiokafka_config(KafkaSettings(security_protocol="SSL", ssl_ca_file="/no/such.pem"))
