"""Settings of the sinks: where the stores are, and how batches are made."""

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr

from runtime.settings import RedisSettings, Section, StageSettings
from schemas.words import AlertKind, Level

BATCH_RECORDS_MAX: Final = 10_000  # 10,000 records of 1 kB are 10 MB in memory and one transaction of a quarter second
FLUSH_MS_MAX: Final = 60_000


class DatabaseSettings(Section):
    """PostgreSQL, with TimescaleDB where the server has it."""

    url: SecretStr = Field(
        SecretStr("postgresql://liqcascade@127.0.0.1:5432/liqcascade"),
        description="libpq's URL; sslmode, sslrootcert and the password may stand in it or in libpq's environment",
    )
    retention: bool = Field(
        True,
        description="TimescaleDB deletes liquidations, funding and alerts a year, open interest 90, windows and health "
        "30 days after their event time; false keeps everything, which captured frames with old event times need",
    )


class SinksSection(Section):
    """Which connectors there are at the first start, and how all batch. Later ones come by REST."""

    enabled: tuple[str, ...] = Field(
        ("timescale", "redis"), description="kinds of which a connector of the same name is made where there is none"
    )
    connectors: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="more of them by name, with settings as Kafka Connect writes them"
    )
    batch_records_max: int = Field(1_000, ge=1, le=BATCH_RECORDS_MAX)
    flush_ms: dict[str, int] = Field(
        default_factory=dict,
        description="by kind: how long a record may wait for others of its batch; each kind has its own default",
    )
    backoff_ms_min: int = Field(250, ge=10, description="first pause when a store is out")
    backoff_ms_max: int = Field(15_000, ge=10, description="longest pause; each is up to twice the one before")


class RestSettings(Section):
    """The REST interface of Kafka Connect. Whoever can call it can redirect what lands: keep it on loopback, or set
    a token or a password."""

    host: str = "127.0.0.1"
    port: int = Field(8083, ge=0, le=65_535, description="0 takes a free port and logs it")
    token: SecretStr = Field(SecretStr(""), description="bearer token that a call must bring; empty: none")
    username: str = Field("", description="user of basic authentication; empty: none")
    password: SecretStr = SecretStr("")


class ArchiveSettings(Section):
    """The folder of the Parquet files."""

    folder: Path = Field(Path("archive"), description="on a disk of its own or with room for 60 bytes a liquidation")


class WebhookSettings(Section):
    """Where alerts are sent, and which."""

    url: SecretStr = Field(SecretStr(""), description="http:// or https://; it may hold a token, and is never logged")
    secret: SecretStr = Field(SecretStr(""), description="whsec_ + base64 of the key that signs; empty: unsigned")
    format: Literal["json", "text"] = Field("json", description='the alert as it is, or {"text": one sentence}')
    level_min: Level = Field(Level.ALERT, description="lowest level told; what ends or falls is told from there on")
    kinds: tuple[AlertKind, ...] = Field((AlertKind.RAISED, AlertKind.LOWERED, AlertKind.ENDED))
    age_s_max: int = Field(600, ge=1, description="alerts that are older are history, and are passed over")
    folder: Path = Field(Path("webhook"), description="keeps what was sent, so that nothing is sent twice")


class SinkSettings(StageSettings):
    """Settings of the stage."""

    rest: RestSettings = RestSettings()
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    archive: ArchiveSettings = ArchiveSettings()
    webhook: WebhookSettings = WebhookSettings()
    sinks: SinksSection = SinksSection()
