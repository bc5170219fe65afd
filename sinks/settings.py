"""Settings of the sinks: where the stores are, and how batches are made."""

from typing import Final

from pydantic import Field, SecretStr

from runtime.settings import RedisSettings, Section, StageSettings

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
        description="TimescaleDB deletes liquidations and alerts a year, windows 30 days after their event time; "
        "false keeps everything, which captured frames with old event times need",
    )


class SinksSection(Section):
    """Which sinks run in this process and how they batch."""

    enabled: tuple[str, ...] = Field(("timescale", "redis"), description="names of sinks", min_length=1)
    batch_records_max: int = Field(1_000, ge=1, le=BATCH_RECORDS_MAX)
    flush_ms: dict[str, int] = Field(
        default_factory=dict,
        description="by sink: how long a record may wait for others of its batch; each sink has its own default",
    )
    backoff_ms_min: int = Field(250, ge=10, description="first pause when a store is out")
    backoff_ms_max: int = Field(15_000, ge=10, description="longest pause; each is up to twice the one before")


class SinkSettings(StageSettings):
    """Settings of the stage."""

    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    sinks: SinksSection = SinksSection()
