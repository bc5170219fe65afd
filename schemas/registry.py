"""Schema ids and where they come from: a table in this repository, or a schema registry.

Wire format: magic byte 0, four-byte big-endian schema id, Avro binary
(docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop, "Wire format")."""

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final, Protocol

import fastavro
import httpx

from schemas.errors import BrokerUnavailable, SchemaError
from schemas.records import Record

# Append only: bytes with these ids lie in topics. A changed record gets a new <name>.<version>.avsc and a new line.
SCHEMA_IDS: Final[dict[int, str]] = {
    1: "Liquidation.1",
    2: "OpenInterest.1",
    3: "Funding.1",
    4: "FeedHealth.1",
    5: "JournalEntry.1",
    6: "AssetState.1",
    7: "WindowAggregate.1",
    8: "CascadeAlert.1",
    9: "DetectorSnapshot.1",
    10: "JournalEntry.2",
    11: "AssetState.2",
    12: "CascadeAlert.2",
}
LATEST_IDS: Final[dict[str, int]] = {name.split(".")[0]: number for number, name in sorted(SCHEMA_IDS.items())}
REGISTRY_TIMEOUT_S: Final = 10.0  # one small request to a server beside the broker


@cache
def schema_json(schema_id: int) -> str:
    """The schema of the repository's table as its file has it. Raises SchemaError for an unknown id."""
    if schema_id not in SCHEMA_IDS:
        raise SchemaError(f"reading a record: schema id {schema_id} is not in this version's table; update liqcascade")
    return files("schemas").joinpath("avsc", f"{SCHEMA_IDS[schema_id]}.avsc").read_text(encoding="utf-8")


@cache
def schema_of(schema_id: int) -> Any:
    """The parsed schema of the repository's table, for fastavro."""
    return fastavro.parse_schema(json.loads(schema_json(schema_id)))


def latest_schema(record: type[Record]) -> Any:
    """The parsed schema that this version writes and reads for a record."""
    return schema_of(LATEST_IDS[record.__name__])


class SchemaIds(Protocol):
    """Where ids come from."""

    def id_for(self, record: type[Record], topic: str) -> int:
        """Id to write behind the magic byte for records of this type in this topic."""

    def writer_schema(self, schema_id: int) -> Any:
        """Parsed schema that a record with this id was written with."""


class LocalIds:
    """Ids of the repository's table."""

    def id_for(self, record: type[Record], topic: str) -> int:
        """Id of the newest version of the record; the same in every topic."""
        return LATEST_IDS[record.__name__]

    def writer_schema(self, schema_id: int) -> Any:
        """Raises SchemaError for an id that is not in the table."""
        return schema_of(schema_id)


class RegistryIds:
    """Ids of a Confluent-compatible registry (Redpanda has one built in); subjects are `<topic>-value`, BACKWARD."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._ids: dict[tuple[str, str], int] = {}
        self._schemas: dict[int, Any] = {}

    def id_for(self, record: type[Record], topic: str) -> int:
        """Register the schema once and keep its id. Raises SchemaError when it would break readers."""
        key = (record.__name__, topic)
        if key not in self._ids:
            subject = f"{topic}-value"
            self._call("PUT", f"/config/{subject}", {"compatibility": "BACKWARD"})
            body = {"schema": schema_json(LATEST_IDS[record.__name__]), "schemaType": "AVRO"}
            self._ids[key] = int(self._call("POST", f"/subjects/{subject}/versions", body)["id"])
        return self._ids[key]

    def writer_schema(self, schema_id: int) -> Any:
        """Fetch the schema once and keep it. Raises SchemaError when the registry does not know the id."""
        if schema_id not in self._schemas:
            text = self._call("GET", f"/schemas/ids/{schema_id}", None)["schema"]
            self._schemas[schema_id] = fastavro.parse_schema(json.loads(text))
        return self._schemas[schema_id]

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        try:
            answer = httpx.request(method, self._url + path, json=body, timeout=REGISTRY_TIMEOUT_S)
        except httpx.HTTPError as exc:
            raise BrokerUnavailable(
                f"asking the schema registry at {self._url}: {exc}; start it or unset kafka.schema_registry_url"
            ) from exc
        if answer.status_code >= 500:
            raise BrokerUnavailable(f"asking the schema registry at {self._url}{path}: status {answer.status_code}")
        if answer.status_code >= 400:
            raise SchemaError(f"the schema registry refused {method} {path}: {answer.text[:500]}")
        return answer.json()
