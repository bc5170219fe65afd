"""Settings of the sinks: where the stores are, and how batches are made."""

from decimal import Decimal, DecimalException
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr, field_validator

from runtime.settings import RedisSettings, Section, StageSettings
from schemas.words import AlertKind, Level

BATCH_RECORDS_MAX: Final = 10_000  # 10,000 records of 1 kB are 10 MB in memory and one transaction of a quarter second
FLUSH_MS_MAX: Final = 60_000
WIDTH_DIGITS_MAX: Final = 15  # as many as a price has
# Their levels change width where both widths end: 10,000 of each is an even number of levels.
BASIS_POINTS: Final = (1, 2, 5, 10, 20, 50, 100)


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


class LevelsSettings(Section):
    """How wide the price levels in Redis are: by the price, or for some assets as their traders count."""

    basis_points: int = Field(10, description="widest level, in basis points of the price: 1, 2, 5, 10, 20, 50 or 100")
    widths: tuple[str, ...] = Field(
        (), description="levels of one width in price units, by asset: BTC=50, PEPE=0.00000001"
    )

    @field_validator("basis_points")
    @classmethod
    def _known(cls, value: int) -> int:
        if value not in BASIS_POINTS:
            raise ValueError(f"must be one of {', '.join(map(str, BASIS_POINTS))}; was {value}")
        return value

    @field_validator("widths")
    @classmethod
    def _readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        assets = [width_of(text)[0] for text in value]
        if len(assets) != len(set(assets)):
            raise ValueError("an asset has two widths")
        return value


class WebhookSettings(Section):
    """Where alerts are sent, and which."""

    url: SecretStr = Field(SecretStr(""), description="http:// or https://; it may hold a token, and is never logged")
    secret: SecretStr = Field(SecretStr(""), description="whsec_ + base64 of the key that signs; empty: unsigned")
    format: Literal["json", "text"] = Field("json", description='the alert as it is, or {"text": one sentence}')
    level_min: Level = Field(Level.ALERT, description="lowest level told; what ends or falls is told from there on")
    kinds: tuple[AlertKind, ...] = Field(
        (AlertKind.RAISED, AlertKind.LOWERED, AlertKind.ENDED), description="of RAISED, UPDATED, LOWERED and ENDED"
    )
    age_s_max: int = Field(600, ge=1, description="alerts that are older are history, and are passed over")
    folder: Path = Field(Path("webhook"), description="keeps what was sent, so that nothing is sent twice")


class SinkSettings(StageSettings):
    """Settings of the stage."""

    rest: RestSettings = RestSettings()
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    levels: LevelsSettings = LevelsSettings()
    archive: ArchiveSettings = ArchiveSettings()
    webhook: WebhookSettings = WebhookSettings()
    sinks: SinksSection = SinksSection()


def width_of(text: str) -> tuple[str, Decimal]:
    """Asset and width of one of `levels.widths`. Raises ValueError."""
    asset, _, number = text.partition("=")
    try:
        width = Decimal(number.strip())
    except DecimalException:
        width = Decimal(0)
    if not asset.strip() or not width.is_finite() or width <= 0 or len(width.as_tuple().digits) > WIDTH_DIGITS_MAX:
        raise ValueError(
            f"{text!r} is no width; write ASSET=WIDTH, above 0 in units of the price, {WIDTH_DIGITS_MAX} digits at most"
        )
    return asset.strip(), width
