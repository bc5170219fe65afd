"""Cascades on several assets with all that goes wrong in a feed, appended at their pace; what is known beside; and
settings that change on the way."""

import threading
import time
from random import Random
from typing import Any, Final

from confluent_kafka import Producer

from processors.in_force import encode
from runtime.kafka import producer_config, topic_names
from runtime.settings import KafkaSettings
from schemas.codec import Codec
from schemas.records import FeedHealth, Funding, Liquidation, OpenInterest, Record
from schemas.topics import FEED_HEALTH, FUNDING, LIQUIDATIONS, OPEN_INTEREST, SETTINGS, Topic
from schemas.words import Completeness, Exchange, FeedState, Market, PriceKind, Side

ASSETS: Final = ("BTC", "ETH", "SOL", "DOGE", "XRP", "PEPE", "牛")
EXCHANGES: Final = tuple(Exchange)[1:]
STEP_S: Final = 0.05
CYCLE_S: Final = 30.0  # a cascade of 15 s, then calm
PEAK_PER_S: Final = 120.0
APART_S: Final = 1.5  # from one asset's cascade to the next one's
CONTEXT_EVERY_STEPS: Final = 10
SETTINGS_EVERY_STEPS: Final = 100
SETTINGS_TREES: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"mute": True},
    {"hold_ms": 3_000, "levels": {"watch_events_per_s": 3}},
    {"profile": "either", "rules": [{"name": "few", "level": "WATCH", "expression": "events >= 3"}]},
    {"profile": "relative", "relative": {"hours_min": 1}},
    {"levels": {"watch_events_per_s": -1}},  # is refused
)
LAGS_MS: Final = (5, 20, 100, 300, 1_000, 1_000, 3_300, 6_000, 40_000)
KEPT_MAX: Final = 200  # of which one may come again
FLUSH_S_MAX: Final = 60.0


class Load(threading.Thread):
    """Appends until `end()`; `hold(seconds)` keeps context back for so long. `sent`: liquidations, junk included."""

    def __init__(self, kafka: KafkaSettings, seed: int) -> None:
        super().__init__(name="load")
        self._names, self._codec, self._dice = topic_names(kafka), Codec(), Random(seed)
        self._producer = Producer(producer_config(kafka, linger_ms=0))
        self._ending = threading.Event()
        self._began_s = time.monotonic()
        self._hold_until_s = 0.0
        self._held: list[tuple[Topic, str, Record]] = []
        self._recent: list[Liquidation] = []
        self.sent = 0

    def hold(self, seconds: float) -> None:
        """Keep context back."""
        self._hold_until_s = time.monotonic() + seconds

    def end(self) -> None:
        """Stop, and wait until the broker has all."""
        self._ending.set()
        self.join()
        assert self._producer.flush(FLUSH_S_MAX) == 0, "the broker has not taken all"

    def run(self) -> None:
        """Append at the pace of the clock."""
        step = 0
        while not self._ending.wait(STEP_S):
            step += 1
            for number, asset in enumerate(ASSETS):
                for _ in range(self._count(number)):
                    self._append_liquidation(asset)
            if step % CONTEXT_EVERY_STEPS == 0:
                self._held += [self._context(self._dice.choice(ASSETS)) for _ in range(4)]
            if step % SETTINGS_EVERY_STEPS == 0:
                tree = self._dice.choice(SETTINGS_TREES)
                self._produce(SETTINGS, self._dice.choice(ASSETS), encode("command", tree))
            if time.monotonic() >= self._hold_until_s:
                for topic, key, record in self._held:
                    self._produce(topic, key, self._codec.encode(topic, record))
                self._held.clear()
            self._producer.poll(0)

    def _count(self, number: int) -> int:
        phase = (time.monotonic() - self._began_s - number * APART_S) % CYCLE_S / CYCLE_S
        rate_per_s = 0.5 + max(0.0, PEAK_PER_S * (1 - abs(phase - 0.5) * 4))
        expected = rate_per_s * STEP_S
        return int(expected) + (self._dice.random() < expected % 1)

    def _append_liquidation(self, asset: str) -> None:
        self.sent += 1
        dice = self._dice.random()
        if dice < 0.003:
            self._produce(LIQUIDATIONS, asset, b"junk")
            return
        event = self._dice.choice(self._recent) if dice < 0.03 and self._recent else self._liquidation(asset)
        self._recent = [*self._recent[-KEPT_MAX:], event]
        self._produce(LIQUIDATIONS, event.asset, self._codec.encode(LIQUIDATIONS, event))

    def _liquidation(self, asset: str) -> Liquidation:
        dice, now_ms = self._dice, time.time_ns() // 1_000_000
        notional_usd = round(dice.lognormvariate(10, 2), 2)
        return Liquidation(
            event_id=f"{asset}/{self.sent}",
            exchange=dice.choice(EXCHANGES),
            asset=asset,
            instrument=f"{asset}USDT",
            market=Market.USDT,
            side=dice.choices((Side.LONG, Side.SHORT, Side.UNKNOWN), (80, 20, 0.2))[0],
            price=100.0,
            quantity=notional_usd / 100,
            notional_usd=notional_usd,
            price_kind=PriceKind.AVERAGE,
            completeness=Completeness.ALL,
            event_time_ms=now_ms - dice.choice(LAGS_MS),
            received_time_us=now_ms * 1_000,
            backlog=dice.random() < 0.01,
        )

    def _context(self, asset: str) -> tuple[Topic, str, Record]:
        dice, now_ms = self._dice, time.time_ns() // 1_000_000
        contract: dict[str, Any] = {
            "event_id": "",
            "exchange": dice.choice(EXCHANGES),
            "asset": asset,
            "instrument": f"{asset}USDT",
            "market": Market.USDT,
            "event_time_ms": now_ms,
            "received_time_us": now_ms * 1_000,
        }
        kind = dice.random()
        if kind < 0.5:
            coins = 1_000 * dice.uniform(0.95, 1)
            return OPEN_INTEREST, asset, OpenInterest(**contract, open_interest=coins, open_interest_usd=coins * 100)
        if kind < 0.8:
            rate = dice.uniform(-0.001, 0.001)
            return FUNDING, asset, Funding(**contract, rate=rate, rate_8h=rate, interval_hours=8.0, settled=False)
        health = FeedHealth(
            exchange=contract["exchange"],
            channel="liquidation",
            state=dice.choice((FeedState.LIVE, FeedState.LIVE, FeedState.SILENT, FeedState.DOWN)),
            since_ms=now_ms,
            event_time_ms=now_ms,
        )
        return FEED_HEALTH, f"{health.exchange}/liquidation", health

    def _produce(self, topic: Topic, key: str, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(self._names.of(topic), value, key)
                return
            except BufferError:
                self._producer.poll(STEP_S)
