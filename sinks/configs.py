"""The settings of one connector: text by key, as Kafka Connect's clients write them, checked and given types.

Keys that all connectors have stand here; a connector's own are its sections of the settings tree: the field `url` of
the section `database` is `database.url`, and what the worker's settings say is its default. Source of the common names:
org.apache.kafka.connect.runtime.{ConnectorConfig,SinkConnectorConfig} of Apache Kafka 4.1."""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from runtime.kafka import topic_names
from runtime.settings import KafkaSettings, Section
from schemas.errors import SettingsError
from schemas.topics import Topic
from sinks.configs_keys import COMMON, is_list, key_name, keys_of, section_type, stranger
from sinks.connector import Connector
from sinks.registry import SINKS
from sinks.settings import SinkSettings

HIDDEN: Final = "[hidden]"  # as Kafka writes a password
SECRET_WORDS: Final = ("password", "secret", "token")

Properties = Mapping[str, str]


class ConnectorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One connector as its tasks need it. `retry_timeout_ms` FOREVER_MS: an outage is waited out however long.

    `dead_letters`: full name of the topic, "" where refused records are only counted. `tolerates`: False, and the
    first refused record fails the task."""

    name: str
    kind: type[Connector]
    topics: tuple[Topic, ...]
    tasks_max: int
    flush_ms: int
    batch_records_max: int
    tolerates: bool
    retry_timeout_ms: int
    retry_delay_ms_max: int
    log_errors: bool
    dead_letters: str
    settings: SinkSettings

    def connector(self) -> Connector:
        """A new one, connected to nothing."""
        return self.kind(self.settings, name=self.name)


def read(properties: Properties, stage: SinkSettings) -> ConnectorConfig:
    """Raises SettingsError that says how many keys are wrong, and each of them."""
    problems = problems_of(properties, stage)
    if problems:
        sentences = "\n".join(sentence for one in problems.values() for sentence in one)
        raise SettingsError(
            f"Connector configuration is invalid and contains the following {len(problems)} error(s):\n{sentences}"
        )
    kind = SINKS[properties["connector.class"]]
    values = {key.name: properties.get(key.name) or key.default or "" for key in keys_of(kind, stage)}
    chosen = [topic for topic in _topics(values["topics"], kind, stage.kafka).values() if topic is not None]
    return ConnectorConfig(
        name=properties["name"],
        kind=kind,
        topics=tuple(chosen) or kind.topics,
        tasks_max=int(values["tasks.max"]),
        flush_ms=int(values["flush.ms"]),
        batch_records_max=int(values["batch.records.max"]),
        tolerates=values["errors.tolerance"].lower() == "all",
        retry_timeout_ms=int(values["errors.retry.timeout"]),
        retry_delay_ms_max=int(values["errors.retry.delay.max.ms"]),
        log_errors=values["errors.log.enable"].lower() == "true",
        dead_letters=properties.get("errors.deadletterqueue.topic.name", values["errors.deadletterqueue.topic.name"]),
        settings=_overlay(properties, kind, stage)[0],
    )


def problems_of(properties: Properties, stage: SinkSettings) -> dict[str, list[str]]:
    """What is wrong, by key, in sentences that name the key; {} when a connector can be made of it."""
    problems: dict[str, list[str]] = {}
    for key, sentence in _problems(properties, stage):
        problems.setdefault(key, []).append(sentence)
    return problems


def masked(properties: Properties) -> dict[str, str]:
    """The same with every secret hidden: what a person or a log may see."""
    return {name: HIDDEN if is_secret(name) else value for name, value in properties.items()}


def unmasked(properties: Properties, stored: Properties) -> dict[str, str]:
    """What a client means that sends back masked settings which it has read: hidden values stay as they are."""
    return {name: stored.get(name, value) if value == HIDDEN else value for name, value in properties.items()}


def is_secret(name: str) -> bool:
    """Whether a key's value is a password: by its type where the key is known, by its name where not."""
    types = {key.name: key.type for kind in SINKS.values() for key in keys_of(kind)}
    return types[name] == "PASSWORD" if name in types else any(word in name.lower() for word in SECRET_WORDS)


def _problems(properties: Properties, stage: SinkSettings) -> Iterator[tuple[str, str]]:
    for key in COMMON:
        if key.required and not properties.get(key.name):
            yield key.name, f'Missing required configuration "{key.name}" which has no default value.'
    kind = SINKS.get(properties.get("connector.class", ""))
    if kind is None:
        if found := properties.get("connector.class"):
            yield "connector.class", f"connector.class: there is no sink {found!r}; choose of {', '.join(SINKS)}"
        return
    known = {key.name: key for key in keys_of(kind, stage)}
    for name, value in properties.items():
        problem = known[name].problem(value) if name in known else stranger(name, kind)
        if problem:
            yield name, f"{name}: {problem}"
    able = [topic_names(stage.kafka).of(topic) for topic in kind.topics]
    for full_name, topic in _topics(properties.get("topics", ""), kind, stage.kafka).items():
        if topic is None:
            yield "topics", f"topics: {kind.kind} cannot land {full_name!r}; choose of {', '.join(able)}"
    settings, refused = _overlay(properties, kind, stage)
    yield from dict.fromkeys(refused)  # one for every wrong part of a list says the same
    if not refused:
        yield from kind.validate(settings).items()


def _topics(text: str, kind: type[Connector], kafka: KafkaSettings) -> dict[str, Topic | None]:
    """By full name as given; None for one that the kind does not take."""
    names = topic_names(kafka)
    able = {names.of(topic): topic for topic in kind.topics}
    given = [name.strip() for name in text.split(",") if name.strip()]
    return {name: able.get(name) for name in given}


def _overlay(
    properties: Properties, kind: type[Connector], stage: SinkSettings
) -> tuple[SinkSettings, list[tuple[str, str]]]:
    """The worker's settings with the connector's sections over them, and what of those does not fit."""
    sections: dict[str, Section] = {}
    refused: list[tuple[str, str]] = []
    for section in kind.sections:
        own = section_type(section)
        given = {
            name: _value(field, properties[key])
            for name, field in own.model_fields.items()
            if (key := key_name(section, name)) in properties
        }
        try:
            sections[section] = own.model_validate(dict(getattr(stage, section)) | given)
        except ValidationError as exc:
            for error in exc.errors():
                key = key_name(section, str(error["loc"][0]))
                refused.append((key, f"{key}: {error['msg'].removeprefix('Value error, ')}"))
    return stage.model_copy(update=sections), refused


def _value(field: FieldInfo, text: str) -> str | list[str]:
    return [part.strip() for part in text.split(",") if part.strip()] if is_list(field) else text
