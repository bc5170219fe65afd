"""Settings that every stage has: one TOML file, the environment over it.

The file is liqcascade.toml in the working folder, or the one that LIQCASCADE_SETTINGS names. Environment names are
LIQCASCADE_ + the key in capitals, sections joined by two underscores: LIQCASCADE_KAFKA__BOOTSTRAP_SERVERS.
A stage adds its own section by subclassing `StageSettings`; keys of other stages' sections are left to those."""

import os
import tomllib
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from schemas.errors import SettingsError
from schemas.topics import PARTITIONS_DEFAULT

FILE_VARIABLE: Final = "LIQCASCADE_SETTINGS"
FILE_DEFAULT: Final = "liqcascade.toml"
REGISTRY_VARIABLE: Final = "SCHEMA_REGISTRY_URL"  # the name that other Kafka programs know
NUMBER_MAX: Final = 1e15  # 31,000 years in ms, and more USD than there are; a thousand of them fit into 63 bits
GIVEN_CHARS_MAX: Final = 120  # of a value that does not fit


class Section(BaseModel):
    """One section of the settings tree; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def be_a_number(cls, given: Any, info: ValidationInfo) -> Any:
        """True would else be taken for 1."""
        if isinstance(given, bool) and cls.model_fields[info.field_name or ""].annotation in (int, float):
            raise ValueError("must be a number")
        return given

    @field_validator("*")
    @classmethod
    def be_within(cls, value: Any) -> Any:
        """What is computed from settings stays within 64 bits."""
        if isinstance(value, int | float) and not abs(value) <= NUMBER_MAX:
            raise ValueError(f"must be a number within ±{NUMBER_MAX:.0e}")
        return value


class KafkaSettings(Section):
    """Kafka or Redpanda; the security settings serve confluent-kafka and aiokafka alike."""

    bootstrap_servers: str = Field("127.0.0.1:9092", description="host:port, several joined by commas")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    ssl_ca_file: Path | None = Field(None, description="PEM; without it the system's certificates are trusted")
    ssl_certificate_file: Path | None = Field(None, description="PEM, for brokers that ask for a client certificate")
    ssl_key_file: Path | None = None
    schema_registry_url: str | None = Field(None, description="without it schema ids come from the built-in table")
    topic_prefix: str = ""
    partitions: int = Field(PARTITIONS_DEFAULT, ge=1, le=1_000, description="partitions of the topics by asset")
    replication: int = Field(1, ge=1, le=9)


class RedisSettings(Section):
    """Redis 6.2 or newer, or a server that speaks like it."""

    url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="redis://, rediss:// or unix://")


class OperationsSettings(Section):
    """The HTTP server with /metrics, /healthz and /readyz that every stage has."""

    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65_535, description="0 takes a free port and logs it")


class LogSettings(Section):
    """Structured logs on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else json")


class StageSettings(BaseSettings):
    """What every stage has. Subclasses add a section each."""

    model_config = SettingsConfigDict(
        env_prefix="LIQCASCADE_", env_nested_delimiter="__", extra="ignore", frozen=True, env_ignore_empty=True
    )

    kafka: KafkaSettings = KafkaSettings()
    operations: OperationsSettings = OperationsSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments over environment over file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, settings_file())


S = TypeVar("S", bound=StageSettings)


def settings_file() -> Path:
    """The TOML file that is read; it need not exist unless LIQCASCADE_SETTINGS names it."""
    return Path(os.environ.get(FILE_VARIABLE) or FILE_DEFAULT)


def load(kind: type[S], **overrides: Any) -> S:
    """The settings of a stage. Raises SettingsError with one sentence that names each key that does not fit."""
    named = os.environ.get(FILE_VARIABLE)
    if named and not Path(named).is_file():
        raise SettingsError(f"reading settings: {FILE_VARIABLE} names {named}, which is not a file")
    registry = os.environ.get(REGISTRY_VARIABLE)
    if registry and "LIQCASCADE_KAFKA__SCHEMA_REGISTRY_URL" not in os.environ:
        overrides["kafka"] = {"schema_registry_url": registry} | overrides.get("kafka", {})
    try:
        return kind(**overrides)
    except ValidationError as exc:
        raise SettingsError("settings: " + sentences(exc)) from exc
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError(f"reading settings: {settings_file()} is not TOML: {exc}") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"reading settings: {settings_file()}: {exc}") from exc


def sentences(found: ValidationError, *, below: str = "") -> str:
    """What does not fit, each with its key; `below`: the key of the section that was validated."""
    return "; ".join(_sentence(error, below) for error in found.errors())


def _sentence(error: Any, below: str) -> str:
    key = ".".join(str(part) for part in ((below, *error["loc"]) if below else error["loc"])) or "the tree"
    if error["type"] == "extra_forbidden":
        return f"{key} is not a setting (see `liqcascade settings show`)"
    secret = any(word in key for word in ("password", "url", "secret"))
    whole = isinstance(error["input"], dict | list | tuple)  # the sentence says which part of it does not fit
    given = "" if secret or whole or error["type"] == "missing" else f", was {_shown(error['input'])}"
    sentence = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{key}: {sentence}{given}"


def _shown(given: Any) -> str:
    shown = repr(given)
    return shown if len(shown) <= GIVEN_CHARS_MAX else f"{shown[:GIVEN_CHARS_MAX]}… ({len(shown)} characters)"
