"""Frozen mirrors of the Avro schemas in avsc/, field for field in the same order (a test holds them together).

Units, signs and sources of every field stand in the `doc` of the schemas. Records are built by keyword."""

import msgspec

from schemas.words import (
    AlertKind,
    Completeness,
    Exchange,
    FeedState,
    JournalKind,
    Level,
    Market,
    PriceKind,
    Profile,
    Side,
    StateKind,
)


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all records: frozen, compared by value."""


class Liquidation(Record, frozen=True, kw_only=True, gc=False):
    """One liquidation order of one exchange. Sources: the module of each exchange in producers/exchanges."""

    event_id: str
    exchange: Exchange
    asset: str
    instrument: str
    market: Market
    side: Side
    price: float
    quantity: float
    notional_usd: float
    price_kind: PriceKind
    completeness: Completeness
    event_time_ms: int
    received_time_us: int
    backlog: bool = False


class OpenInterest(Record, frozen=True, kw_only=True, gc=False):
    """Open interest of one contract, one-sided for every exchange."""

    event_id: str
    exchange: Exchange
    asset: str
    instrument: str
    market: Market
    open_interest: float | None = None
    open_interest_usd: float | None = None
    event_time_ms: int
    received_time_us: int


class Funding(Record, frozen=True, kw_only=True, gc=False):
    """Funding rate of one contract."""

    event_id: str
    exchange: Exchange
    asset: str
    instrument: str
    market: Market
    rate: float
    interval_hours: float
    rate_8h: float
    next_funding_time_ms: int | None = None
    settled: bool
    event_time_ms: int
    received_time_us: int


class FeedHealth(Record, frozen=True, kw_only=True, gc=False):
    """State of one channel of one exchange, at every change and repeated every 60 s."""

    exchange: Exchange
    channel: str
    state: FeedState
    since_ms: int
    expected_gap_ms: int | None = None
    lag_p50_ms: float | None = None
    lag_p99_ms: float | None = None
    clock_offset_ms: float | None = None
    detail: str = ""
    event_time_ms: int


class JournalContext(Record, frozen=True, kw_only=True, gc=False):
    """A record of another topic, as it stood there."""

    topic: str
    partition: int
    offset: int
    append_time_ms: int
    key: bytes
    value: bytes


class BaselineFigures(Record, frozen=True, kw_only=True, gc=False):
    """Baseline of one size."""

    size_ms: int
    events: float
    notional_usd: float


class HourlyMaxima(Record, frozen=True, kw_only=True, gc=False):
    """The largest final tumbling window of one size in each hour of a week, the newest hour last."""

    size_ms: int
    events: tuple[int, ...]
    notional_micro_usd: tuple[int, ...]


class JournalBaseline(Record, frozen=True, kw_only=True, gc=False):
    """Baselines of one asset, in force from here on, and the week that later ones are measured from."""

    asset: str
    append_time_ms: int
    windows: tuple[BaselineFigures, ...]
    since_ms: int | None = None
    maxima: tuple[HourlyMaxima, ...] = ()


class JournalEntry(Record, frozen=True, kw_only=True, gc=False):
    """What the owner of a partition let into its fold besides the liquidations, and where."""

    partition: int
    epoch: int
    sequence: int
    after_offset: int
    kind: JournalKind
    append_time_ms: int | None = None
    context: JournalContext | None = None
    baseline: JournalBaseline | None = None


class WindowExchange(Record, frozen=True, kw_only=True, gc=False):
    """Part of one exchange."""

    events: int
    notional_usd: float
    long_notional_usd: float


class WindowAggregate(Record, frozen=True, kw_only=True, gc=False):
    """One closed tumbling window of one asset, published once, when it is final."""

    window_id: str
    asset: str
    size_ms: int
    window_start_ms: int
    window_end_ms: int
    events: int
    long_events: int
    short_events: int
    notional_usd: float
    long_notional_usd: float
    short_notional_usd: float
    exchanges: dict[str, WindowExchange]
    source_partition: int | None = None
    source_offset: int | None = None
    append_time_ms: int


class Contributions(Record, frozen=True, kw_only=True, gc=False):
    """Terms of the probability before the boost; they add up to it."""

    velocity: float
    acceleration: float
    volume: float
    correlation: float
    funding: float
    open_interest: float


class WindowFigures(Record, frozen=True, kw_only=True, gc=False):
    """Figures of the judged window of one size."""

    size_ms: int
    events: int
    events_per_s: float
    notional_usd_per_s: float
    acceleration_events_per_s2: float
    acceleration_usd_per_s2: float
    long_share: float | None = None


class ExchangeFigures(Record, frozen=True, kw_only=True, gc=False):
    """Figures of one exchange in the judged 2 s window."""

    events_per_s: float
    notional_usd_per_s: float
    share: float
    active: bool


class ExchangeCoverage(Record, frozen=True, kw_only=True, gc=False):
    """How well one exchange is seen."""

    state: FeedState
    completeness: Completeness


class AssetState(Record, frozen=True, kw_only=True, gc=False):
    """State of one asset while it is not quiet, at most ten a second; or the progress of one partition."""

    kind: StateKind
    asset: str
    episode_id: str | None = None
    profile: Profile
    level: Level
    previous_level: Level
    peak_level: Level
    absolute_level: Level
    relative_level: Level
    relative_ratio: float | None = None
    side: Side
    probability: float
    boost: float
    contributions: Contributions
    windows: tuple[WindowFigures, ...]
    exchanges: dict[str, ExchangeFigures]
    leading_exchange: Exchange | None = None
    first_mover: Exchange | None = None
    correlation: float | None = None
    correlation_lag_ms: int | None = None
    open_interest_change_1m_pct: float | None = None
    open_interest_change_5m_pct: float | None = None
    open_interest_change_1h_pct: float | None = None
    open_interest_usd_per_s: float | None = None
    funding_rate_8h: float | None = None
    funding_trend: float | None = None
    funding_max_24h: float | None = None
    funding_velocity_per_h: float | None = None
    funding_acceleration_per_h2: float | None = None
    flags: tuple[str, ...]
    coverage: dict[str, ExchangeCoverage]
    confidence: float
    market_breadth: int | None = None
    source_partition: int | None = None
    source_offset: int | None = None
    event_time_ms: int
    append_time_ms: int


class CascadeAlert(Record, frozen=True, kw_only=True, gc=False):
    """A change of the cascade level of one asset, or an update of it. Enough to act on alone."""

    alert_id: str
    episode_id: str
    sequence: int
    asset: str
    kind: AlertKind
    profile: Profile
    level: Level
    previous_level: Level
    peak_level: Level
    absolute_level: Level
    relative_level: Level
    relative_ratio: float | None = None
    side: Side
    probability: float
    boost: float
    contributions: Contributions
    windows: tuple[WindowFigures, ...]
    exchanges: dict[str, ExchangeFigures]
    leading_exchange: Exchange | None = None
    first_mover: Exchange | None = None
    correlation: float | None = None
    correlation_lag_ms: int | None = None
    open_interest_change_1m_pct: float | None = None
    open_interest_change_5m_pct: float | None = None
    open_interest_change_1h_pct: float | None = None
    open_interest_usd_per_s: float | None = None
    funding_rate_8h: float | None = None
    funding_trend: float | None = None
    funding_max_24h: float | None = None
    funding_velocity_per_h: float | None = None
    funding_acceleration_per_h2: float | None = None
    flags: tuple[str, ...]
    coverage: dict[str, ExchangeCoverage]
    confidence: float
    market_breadth: int | None = None
    source_partition: int | None = None
    source_offset: int | None = None
    event_time_ms: int
    append_time_ms: int


class DetectorSnapshot(Record, frozen=True, kw_only=True, gc=False):
    """State of one asset in the detector, with the positions up to which it is folded."""

    asset: str
    partition: int
    format: int
    next_offset: int
    next_sequence: int
    state: bytes
