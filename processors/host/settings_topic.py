"""settings.assets on the broker: reading all of it, and publishing. Blocking: call it in a thread."""

import threading
from typing import Any, Final

import structlog
from confluent_kafka import Producer

from processors.in_force import ALL, History, Origin, after_all, encode, tree_of
from processors.settings import DetectorSettings
from runtime.kafka import producer_config, topic_names
from runtime.log_reader import LogReader
from runtime.receipts import Receipts
from runtime.settings import KafkaSettings
from schemas.topics import SETTINGS

FLUSH_S_MAX: Final = 10.0
log = structlog.get_logger(__name__)


def read_settings(kafka: KafkaSettings, first: DetectorSettings, *, ending: threading.Event) -> History:
    """What all records of the topic come to; `first` holds before them. Raises BrokerUnavailable."""
    place = topic_names(kafka).of(SETTINGS), 0
    with LogReader(kafka, {place: 0}, ending=ending) as reader:
        records = [((record.key or b"").decode(errors="replace"), record.value or b"") for record in reader.to_end()]
    return after_all(first, records)


def publish_settings(kafka: KafkaSettings, key: str, origin: Origin, tree: dict[str, Any]) -> None:
    """Append one record and wait until the broker has it. Raises BrokerUnavailable."""
    producer, receipts = Producer(producer_config(kafka)), Receipts()
    producer.produce(topic_names(kafka).of(SETTINGS), encode(origin, tree), key, on_delivery=receipts.answer)
    receipts.sent()
    receipts.wait(producer, FLUSH_S_MAX, doing=f"publishing settings of {key} at {kafka.bootstrap_servers}")


def publish_own(kafka: KafkaSettings, settings: DetectorSettings, *, ending: threading.Event) -> bool:
    """Publish a worker's tree where it differs from the newest one of a worker; True when it did."""
    history = read_settings(kafka, settings, ending=ending)
    for reason in history.refused:
        log.warning("a record of settings is passed over", reason=reason)
    if history.of_worker == settings:
        return False
    publish_settings(kafka, ALL, "worker", tree_of(settings))
    log.info("settings published", first=history.of_worker is None)
    return True
