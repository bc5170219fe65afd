"""The real Kafka, PostgreSQL and Redis on a bare machine: no Docker, no Java, no servers installed by hand."""

from stack.embedded.kafka import Security
from stack.embedded.stack import EmbeddedStack

__all__ = ["EmbeddedStack", "Security"]
