"""The worker as a process: its security settings, what it says, how it ends."""

import sys
from pathlib import Path

from processors.host.instance import InstanceName
from runtime.settings import KafkaSettings
from schemas.topics import LATE
from tests.processors.topics import DetectorTopics, Worker, eventually, liquidation

OLD_MS = 1_700_000_000_000


def test_a_worker_works_over_tls_and_scram(
    kafka: str, secure_kafka: KafkaSettings, topic_prefix: str, compiled: None, tmp_path: Path
) -> None:
    topics = DetectorTopics(kafka, topic_prefix, partitions=2)
    security = {
        "BOOTSTRAP_SERVERS": secure_kafka.bootstrap_servers,
        "SECURITY_PROTOCOL": secure_kafka.security_protocol,
        "SASL_MECHANISM": secure_kafka.sasl_mechanism,
        "SASL_USERNAME": secure_kafka.sasl_username,
        "SASL_PASSWORD": secure_kafka.sasl_password.get_secret_value(),
        "SSL_CA_FILE": str(secure_kafka.ssl_ca_file),
    }
    settings = [(f"LIQCASCADE_KAFKA__{name}", value) for name, value in security.items()]
    with Worker(topics, tmp_path, settings=settings) as worker:
        worker.ready()
        topics.append(liquidation(number, event_time_ms=OLD_MS) for number in range(20))
        eventually(lambda: topics.count(LATE) == 20, "all are published")
        assert worker.stop() == 0


def test_fausts_own_command_runs_the_same_worker(topic_prefix: str, kafka: str, compiled: None, tmp_path: Path) -> None:
    topics = DetectorTopics(kafka, topic_prefix, partitions=2)
    command = [sys.executable, "-m", "faust", "-A", "processors.app", "worker", "--without-web"]
    with Worker(topics, tmp_path, command=command) as worker:
        worker.ready()
        topics.append(liquidation(number, event_time_ms=OLD_MS) for number in range(20))
        eventually(lambda: topics.count(LATE) == 20, "all are published")
        assert worker.stop() == 0


def test_two_workers_of_a_machine_have_two_names_and_one_comes_back_to_its_own(tmp_path: Path) -> None:
    first, second = InstanceName("group", folder=tmp_path), InstanceName("group", folder=tmp_path)
    assert first.name != second.name
    first.release()
    again = InstanceName("group", folder=tmp_path)
    assert again.name == first.name
    again.release()
    second.release()
