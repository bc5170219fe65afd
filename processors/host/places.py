"""Where a restart must begin to read: headers of the rows of state, and ids of what was published.

Every row carries the next offsets, at the time of its capture, of the topics that the detector writes and reads: what
the state does not know of stands at or after them, never before."""

from typing import Final

from schemas.topics import ALERTS, DEAD_LETTERS, JOURNAL, LATE, LIQUIDATIONS, WINDOWS, Topic

EPOCH_HEADER: Final = "epoch"
BASE_HEADER: Final = "base"  # of the partition's own row: rows of lower epochs are of a state that was given up
PLACES_HEADER: Final = "places"  # JSON: topic without prefix -> next offset in the partition of the same number
PUBLISHED: Final[tuple[Topic, ...]] = (ALERTS, WINDOWS, LATE, DEAD_LETTERS)  # each id at most once in them
WRITTEN: Final[tuple[Topic, ...]] = (*PUBLISHED, JOURNAL)
ID_FIELDS: Final = {ALERTS.name: "alert_id", WINDOWS.name: "window_id", LATE.name: "event_id"}
Places = dict[str, int]

assert all(topic.by_asset for topic in (*WRITTEN, LIQUIDATIONS)), "a partition's outputs stand in the same partition"


def letter_id(partition: int, offset: int) -> str:
    """Id of the dead letter of a liquidation that could not be decoded."""
    return f"{LIQUIDATIONS.name}/{partition}/{offset}"
