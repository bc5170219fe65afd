"""Kafka client settings of both clients, from one section; topics; the shared partitioner.

librdkafka partitions by CRC32 unless told otherwise, the Java client and aiokafka by murmur2: one asset would lie in
two partitions. So every confluent-kafka producer here has `murmur2_random`."""

import logging
import ssl
import time
from collections.abc import Collection, Iterable
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable, SettingsError
from schemas.topics import TOPICS, Topic, TopicNames

ADMIN_TIMEOUT_S: Final = 8.0  # a broker that starts answers within 5 s
RETRY_S: Final = 0.05
PARTITIONER: Final = "murmur2_random"
# librdkafka would write to stderr by itself; so its lines go where the stage logs, and nowhere from a plain command.
LOGGER: Final = logging.getLogger("librdkafka")
LOGGER.addHandler(logging.NullHandler())
SAME_LINE_EVERY_S: Final = 10.0


class _OncePerOutage(logging.Filter):
    """Of lines of one kind, the first and one every 10 s: librdkafka says "refused" twenty times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._said_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is said."""
        """True for what is to be logged."""
        kind = record.getMessage().partition(" ")[0]  # FAIL, ERROR, GETPID, …: some dozens
        now_s = time.monotonic()
        is_due = now_s - self._said_s.get(kind, -SAME_LINE_EVERY_S) >= SAME_LINE_EVERY_S
        if is_due:
            self._said_s[kind] = now_s
        return is_due


LOGGER.addFilter(_OncePerOutage())


def confluent_config(settings: KafkaSettings, **extra: Any) -> dict[str, Any]:
    """Settings of a confluent-kafka client; `extra` in librdkafka's names with underscores for dots."""
    config: dict[str, Any] = {"bootstrap.servers": settings.bootstrap_servers, "logger": LOGGER}
    if settings.security_protocol != "PLAINTEXT":
        config["security.protocol"] = settings.security_protocol
    if settings.security_protocol.startswith("SASL"):
        config["sasl.mechanism"] = settings.sasl_mechanism
        config["sasl.username"] = settings.sasl_username
        config["sasl.password"] = settings.sasl_password.get_secret_value()
    if settings.security_protocol.endswith("SSL"):
        for key, path in (
            ("ssl.ca.location", settings.ssl_ca_file),
            ("ssl.certificate.location", settings.ssl_certificate_file),
            ("ssl.key.location", settings.ssl_key_file),
        ):
            if path is not None:
                config[key] = str(path)
    return config | {key.replace("_", "."): value for key, value in extra.items()}


def producer_config(settings: KafkaSettings, **extra: Any) -> dict[str, Any]:
    """Settings of a confluent-kafka producer that neither loses nor doubles: idempotent, acks=all, lz4."""
    return confluent_config(
        settings,
        **{
            "enable_idempotence": True,
            "acks": "all",
            "compression_type": "lz4",
            "partitioner": PARTITIONER,
            **extra,
        },
    )


def ssl_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """TLS context for aiokafka, or None without TLS. Raises SettingsError when a file cannot be used."""
    if not settings.security_protocol.endswith("SSL"):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ssl_ca_file)
        if settings.ssl_certificate_file is not None:
            context.load_cert_chain(settings.ssl_certificate_file, settings.ssl_key_file)
    except (OSError, ssl.SSLError) as exc:
        raise SettingsError(f"kafka.ssl_ca_file, ssl_certificate_file, ssl_key_file: {exc}") from exc
    return context


def aiokafka_config(settings: KafkaSettings) -> dict[str, Any]:
    """Connection and security arguments of an aiokafka client."""
    config: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
        "ssl_context": ssl_context(settings),
    }
    if settings.security_protocol.startswith("SASL"):
        config["sasl_mechanism"] = settings.sasl_mechanism
        config["sasl_plain_username"] = settings.sasl_username
        config["sasl_plain_password"] = settings.sasl_password.get_secret_value()
    return config


def topic_names(settings: KafkaSettings) -> TopicNames:
    """Full topic names under the prefix of the settings."""
    return TopicNames(settings.topic_prefix)


def create_topics(settings: KafkaSettings, topics: Iterable[Topic] = tuple(TOPICS.values())) -> list[str]:
    """Create the topics that are missing and return their full names; those that are there stay as they are.

    Raises BrokerUnavailable when the broker does not answer; SettingsError when a topic by asset is there with another
    number of partitions, because then exchanges of one asset would not meet."""
    names = topic_names(settings)
    admin = AdminClient(confluent_config(settings))
    wanted = {
        names.of(topic): NewTopic(
            names.of(topic),
            num_partitions=topic.partitions(settings.partitions),
            replication_factor=settings.replication,
            config=topic.config(imported=bool(settings.topic_prefix)),
        )
        for topic in topics
    }
    missing = [new for name, new in wanted.items() if name not in describe(settings, admin)]
    created = []
    for name, future in (admin.create_topics(missing, operation_timeout=ADMIN_TIMEOUT_S) if missing else {}).items():
        try:
            future.result()
            created.append(name)
        except KafkaException as exc:
            if exc.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another stage was first
                raise BrokerUnavailable(f"creating topic {name} at {settings.bootstrap_servers}: {exc}") from exc
    for name, partitions in _present(settings, admin, wanted.keys()).items():
        if partitions != wanted[name].num_partitions:
            raise SettingsError(
                f"topic {name} has {partitions} partitions, kafka.partitions asks for {wanted[name].num_partitions}; "
                "set kafka.partitions to what is there or use another kafka.topic_prefix"
            )
    return created


def _present(settings: KafkaSettings, admin: AdminClient, names: Collection[str]) -> dict[str, int]:
    """Partitions of these topics, once the broker tells of all of them: it does so a moment after their creation."""
    deadline = time.monotonic() + ADMIN_TIMEOUT_S
    while True:
        present = {name: partitions for name, partitions in describe(settings, admin).items() if name in names}
        if len(present) == len(names):
            return present
        if time.monotonic() > deadline:
            missing = ", ".join(sorted(set(names) - set(present)))
            raise BrokerUnavailable(f"creating topics at {settings.bootstrap_servers}: {missing} did not appear")
        time.sleep(RETRY_S)


def describe(settings: KafkaSettings, admin: AdminClient | None = None) -> dict[str, int]:
    """Partitions of every topic that the broker has. Raises BrokerUnavailable."""
    admin = admin or AdminClient(confluent_config(settings))
    try:
        metadata = admin.list_topics(timeout=ADMIN_TIMEOUT_S)
    except KafkaException as exc:
        raise BrokerUnavailable(
            f"connecting to Kafka at {settings.bootstrap_servers}: {exc.args[0].str()}; "
            "start it (`liqcascade stack up`) or set kafka.bootstrap_servers"
        ) from exc
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}
