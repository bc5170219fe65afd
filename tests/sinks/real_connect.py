"""The runtime of Apache Kafka Connect on the embedded broker, as a witness of what its REST interface answers.

`python -m tests.sinks.real_connect` fetches it and writes what it answers to tests/data/connect/answers.json."""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from runtime.kafka import create_topics
from runtime.settings import KafkaSettings
from schemas.topics import LIQUIDATIONS
from stack.embedded import EmbeddedStack, downloads
from stack.embedded.jars import KAFKA_JARS, KAFKA_VERSION, Jar
from stack.embedded.ports import free_port
from tests.sinks.connect_calls import NAME, play

DATA: Final = Path(__file__).parent.parent / "data" / "connect"
ANSWERS: Final = DATA / "answers.json"
KIND: Final = "org.apache.kafka.connect.file.FileStreamSinkConnector"
START_S_MAX: Final = 120.0
JVM_OPTIONS: Final = ("-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def jars() -> list[Jar]:
    """With the logging of the embedded broker: without it there would be no loggers to ask for."""
    own = [Jar(*row) for row in json.loads((DATA / "jars.json").read_text())]
    return own + [jar for jar in KAFKA_JARS if "log4j" in jar.coordinates and jar not in own]


def cached() -> bool:
    """Whether it can run here without fetching anything."""
    folder = downloads.cache_folder() / f"kafka-{KAFKA_VERSION}"
    return all((folder / jar.file_name).is_file() for jar in jars())


def given(kafka: KafkaSettings, folder: Path) -> dict[str, Any]:
    """The words of the calls for this runtime."""
    topic = kafka.topic_prefix + LIQUIDATIONS.name
    config = {"name": NAME, "connector.class": KIND, "topics": topic, "tasks.max": "1", "file": str(folder / "out")}
    return {"$class": KIND} | words(config, topic)


def words(config: dict[str, str], topic: str) -> dict[str, Any]:
    partition = {"kafka_topic": topic, "kafka_partition": 0}
    return {
        "$config": config,
        "$other": config | {"errors.log.enable": "true"},
        "$wrong": config | {"tasks.max": "0"},
        "$offsets": {"offsets": [{"partition": partition, "offset": {"kafka_offset": 0}}]},
    }


@contextmanager
def real_connect(kafka: KafkaSettings, folder: Path) -> Iterator[str]:
    """Its address while it runs."""
    port = free_port()
    name = f"{kafka.topic_prefix}real"
    settings = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "group.id": name,
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
        "offset.storage.partitions": "1",
        "status.storage.partitions": "1",
        "listeners": f"http://127.0.0.1:{port}",
        "plugin.discovery": "service_load",
        "plugin.path": str(folder),
        "scheduled.rebalance.max.delay.ms": "0",
    }
    for storage in ("offset", "config", "status"):
        settings[f"{storage}.storage.topic"] = f"{name}-{storage}"
        settings[f"{storage}.storage.replication.factor"] = "1"
    (folder / "worker.properties").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    paths = ":".join(str(path) for path in downloads.kafka_jars(downloads.cache_folder(), jars()))
    command = [str(downloads.java()), *JVM_OPTIONS, "-cp", paths]
    main = "org.apache.kafka.connect.cli.ConnectDistributed"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, main, str(folder / "worker.properties")], stdout=log, stderr=log)
    try:
        _await(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(START_S_MAX)


def _await(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + START_S_MAX
    while True:
        assert process.poll() is None, "Kafka Connect has ended"
        assert time.monotonic() < deadline_s, "Kafka Connect does not start"
        try:
            if httpx.get(f"{address}/health", timeout=5.0).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            time.sleep(0.1)


def record() -> None:
    """Write what it answers; one line an answer."""
    with tempfile.TemporaryDirectory(prefix="liqcascade-connect-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        stack = EmbeddedStack(folder / "data")
        try:
            kafka = KafkaSettings(bootstrap_servers=stack.kafka.start(), partitions=4)
            create_topics(kafka)
            with real_connect(kafka, folder) as address:
                answers = play(address, given(kafka, folder))
        finally:
            stack.stop()
    ANSWERS.write_text("[\n" + ",\n".join(json.dumps(answer) for answer in answers) + "\n]\n")


if __name__ == "__main__":
    record()
