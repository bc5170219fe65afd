"""Apache Kafka in KRaft mode: broker and controller in one process, on loopback, one copy of everything.

Paths in its settings are relative to its folder: commas, colons and letters beyond ASCII would mean something there."""

import base64
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from schemas.errors import StackError
from stack.embedded import downloads, ports
from stack.embedded.folder import DataFolder, file_errors
from stack.embedded.process import Spec
from stack.embedded.server import Server, base_environment

CLIENT_S_MAX = 5.0
SCRAM_ITERATIONS = 4096
KEY_FILE = "broker.pem"
SMALL_JVM = (
    "-Xmx512m",
    "-XX:+UseSerialGC",  # one core's worth of collector: smallest and quickest to start
    "-XX:TieredStopAtLevel=1",
)
# For who measures delays: the heap of Kafka's own start script, code compiled as well as it can be, and a collector
# that runs beside: the small one stops the broker for 20 to 60 ms every other second, at 1,000 requests a second.
STEADY_JVM = ("-Xms1g", "-Xmx1g", "-XX:+UseZGC")
JVM_OPTIONS = (
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "--enable-native-access=ALL-UNNAMED",  # the codecs load native code; newer Java warns without
    "-Djava.awt.headless=true",
)
LOG4J = """\
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""


@dataclass(frozen=True, slots=True)
class Security:
    """A second listener, SASL_SSL with SCRAM-SHA-512, for one user. `key_and_certificates`: PEM, the key in PKCS#8."""

    user: str
    password: str
    key_and_certificates: Path


class KafkaServer(Server):
    """The URL is the `bootstrap.servers` of clients."""

    name: ClassVar[str] = "kafka"
    variable: ClassVar[str] = "LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS"
    port_names: ClassVar[tuple[str, ...]] = ("broker", "controller", "secure")

    def __init__(
        self,
        data: DataFolder,
        *,
        port: int | None = None,
        security: Security | None = None,
        jvm: Sequence[str] = SMALL_JVM,
    ) -> None:
        super().__init__(data, port=port)
        self._security, self._jvm = security, jvm
        self._jars: list[Path] = []

    @property
    def url(self) -> str:
        """127.0.0.1:port"""
        return f"{ports.HOST}:{self.port}"

    @property
    def secure_url(self) -> str:
        """127.0.0.1:port of the SASL_SSL listener; there only with `security`."""
        assert self._security is not None, "the broker was made without security"
        return f"{ports.HOST}:{self.ports['secure']}"

    def _prepare(self) -> None:
        self._jars = downloads.kafka_jars(downloads.cache_folder(), abandoned=self._stopping.is_set)
        with file_errors("writing Kafka's settings", self.folder):
            shutil.rmtree(self.folder / "tmp", ignore_errors=True)  # native codecs that a killed broker left
            (self.folder / "tmp").mkdir()
            (self.folder / "log4j2.properties").write_text(LOG4J)
            if self._security is not None:
                shutil.copy(self._security.key_and_certificates, self.folder / KEY_FILE)
                (self.folder / KEY_FILE).chmod(0o600)
            if not (self.folder / "data").exists():
                self._format()
            self._write_properties("data")

    def _format(self) -> None:
        """Make the storage under another name first: a format that was cut short is never taken for whole."""
        shutil.rmtree(self.folder / "data.part", ignore_errors=True)
        self._write_properties("data.part")
        cluster_id = "C" + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode()[1:22]
        arguments = ["format", "--config", "server.properties", "--cluster-id", cluster_id]
        self._run_once("formatting Kafka's storage", self._java("kafka.tools.StorageTool", *arguments))
        (self.folder / "data.part").replace(self.folder / "data")

    def _write_properties(self, logs: str) -> None:
        listeners = {"PLAINTEXT": self.ports["broker"], "CONTROLLER": self.ports["controller"]}
        if self._security is not None:
            listeners["SECURE"] = self.ports["secure"]
        settings = SETTINGS | {
            "log.dirs": logs,
            "controller.quorum.voters": f"1@{ports.HOST}:{self.ports['controller']}",
            "listeners": ",".join(f"{name}://{ports.HOST}:{port}" for name, port in listeners.items()),
            "advertised.listeners": ",".join(
                f"{name}://{ports.HOST}:{port}" for name, port in listeners.items() if name != "CONTROLLER"
            ),
        }
        if self._security is not None:
            settings |= SECURE_SETTINGS
        text = "".join(f"{key}={value}\n" for key, value in settings.items())
        (self.folder / "server.properties").write_text(text)

    def _java(self, main: str, *arguments: str) -> Spec:
        options = [
            *self._jvm,
            *JVM_OPTIONS,
            "-Djava.io.tmpdir=tmp",
            "-Dlog4j2.configurationFile=log4j2.properties",
            "-cp",
            ":".join(str(jar) for jar in self._jars),
        ]
        return Spec([str(downloads.java()), *options, main, *arguments], self.log, base_environment())

    def _spec(self) -> Spec:
        return self._java("kafka.Kafka", "server.properties")

    def _answers(self) -> bool:
        client = AdminClient({"bootstrap.servers": self.url, "log_level": 0})
        try:
            metadata = client.list_topics(timeout=CLIENT_S_MAX)
            if not metadata.brokers or metadata.cluster_id != self._cluster_id():
                return False
            if self._security is not None:
                _add_user(client, self._security)
                self._secure_client(self._security).list_topics(timeout=CLIENT_S_MAX)
        except (KafkaException, TimeoutError):
            return False
        return True

    def _secure_client(self, security: Security) -> AdminClient:
        """A login through the second listener, since a new user is let in some milliseconds after the answer."""
        return AdminClient(
            {
                "bootstrap.servers": self.secure_url,
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": security.user,
                "sasl.password": security.password,
                "enable.ssl.certificate.verification": False,  # who signed it is known to the caller only
                "log_level": 0,
            }
        )

    def _cluster_id(self) -> str:
        file = self.folder / "data" / "meta.properties"
        with file_errors("reading Kafka's storage", file.parent):
            lines = file.read_text().splitlines()
        for line in lines:
            if line.startswith("cluster.id="):
                return line.partition("=")[2]
        raise StackError(f"starting kafka: {file} names no cluster; choose another folder")


def _add_user(client: AdminClient, security: Security) -> None:
    """By a request and not while formatting: the password stands on no command line, and data that is there will do."""
    credential = UserScramCredentialUpsertion(
        security.user,
        ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, SCRAM_ITERATIONS),
        security.password.encode(),
    )
    for done in client.alter_user_scram_credentials([credential]).values():
        done.result(CLIENT_S_MAX)


SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
    "auto.create.topics.enable": "false",  # a name that topics.py does not know is a mistake
    # After a crash the controller lets the broker back in when its last session has run out (9 s if left alone).
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "num.network.threads": "2",
    "num.io.threads": "4",
    # Compacting holds its buffer all the time: 16 MiB / 24 B = 700,000 keys a pass; 128 MiB were a quarter of the heap.
    "log.cleaner.dedupe.buffer.size": str(16 * 2**20),
    # An index entry is 8 B for each 4 KiB of log: 256 MiB / 4 KiB * 8 B = 512 KiB, and 1 MiB is set aside for each.
    "log.segment.bytes": str(256 * 2**20),
    "log.index.size.max.bytes": str(2**20),
}
SECURE_SETTINGS = {
    "sasl.enabled.mechanisms": "SCRAM-SHA-512",
    "listener.name.secure.scram-sha-512.sasl.jaas.config": (
        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    ),
    "ssl.keystore.type": "PEM",
    "ssl.keystore.location": KEY_FILE,
}
