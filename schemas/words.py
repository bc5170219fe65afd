"""The words of the contract: enums that stand in the Avro schemas, symbol for symbol, in the same order.

Every enum begins with UNKNOWN, its default: a reader with an older schema sees that instead of a newer symbol.
The order of `Exchange` is the slot in the detector and that of `Level` its rank: both only ever grow at the end."""

from enum import StrEnum


class Exchange(StrEnum):
    """The exchange; at most EXCHANGES_MAX with UNKNOWN. A new one is one line here and one in each schema."""

    UNKNOWN = "UNKNOWN"
    BINANCE = "binance"
    BYBIT = "bybit"
    OKX = "okx"
    HYPERLIQUID = "hyperliquid"
    GATE = "gate"
    BITGET = "bitget"


EXCHANGES_MAX = 16  # slots of the detector's panes: 16 exchanges x 2 sides = 32 cells
EXCHANGE_SLOTS: dict[str, int] = {exchange: slot for slot, exchange in enumerate(Exchange)}
assert len(Exchange) <= EXCHANGES_MAX


class Side(StrEnum):
    """Side of the position that was liquidated, never of the order."""

    UNKNOWN = "UNKNOWN"
    LONG = "LONG"
    SHORT = "SHORT"


class Market(StrEnum):
    """What the contract is margined in; USD means coin-margined."""

    UNKNOWN = "UNKNOWN"
    USDT = "USDT"
    USDC = "USDC"
    USD = "USD"
    OTHER = "OTHER"


class PriceKind(StrEnum):
    """What a liquidation's price is."""

    UNKNOWN = "UNKNOWN"
    AVERAGE = "AVERAGE"
    ORDER = "ORDER"
    BANKRUPTCY = "BANKRUPTCY"
    FILL = "FILL"
    LIQUIDATION_MARK = "LIQUIDATION_MARK"


class Completeness(StrEnum):
    """How much of its liquidations an exchange shows on its tape."""

    UNKNOWN = "UNKNOWN"
    ALL = "ALL"
    PARTIAL = "PARTIAL"
    LARGEST_PER_SECOND = "LARGEST_PER_SECOND"
    LATEST_PER_SECOND = "LATEST_PER_SECOND"
    INFERRED = "INFERRED"


class FeedState(StrEnum):
    """State of one channel of one exchange."""

    UNKNOWN = "UNKNOWN"
    CONNECTED = "CONNECTED"
    SUBSCRIBED = "SUBSCRIBED"
    LIVE = "LIVE"
    SILENT = "SILENT"
    GAP = "GAP"
    STALE = "STALE"
    RECONNECTING = "RECONNECTING"
    DRIFT = "DRIFT"
    DOWN = "DOWN"


class JournalKind(StrEnum):
    """What a journal entry carries."""

    UNKNOWN = "UNKNOWN"
    CONTEXT = "CONTEXT"
    TICK = "TICK"
    BASELINE = "BASELINE"


class Level(StrEnum):
    """Cascade level, in rising order; `LEVEL_RANKS` gives the order as a number."""

    UNKNOWN = "UNKNOWN"
    NONE = "NONE"
    WATCH = "WATCH"
    ALERT = "ALERT"
    CRITICAL = "CRITICAL"
    EXTREME = "EXTREME"


LEVELS: tuple[Level, ...] = tuple(Level)
LEVEL_RANKS: dict[str, int] = {level: rank for rank, level in enumerate(Level)}


class AlertKind(StrEnum):
    """What happened to an episode."""

    UNKNOWN = "UNKNOWN"
    RAISED = "RAISED"
    UPDATED = "UPDATED"
    LOWERED = "LOWERED"
    ENDED = "ENDED"


class Profile(StrEnum):
    """Which thresholds decide the level."""

    UNKNOWN = "UNKNOWN"
    ABSOLUTE = "ABSOLUTE"
    RELATIVE = "RELATIVE"
    EITHER = "EITHER"


class StateKind(StrEnum):
    """ASSET: state of one asset; PROGRESS: how far one partition has been folded."""

    UNKNOWN = "UNKNOWN"
    ASSET = "ASSET"
    PROGRESS = "PROGRESS"
