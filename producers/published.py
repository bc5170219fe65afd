"""What the topic of liquidations holds already: read back at a start, so that a row that an exchange sends again after
a restart is published once. Blocking: call it in a thread."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from runtime.kafka import confluent_config, describe, topic_names
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.errors import BrokerUnavailable, SchemaError
from schemas.records import Liquidation
from schemas.topics import LIQUIDATIONS

TAIL_MS: Final = 86_400_000  # what exchanges send again is minutes to hours old
TAIL_RECORDS_MAX: Final = 20_000  # a partition: 240,000 of twelve are read in 3 s; on calm days a day has fewer
BATCH_MAX: Final = 5_000  # 1 MB
ANSWER_S_MAX: Final = 10.0  # without any answer of the broker
POLL_S: Final = 0.5
FETCH_WAIT_MS: Final = 10  # the end of a partition shows only after this

PASSING: Final = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._TIMED_OUT)
RETRY_S: Final = 0.05
LEADERLESS: Final = (  # for a moment after a topic was made, and while leaders move
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)

Ids = dict[str, list[str]]
Starts = list[TopicPartition]


def recent_ids(settings: KafkaSettings, *, now_ms: int) -> Ids:
    """Ids of the latest liquidations by exchange, in the order in which the broker took them.

    Raises BrokerUnavailable; records that cannot be decoded are left to those who read all of them."""
    name = topic_names(settings).of(LIQUIDATIONS)
    partitions = describe(settings).get(name, 0)
    consumer = Consumer(
        confluent_config(
            settings,
            group_id="liqcascade-reader",  # librdkafka asks for one; nothing is committed under it
            enable_auto_commit=False,
            enable_partition_eof=True,
            auto_offset_reset="earliest",
            fetch_wait_max_ms=FETCH_WAIT_MS,
        )
    )
    try:
        starts = _when_led(lambda: _starts(consumer, name, partitions, now_ms - TAIL_MS))
        consumer.assign(starts)
        return _read(consumer, len(starts), Codec(settings.schema_registry_url))
    except KafkaException as exc:
        raise BrokerUnavailable(
            f"reading the end of {name} at {settings.bootstrap_servers}: {exc.args[0].str()}"
        ) from exc
    finally:
        consumer.close()


def _when_led(ask: Callable[[], Starts]) -> Starts:
    """The answer, once every partition has its leader. Raises KafkaException."""
    deadline_s = time.monotonic() + ANSWER_S_MAX
    while True:
        try:
            return ask()
        except KafkaException as exc:
            if exc.args[0].code() not in LEADERLESS or time.monotonic() > deadline_s:
                raise
            time.sleep(RETRY_S)


def _starts(consumer: Consumer, name: str, partitions: int, from_ms: int) -> Starts:
    """Where to begin in each partition that holds something of that time."""
    wanted = [TopicPartition(name, number, max(0, from_ms)) for number in range(partitions)]
    starts = []
    for found in consumer.offsets_for_times(wanted, timeout=ANSWER_S_MAX) if wanted else []:
        if found.error is not None:
            raise KafkaException(found.error)
        if found.offset >= 0:
            _, end = consumer.get_watermark_offsets(TopicPartition(name, found.partition), timeout=ANSWER_S_MAX)
            starts.append(TopicPartition(name, found.partition, max(found.offset, end - TAIL_RECORDS_MAX)))
    return starts


def _read(consumer: Consumer, partitions: int, codec: Codec) -> Ids:
    """To the end of every partition."""
    rows: list[tuple[int, str, str]] = []
    ended: set[int | None] = set()
    heard_s = time.monotonic()
    while len(ended) < partitions:
        messages = consumer.consume(BATCH_MAX, POLL_S)
        if messages:
            heard_s = time.monotonic()
        elif time.monotonic() - heard_s > ANSWER_S_MAX:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        for message in messages:
            error = message.error()
            if error is None:
                row = _row(codec, message.value() or b"")
                rows += [(message.timestamp()[1], *row)] if row else []
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
            elif error.code() not in PASSING:
                raise KafkaException(error)
    ids: Ids = {}
    for _, exchange, event_id in sorted(rows, key=lambda row: row[0]):
        ids.setdefault(exchange, []).append(event_id)
    return ids


def _row(codec: Codec, value: bytes) -> tuple[str, str] | None:
    try:
        plain: Mapping[str, str] = codec.decode_plain(Liquidation, value)
    except SchemaError:
        return None
    return plain["exchange"], plain["event_id"]
