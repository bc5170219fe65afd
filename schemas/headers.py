"""Names of record headers that more than one stage knows."""

from typing import Final

SENT_HEADER: Final = "sent_time_us"  # of all that the detector publishes: when it was sent, by its own clock, in digits
