"""Sides that are right and sides that have changed places, through every price path of the simulator, as the producers
would see them: its marks at their own intervals, its frames, its pulses. No socket, no clock."""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.evidence import SideEvidence
from producers.exchange import LIQUIDATION, ExchangeAdapter, Poll
from producers.exchanges import ADAPTERS
from producers.instruments import Instruments
from producers.marks import Marks
from stack.simulator.exchange import Client, SimulatedExchange
from stack.simulator.scenarios import liquidations
from tests.stack.test_simulator_witness import MAKERS, NOW_MS, clients, listed

STEP_MS: Final = 20
SPEED_MAX: Final = 4.0  # of the fault run
LENGTH_MS: Final = 45_000  # a whole cycle of a soak at that speed, and the next cascade
EVENTS_UNTIL_TOLD_MAX: Final = 500  # for the exchange that shows one order a side, contract and second; others: 100


class Listener:
    """What one exchange's producer learns in simulated time."""

    def __init__(self, name: str, *, phase_ms: int) -> None:
        self.exchange: SimulatedExchange = MAKERS[name]()
        self.adapter: ExchangeAdapter = ADAPTERS[name]
        self.known: Instruments = listed(self.adapter, self.exchange)
        self.clients: list[Client] = clients(self.adapter, self.exchange, self.known)
        self.marks = Marks()
        self.evidence = SideEvidence(self.adapter, self.marks)
        self._polls: list[Poll] = [p for p in self.adapter.polls if not p.settled and p.per_instrument is None]
        self._due_ms = [NOW_MS + phase_ms % poll.interval_ms for poll in self._polls]

    def step(self, now_ms: int, spoil: Callable[[str], str]) -> int:
        """Everything that is due at this moment; how many liquidations came."""
        for number, poll in enumerate(self._polls):
            if now_ms < self._due_ms[number]:
                continue
            self._due_ms[number] += poll.interval_ms
            query = {key: str(value) for key, value in {**poll.params, **json.loads(poll.body or "{}")}.items()}
            body = json.dumps(self.exchange.rest(poll.path, query, now_ms).body).encode()
            poll.decode(body, received_time_us=now_ms * 1_000, instruments=self.known, marks=self.marks)
        channels = {channel for client in self.clients for channel in client.channels}
        for push in self.exchange.market_due(now_ms, channels):
            self._look_at_market(
                [text for client in self.clients for text in self.exchange.texts(push, client)], now_ms
            )
        events = 0
        for push in self.exchange.due(now_ms):
            text = next(text for client in self.clients for text in self.exchange.texts(push, client))
            events += self._take(spoil(text).encode(), now_ms)
        return events

    def _look_at_market(self, texts: list[str], now_ms: int) -> None:
        decode = self.adapter.market_decoder
        assert decode is not None
        for text in texts:
            decode(text.encode(), received_time_us=now_ms * 1_000, instruments=self.known, marks=self.marks)

    def _take(self, frame: bytes, now_ms: int) -> int:
        decode = self.adapter.decoders[LIQUIDATION]
        events = decode(frame, received_time_us=now_ms * 1_000, instruments=self.known)
        self.evidence.look(frame)
        for event in events:
            self.evidence.add(event)
        return len(events)


def told(name: str, *, scenario: str, seed: int, speed: float, swapped: bool) -> Iterator[tuple[int, str | None]]:
    """Liquidations so far and what the evidence says then, step by step."""
    listener = Listener(name, phase_ms=Random(seed).randrange(30_000))
    spoil = listener.exchange.swapped if swapped else str
    now_ms = events = 0
    for liquidation in liquidations(scenario, seed=seed):
        at_ms = int(liquidation.at_ms / speed)
        if at_ms > LENGTH_MS:
            return
        if liquidation.exchange != name:
            continue
        while now_ms + STEP_MS <= at_ms:
            now_ms += STEP_MS
            events += listener.step(NOW_MS + now_ms, spoil)
            yield events, listener.evidence.contradiction
        listener.exchange.take_in(liquidation, NOW_MS + at_ms)


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=3, deadline=None, derandomize=True)
@given(
    scenario=st.sampled_from(("soak", "cascade", "flash")),
    seed=st.integers(0, 2**32),
    speed=st.floats(1.0, SPEED_MAX),
)
def test_right_sides_are_never_contradicted(name: str, scenario: str, seed: int, speed: float) -> None:
    for events, sentence in told(name, scenario=scenario, seed=seed, speed=speed, swapped=False):
        assert sentence is None, f"after {events}"


@pytest.mark.parametrize("name", MAKERS)
def test_swapped_sides_are_told_in_the_first_cascade_at_the_latest(name: str) -> None:
    steps = told(name, scenario="soak", seed=7, speed=SPEED_MAX, swapped=True)
    events = next((events for events, sentence in steps if sentence is not None), None)
    assert events is not None
    assert events <= EVENTS_UNTIL_TOLD_MAX
