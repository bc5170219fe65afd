"""Names, keys, partitions and retention of every topic. They stand here and nowhere else."""

from dataclasses import dataclass
from typing import Final

from schemas.records import (
    AssetState,
    CascadeAlert,
    DetectorSnapshot,
    FeedHealth,
    Funding,
    JournalEntry,
    Liquidation,
    OpenInterest,
    Record,
    WindowAggregate,
)

DAY_MS: Final = 86_400_000
FOR_EVER: Final = -1
PARTITIONS_DEFAULT: Final = 12
MARKET: Final = "*"  # alerts.cascades and signals.state: key of the market's records, which are no asset's
PROGRESS_KEY: Final = "progress"  # signals.state: key of the progress records, "progress/<partition>"


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One topic.

    `key` says what the UTF-8 key is; `by_asset`: as many partitions as settings say, so that all exchanges of an asset
    meet in one; otherwise one partition. `record` is None where values are not Avro (frames, refused bytes, JSON of
    settings)."""

    name: str
    key: str
    record: type[Record] | None
    retention_ms: int
    by_asset: bool = True
    compacted: bool = False

    def partitions(self, by_asset: int) -> int:
        """Partitions of this topic where topics by asset have `by_asset`."""
        return by_asset if self.by_asset else 1

    def config(self, *, imported: bool = False) -> dict[str, str]:
        """Broker settings of the topic.

        Live topics carry the broker's append time: a record with an old create time would be deleted minutes after it
        was written. `imported` history keeps its own times, and is therefore never deleted by age."""
        config = {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "message.timestamp.type": "CreateTime" if imported else "LogAppendTime",
        }
        if self.compacted:  # a reader takes all of it at every start: old rows must go soon
            config |= {"segment.ms": "600000", "segment.bytes": str(16 * 2**20), "min.cleanable.dirty.ratio": "0.1"}
        else:
            config["retention.ms"] = str(FOR_EVER if imported else self.retention_ms)
        return config


LIQUIDATIONS: Final = Topic(name="market.liquidations", key="asset", record=Liquidation, retention_ms=30 * DAY_MS)
OPEN_INTEREST: Final = Topic(name="market.open-interest", key="asset", record=OpenInterest, retention_ms=30 * DAY_MS)
FUNDING: Final = Topic(name="market.funding", key="asset", record=Funding, retention_ms=90 * DAY_MS)
FEED_HEALTH: Final = Topic(
    name="market.feed-health", key="exchange/channel", record=FeedHealth, retention_ms=30 * DAY_MS, by_asset=False
)
RAW_FRAMES: Final = Topic(name="market.raw-frames", key="exchange", record=None, retention_ms=3 * DAY_MS)
LATE: Final = Topic(name="market.late", key="asset", record=Liquidation, retention_ms=30 * DAY_MS)
SETTINGS: Final = Topic(name="settings.assets", key="asset or *", record=None, retention_ms=FOR_EVER, by_asset=False)
JOURNAL: Final = Topic(name="detector.journal", key="source partition", record=JournalEntry, retention_ms=30 * DAY_MS)
SNAPSHOTS: Final = Topic(
    name="detector.snapshots", key="asset", record=DetectorSnapshot, retention_ms=FOR_EVER, compacted=True
)
WINDOWS: Final = Topic(name="signals.windows", key="asset", record=WindowAggregate, retention_ms=7 * DAY_MS)
STATE: Final = Topic(name="signals.state", key="asset", record=AssetState, retention_ms=7 * DAY_MS, by_asset=False)
ALERTS: Final = Topic(
    name="alerts.cascades", key="asset, * for the market", record=CascadeAlert, retention_ms=90 * DAY_MS
)
DEAD_LETTERS: Final = Topic(name="dead-letters", key="source topic", record=None, retention_ms=30 * DAY_MS)
CONFIGS: Final = Topic(
    name="connect.configs",
    key="connector-… or target-state-…, then the connector",
    record=None,
    retention_ms=FOR_EVER,
    by_asset=False,
    compacted=True,
)
STATUSES: Final = Topic(
    name="connect.status",
    key="status-task-…, then the connector",
    record=None,
    retention_ms=FOR_EVER,
    by_asset=False,
    compacted=True,
)

TOPICS: Final[dict[str, Topic]] = {
    topic.name: topic
    for topic in (
        LIQUIDATIONS, OPEN_INTEREST, FUNDING, FEED_HEALTH, RAW_FRAMES, LATE, SETTINGS,
        JOURNAL, SNAPSHOTS, WINDOWS, STATE, ALERTS, DEAD_LETTERS, CONFIGS, STATUSES,
    )
}  # fmt: skip


@dataclass(frozen=True)
class TopicNames:
    """Full names under a prefix ("" for the live topics, "history." for imported ones)."""

    prefix: str = ""

    def of(self, topic: Topic) -> str:
        """Full name of a topic."""
        return self.prefix + topic.name

    def topic(self, name: str) -> Topic | None:
        """The topic behind a full name, or None when it is not one of ours."""
        return TOPICS.get(name.removeprefix(self.prefix)) if name.startswith(self.prefix) else None
