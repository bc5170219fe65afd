"""Where everything that was received goes: what the sources of all exchanges write to. `Publisher` is the usual one."""

from collections.abc import Sequence
from typing import Protocol

from schemas.errors import FrameRefused
from schemas.records import FeedHealth, Funding, Liquidation, OpenInterest


class Outlet(Protocol):
    """Takes records; a method that waits holds up the feed, and so the exchange."""

    async def liquidations(self, events: Sequence[Liquidation]) -> None:
        """Take liquidations of one exchange."""

    async def market(self, events: Sequence[OpenInterest | Funding]) -> None:
        """Take open interest and funding of one exchange."""

    async def health(self, record: FeedHealth) -> None:
        """Take the state of a channel."""

    async def raw_frame(self, frame: bytes, *, exchange: str, channel: str, received_time_us: int) -> None:
        """Take a frame as it was received."""

    async def dead_letter(
        self, frame: bytes, error: FrameRefused, *, exchange: str, channel: str, received_time_us: int
    ) -> None:
        """Take a frame or an answer that was refused."""


class Nowhere:
    """Keeps nothing: what a recording without Kafka writes to."""

    async def liquidations(self, events: Sequence[Liquidation]) -> None:
        """Drop them: their frame is in the recording."""

    async def market(self, events: Sequence[OpenInterest | Funding]) -> None:
        """Drop them."""

    async def health(self, record: FeedHealth) -> None:
        """Drop it: it is logged."""

    async def raw_frame(self, frame: bytes, *, exchange: str, channel: str, received_time_us: int) -> None:
        """Drop it."""

    async def dead_letter(
        self, frame: bytes, error: FrameRefused, *, exchange: str, channel: str, received_time_us: int
    ) -> None:
        """Drop it: it is logged, and in the recording."""


class Tap(Protocol):
    """Sees every frame, every answer and every table of instruments before it is decoded. Never waits, never raises."""

    def __call__(
        self, body: bytes, *, exchange: str, source: str, received_time_us: int, covered_since_ms: int = 0
    ) -> None:
        """`source`: "websocket", the path of the REST call, or "instruments"; `covered_since_ms`: of a frame, since
        when the exchange has been listened to without a gap."""
