"""Which keys a connector has: the ones of all connectors, and its sections of the settings tree as keys."""

from dataclasses import dataclass, replace
from typing import Any, Final, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from runtime.kafka import topic_names
from runtime.settings import Section
from schemas.topics import DEAD_LETTERS
from sinks.connector import Connector
from sinks.settings import BATCH_RECORDS_MAX, FLUSH_MS_MAX, SinkSettings

FOREVER_MS: Final = -1
TASKS_MAX: Final = 64  # each is a thread with a consumer and a connection; more of them than partitions stand idle
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key as Connect describes it. `default` None: it has none, and must be given where `required`.

    `range`: least and greatest number; `choices`: all values that there are, () for any."""

    name: str
    type: str = "STRING"
    default: str | None = None
    required: bool = False
    importance: str = "MEDIUM"
    group: str = "Common"
    documentation: str = ""
    range: tuple[int, int] = (0, 0)
    choices: tuple[str, ...] = ()

    def problem(self, value: str) -> str:
        """What is wrong with a value, or ""."""
        if self.choices and value.lower() not in self.choices:
            return f"{value!r} is none of {', '.join(self.choices)}"
        if self.range != (0, 0):
            least, greatest = self.range
            try:
                fits = least <= int(value) <= greatest
            except ValueError:
                fits = False
            if not fits:
                return f"{value!r} is not a whole number within {least} and {greatest}"
        return ""


COMMON: Final = (
    Key(name="name", required=True, importance="HIGH", documentation="The store knows the offsets by it."),
    Key(name="connector.class", required=True, importance="HIGH", documentation="Kind of sink."),
    Key(name="tasks.max", type="INT", default="1", importance="HIGH", range=(1, TASKS_MAX),
        documentation="Tasks that share the partitions, over all workers."),
    Key(name="topics", type="LIST", default="", importance="HIGH",
        documentation="Topics to land, joined by commas; empty: all that the kind can."),
    Key(name="flush.ms", type="INT", range=(1, FLUSH_MS_MAX),
        documentation="How long a record may wait for others before it has landed."),
    Key(name="batch.records.max", type="INT", range=(1, BATCH_RECORDS_MAX), documentation="Most records of one batch."),
    Key(name="errors.tolerance", default="all", group="Error Handling", choices=("none", "all"),
        documentation="all: refused records go to the dead letters; none: the first one fails the task."),
    Key(name="errors.retry.timeout", type="LONG", default=str(FOREVER_MS), group="Error Handling",
        range=(FOREVER_MS, 30 * DAY_MS),
        documentation="How long an outage is waited out, in ms, before the task fails; -1: for ever."),
    Key(name="errors.retry.delay.max.ms", type="LONG", group="Error Handling", range=(10, DAY_MS),
        documentation="Longest pause between two tries during an outage."),
    Key(name="errors.log.enable", type="BOOLEAN", default="false", group="Error Handling", choices=("true", "false"),
        documentation="Log each refused record with its place and the reason."),
    Key(name="errors.deadletterqueue.topic.name", group="Error Handling",
        documentation="Topic of the refused records; empty: they are counted and gone."),
)  # fmt: skip
# What clients of Kafka Connect send with every connector. Records here are Avro in a known schema, so nothing is chosen
# by them, and the dead letters always have their headers.
WITHOUT_EFFECT: Final = (
    "key.converter", "value.converter", "header.converter", "config.action.reload", "tasks.max.enforce",
    "errors.log.include.messages", "errors.deadletterqueue.topic.replication.factor",
    "errors.deadletterqueue.context.headers.enable", "exactly.once.support",
)  # fmt: skip
# What would change records or offsets in a way that this worker does not know: refused, never ignored.
UNKNOWN_HERE: Final = (
    "transforms",
    "predicates",
    "topics.regex",
    "consumer.override.",
    "producer.override.",
    "admin.override.",
)


def keys_of(kind: type[Connector], stage: SinkSettings | None = None) -> tuple[Key, ...]:
    """All keys of a kind; with the worker's settings as defaults where those are given, secrets left out."""
    own = [key for section in kind.sections for key in _section_keys(section, stage)]
    if stage is None:
        return (*COMMON, *own)
    defaults = {
        "flush.ms": str(stage.sinks.flush_ms.get(kind.kind, kind.flush_ms)),
        "batch.records.max": str(stage.sinks.batch_records_max),
        "errors.retry.delay.max.ms": str(stage.sinks.backoff_ms_max),
        "errors.deadletterqueue.topic.name": topic_names(stage.kafka).of(DEAD_LETTERS),
    }
    return (*(replace(key, default=defaults.get(key.name, key.default)) for key in COMMON), *own)


def stranger(name: str, kind: type[Connector]) -> str:
    """What is wrong with a key that is not the kind's, or "" where it does no harm."""
    if name.startswith(UNKNOWN_HERE):
        return "this worker does not have that; leave it out"
    if name.startswith(WITHOUT_EFFECT):
        return ""
    known = {key.name for key in keys_of(kind)}
    families = {key.partition(".")[0] for key in known}
    if name.partition(".")[0] in families:
        return f"is no key of {kind.kind}; it has {', '.join(sorted(known))}"
    return ""


def key_name(section: str, field: str) -> str:
    """`database`, `url` → database.url; underscores of a field are dots."""
    return f"{section}.{field.replace('_', '.')}"


def section_type(section: str) -> type[Section]:
    """The class of a section of the settings tree."""
    annotation = SinkSettings.model_fields[section].annotation
    assert isinstance(annotation, type) and issubclass(annotation, Section), f"{section} is a section"  # noqa: PT018
    return annotation


def is_list(field: FieldInfo) -> bool:
    """Whether a field holds several values, which are joined by commas in a key's text."""
    return get_origin(field.annotation) is tuple


def _section_keys(section: str, stage: SinkSettings | None) -> list[Key]:
    values = getattr(stage, section) if stage is not None else None
    return [
        Key(
            name=key_name(section, name),
            type=_type(field),
            default=_text(getattr(values, name)) if values is not None else None,
            importance="HIGH" if _type(field) == "PASSWORD" else "MEDIUM",
            group=section.capitalize(),
            documentation=field.description or "",
            choices=("true", "false") if _type(field) == "BOOLEAN" else (),
        )
        for name, field in section_type(section).model_fields.items()
    ]


def _type(field: FieldInfo) -> str:
    if is_list(field):
        return "LIST"
    kinds = get_args(field.annotation) or (field.annotation,)
    for kind, name in ((SecretStr, "PASSWORD"), (bool, "BOOLEAN"), (int, "INT"), (float, "DOUBLE")):
        if kind in kinds:
            return name
    return "STRING"


def _text(value: Any) -> str | None:
    """A default as text; a secret has none, so that it leaves this process nowhere."""
    if value is None or isinstance(value, SecretStr):
        return None
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
