"""Natural keys of records, and what cannot be one: the same for every store that has no constraints of its own."""

from math import isfinite
from typing import Any, Final

from schemas.errors import RecordRefused
from schemas.records import CascadeAlert, FeedHealth, Funding, Liquidation, OpenInterest, Record, WindowAggregate

KEYS: Final[dict[type[Record], tuple[str, ...]]] = {
    Liquidation: ("event_id",),
    OpenInterest: ("event_id",),
    Funding: ("event_id",),
    FeedHealth: ("exchange", "channel", "event_time_ms", "state"),
    WindowAggregate: ("window_id",),
    CascadeAlert: ("alert_id",),
}
LEAST_PRICE: Final = 5e-324  # above zero


def key_of(record: Record) -> tuple[Any, ...]:
    """What tells it from every other record of its topic."""
    return tuple(getattr(record, name) for name in KEYS[type(record)])


def refuse_what_cannot_be(record: Record) -> None:
    """Raises RecordRefused for a liquidation whose price is not above zero, or whose quantity or USD is below."""
    if not isinstance(record, Liquidation):
        return
    for name, value, least in (
        ("price", record.price, LEAST_PRICE),
        ("quantity", record.quantity, 0.0),
        ("notional_usd", record.notional_usd, 0.0),
    ):
        if not (isfinite(value) and value >= least):
            raise RecordRefused(f"landing {record.event_id}: {name} is {value}")
