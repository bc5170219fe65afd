"""Names of record headers that more than one stage knows."""

from typing import Final

SENT_HEADER: Final = "sent_time_us"  # of alerts, late events and dead letters: when, by the detector's clock, in digits
