"""Offsets of a connector, read and set by people.

What is shown is what Kafka keeps for the connector's group, as Connect does. What counts is what the store has: setting
offsets sets both, and only while the connector is stopped."""

import time
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from runtime.kafka import confluent_config, describe, topic_names
from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable, RequestRefused
from sinks.configs import ConnectorConfig
from sinks.connector import Batch, Position
from sinks.reader import group_of

Json = Any
ANSWER_S_MAX: Final = 10.0
EMPTY_S_MAX: Final = 10.0  # how long tasks that were just stopped may take to leave their group
LOOK_S: Final = 0.1


def show(config: ConnectorConfig) -> Json:
    """As Connect writes them. Raises BrokerUnavailable."""
    admin, group = AdminClient(confluent_config(config.settings.kafka)), _group(config)
    found = _answer(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]), "reading offsets")
    return {
        "offsets": [
            {
                "partition": {"kafka_partition": each.partition, "kafka_topic": each.topic},
                "offset": {"kafka_offset": each.offset},
            }
            for each in found.topic_partitions
            if each.offset >= 0
        ]
    }


def alter(config: ConnectorConfig, body: Json) -> Json:
    """Set some; an offset of null is the first that the log holds. Raises RequestRefused, Unavailable."""
    wanted = _wanted(body, _partitions(config))
    _set(config, wanted)
    return {"message": "The offsets for this connector have been altered successfully"}


def reset(config: ConnectorConfig) -> Json:
    """Begin all partitions anew. Raises RequestRefused, Unavailable."""
    _set(config, dict.fromkeys(_partitions(config)))
    return {"message": "The offsets for this connector have been reset successfully"}


def _wanted(body: Json, partitions: list[Position]) -> dict[Position, int | None]:
    rows = body.get("offsets") if isinstance(body, dict) else None
    if not isinstance(rows, list) or not rows:
        raise RequestRefused("Partitions / offsets need to be provided for an alter offsets request", 400)
    wanted: dict[Position, int | None] = {}
    for row in rows:
        partition, offset = (row.get("partition"), row.get("offset")) if isinstance(row, dict) else (None, None)
        if not isinstance(partition, dict) or not {"kafka_topic", "kafka_partition"} <= partition.keys():
            raise RequestRefused(
                "The partition for a sink connector offset must contain the keys 'kafka_topic' and 'kafka_partition'",
                400,
            )
        position = (str(partition["kafka_topic"]), _number(partition["kafka_partition"], "kafka_partition"))
        if position not in partitions:
            raise RequestRefused(f"{position[0]}/{position[1]} is not a partition that this connector reads", 400)
        if offset is not None and (not isinstance(offset, dict) or "kafka_offset" not in offset):
            raise RequestRefused("The offset for a sink connector should either be null or contain 'kafka_offset'", 400)
        wanted[position] = None if offset is None else _number(offset["kafka_offset"], "kafka_offset")
    return wanted


def _number(value: Json, what: str) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = -1
    if number < 0:
        raise RequestRefused(f"{what} must be a whole number of 0 or more, was {value!r}", 400)
    return number


def _set(config: ConnectorConfig, wanted: Mapping[Position, int | None]) -> None:
    kafka, group = config.settings.kafka, _group(config)
    admin = AdminClient(confluent_config(kafka))
    _await_empty(admin, group, config.name)
    connector = config.connector()
    try:
        stored = connector.open(list(wanted))
        known = {at: offset for at, offset in wanted.items() if offset is not None or at in stored}
        offsets = {at: _first(kafka, at) if offset is None else offset for at, offset in known.items()}
        if offsets:
            connector.put(Batch((), offsets))
            connector.flush()
    finally:
        connector.close()
    forgotten = [at for at, offset in wanted.items() if offset is None]
    kept = [TopicPartition(*at, offset) for at, offset in wanted.items() if offset is not None]
    if kept:
        _answer(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, kept)]), "writing offsets")
    if forgotten and len(forgotten) == len(_partitions(config)) and _state(admin, group) is not None:
        _answer(admin.delete_consumer_groups([group]), "forgetting offsets")
    elif forgotten:
        rows = [TopicPartition(*at, offsets[at]) for at in forgotten if at in offsets]
        if rows:
            _answer(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, rows)]), "writing offsets")


def _await_empty(admin: AdminClient, group: str, name: str) -> None:
    deadline_s = time.monotonic() + EMPTY_S_MAX
    while _state(admin, group) not in (None, ConsumerGroupState.EMPTY):
        if time.monotonic() > deadline_s:
            raise BrokerUnavailable(
                f"Failed to alter consumer group offsets for connector {name}: its tasks haven't stopped completely "
                "yet; try again"
            )
        time.sleep(LOOK_S)


def _state(admin: AdminClient, group: str) -> Any:
    """Of the group; None where there is none."""
    found = _answer(admin.describe_consumer_groups([group]), "asking for the group")
    return None if found.state == ConsumerGroupState.DEAD else found.state


def _first(kafka: KafkaSettings, at: Position) -> int:
    consumer = Consumer(confluent_config(kafka, group_id=f"{kafka.topic_prefix}unused"))
    try:
        first, _ = consumer.get_watermark_offsets(TopicPartition(*at), timeout=ANSWER_S_MAX)
    except KafkaException as exc:
        raise BrokerUnavailable(f"finding the first offset of {at[0]}/{at[1]}: {exc}") from exc
    finally:
        consumer.close()
    return int(first)


def _partitions(config: ConnectorConfig) -> list[Position]:
    names = topic_names(config.settings.kafka)
    present = describe(config.settings.kafka)
    full_names = [names.of(topic) for topic in config.topics]
    return [(name, number) for name in full_names for number in range(present.get(name, 0))]


def _group(config: ConnectorConfig) -> str:
    return group_of(config.settings.kafka, config.name)


def _answer(futures: Mapping[str, Any], doing: str) -> Any:
    (future,) = futures.values()
    try:
        return future.result(ANSWER_S_MAX)
    except (KafkaException, TimeoutError) as exc:
        raise BrokerUnavailable(f"{doing}: {exc}") from exc
