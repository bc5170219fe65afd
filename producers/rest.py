"""The REST calls of one exchange: one session, one budget, limits on time and size. TLS is verified."""

import asyncio
import email.utils
import time
from dataclasses import dataclass
from typing import Final

import aiohttp
import msgspec

from producers import metrics
from producers.budget import RateBudget
from producers.clock import ClockOffset
from producers.exchange import Budget, Params
from runtime.clock import wall_clock_ms
from schemas.errors import FeedUnavailable
from schemas.words import Exchange

REQUEST_TIMEOUT_S: Final = 10.0  # lists of 2 MB; a start waits for it
ANSWER_BYTES_MAX: Final = 33_554_432  # the largest list has some 3 MB
PIECE_BYTES: Final = 65_536
CONNECTIONS_MAX: Final = 8  # at a time
SECOND_MS: Final = 1_000.0  # the header Date has whole seconds
EXCERPT_CHARACTERS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """A body, and when it was there."""

    body: bytes
    received_time_us: int


class Rest:
    """`call` waits for the exchange's budget, which all calls share. Close it in the end."""

    def __init__(self, exchange: Exchange, budget: Budget, *, own_origin: bool) -> None:
        """own_origin: an origin of one's own is reached directly, not through the proxy of the environment."""
        self.clock = ClockOffset()
        self.budget = RateBudget(budget)
        self._exchange = exchange.value
        self._own_origin = own_origin
        self._session: aiohttp.ClientSession | None = None
        metrics.REST_REFUSALS.labels(self._exchange)

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

    async def call(
        self, url: str, params: Params, *, weight: int, method: str = "GET", body: str | None = None
    ) -> Answer:
        """One answer. Raises FeedUnavailable: no answer, too large, an error's status, or a refusal with its wait."""
        await self._wait_for_turn(weight)
        sent_ms = time.time() * 1_000
        try:
            if method == "POST":
                data = msgspec.json.encode(msgspec.json.decode(body or "{}") | dict(params))
                headers = {"Content-Type": "application/json"}
                context = self._opened().request(method, url, data=data, headers=headers)
            else:
                context = self._opened().request(method, url, params=dict(params))
            async with context as answer:
                if self.budget.is_refusal(answer.status):
                    raise self._refused(url, answer)
                content = await _read(answer, url)
                received_ms = time.time() * 1_000
                if answer.status != 200:
                    excerpt = content[:EXCERPT_CHARACTERS_MAX].decode(errors="replace")
                    raise FeedUnavailable(f"reading {url}: the answer is {answer.status} {excerpt!r}")
                self.budget.answered()
                self._take_time(answer.headers.get("Date"), sent_ms, received_ms)
                return Answer(content, round(received_ms * 1_000))
        except (aiohttp.ClientError, OSError, ValueError) as exc:  # TimeoutError is an OSError
            raise FeedUnavailable(f"reading {url}: {str(exc) or type(exc).__name__}") from exc

    async def _wait_for_turn(self, weight: int) -> None:
        while True:
            now_ms = _monotonic_ms()
            at_ms = self.budget.reserve(weight, now_ms)
            if at_ms > now_ms:
                await asyncio.sleep((at_ms - now_ms) / 1_000)
            if not self.budget.is_banned(_monotonic_ms()):
                metrics.REST_CALLS.labels(self._exchange).inc()
                return

    def _refused(self, url: str, answer: aiohttp.ClientResponse) -> FeedUnavailable:
        wait_ms = self.budget.refused(answer.headers, now_ms=_monotonic_ms(), wall_ms=wall_clock_ms())
        metrics.REST_REFUSALS.labels(self._exchange).inc()
        return FeedUnavailable(f"reading {url}: the answer is {answer.status}; no call for {wait_ms} ms")

    def _take_time(self, date: str | None, sent_ms: float, received_ms: float) -> None:
        try:
            server_ms = email.utils.parsedate_to_datetime(date or "").timestamp() * 1_000
        except ValueError:
            return
        self.clock.answered(sent_ms=sent_ms, received_ms=received_ms, server_ms=server_ms, step_ms=SECOND_MS)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                trust_env=not self._own_origin,
            )
        return self._session


async def _read(answer: aiohttp.ClientResponse, url: str) -> bytes:
    body = bytearray()
    async for piece in answer.content.iter_chunked(PIECE_BYTES):
        body += piece
        if len(body) > ANSWER_BYTES_MAX:
            raise FeedUnavailable(f"reading {url}: the answer has more than {ANSWER_BYTES_MAX} bytes")
    return bytes(body)


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
