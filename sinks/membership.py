"""Which workers there are: the members of one consumer group, as the broker sees them."""

import uuid
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient

from runtime.kafka import confluent_config, topic_names
from runtime.settings import KafkaSettings
from schemas.topics import CONFIGS

SESSION_MS: Final = 10_000  # a killed worker's tasks go to others after that
ANSWER_S_MAX: Final = 5.0
ID_SEPARATOR: Final = "#"

log = structlog.get_logger()


class Membership:
    """`poll` serves the group; `members` are all instances once the group has settled, () while it has not.

    An instance is `<worker id>#<chance>`, so that two starts of a worker, or two workers of one name, differ."""

    def __init__(self, settings: KafkaSettings, worker_id: str) -> None:
        """Join."""
        self.worker_id = worker_id
        self.instance = f"{worker_id}{ID_SEPARATOR}{uuid.uuid4().hex[:8]}"
        self.members: tuple[str, ...] = ()
        self._group = f"{settings.topic_prefix}connect"
        self._joined = False
        self._config = confluent_config(settings)
        self._admin = AdminClient(self._config)
        self._consumer = Consumer(
            confluent_config(
                settings,
                group_id=self._group,
                client_id=self.instance,
                enable_auto_commit=False,
                session_timeout_ms=SESSION_MS,
            )
        )
        self._consumer.subscribe([topic_names(settings).of(CONFIGS)], on_assign=self._assigned, on_revoke=self._revoked)

    def poll(self) -> None:
        """Serve the group for an instant, and ask for the members where they are not known."""
        self._consumer.poll(0)
        if self._joined and not self.members:
            self.members = self._ask()

    def close(self) -> None:
        """Leave, so that the others take over at once."""
        self._consumer.close()

    def _ask(self) -> tuple[str, ...]:
        try:
            (answer,) = self._admin.describe_consumer_groups([self._group], request_timeout=ANSWER_S_MAX).values()
            found: Any = answer.result()
        except KafkaException as exc:
            # A client that lost the group's coordinator may ask in vain for ever, while a new one is answered at once.
            self._admin = AdminClient(self._config)
            log.warning("asking for the workers anew", error=str(exc))
            return ()
        members = tuple(sorted(member.client_id for member in found.members))
        return members if found.state == ConsumerGroupState.STABLE and self.instance in members else ()

    def _assigned(self, consumer: Consumer, partitions: object) -> None:
        self._joined, self.members = True, ()
        consumer.assign([])  # membership is all that is wanted; the settings are read by everybody

    def _revoked(self, consumer: Consumer, partitions: object) -> None:
        self._joined, self.members = False, ()
        consumer.unassign()
