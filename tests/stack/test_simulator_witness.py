"""The simulator and the producers were written apart from the same documents: what they say of a frame must agree."""

import json
import math
import os
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pytest

from producers.exchange import LIQUIDATION, ExchangeAdapter
from producers.exchanges import ADAPTERS
from producers.instruments import Instrument, Instruments
from producers.marks import Marks
from schemas.records import Funding, Liquidation, OpenInterest
from stack.simulator import frames
from stack.simulator.binance import Binance
from stack.simulator.bitget import Bitget
from stack.simulator.bybit import Bybit
from stack.simulator.exchange import Client, Push, Row, SimulatedExchange
from stack.simulator.gate import Gate
from stack.simulator.hyperliquid import Hyperliquid
from stack.simulator.okx import Okx
from stack.simulator.scenarios import liquidations

REAL_FRAMES: Final = Path(os.environ.get("LIQCASCADE_REAL_DATA", "../shared/data")) / "frames"
NOW_MS: Final = 1_791_565_600_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
MAKERS: Final[dict[str, Callable[[], SimulatedExchange]]] = {
    "binance": Binance, "bybit": Bybit, "okx": Okx, "gate": Gate, "bitget": Bitget, "hyperliquid": Hyperliquid,
}  # fmt: skip


def listed(adapter: ExchangeAdapter, exchange: SimulatedExchange) -> Instruments:
    """What the producer knows after it has asked the simulator's REST addresses, page by page."""
    known: list[Instrument] = []
    for source in adapter.instrument_sources:
        cursor: str | None = ""
        while cursor is not None:
            query = {**source.params, **_body(source.body), **({source.cursor_param: cursor} if cursor else {})}
            answer = exchange.rest(source.path, query, NOW_MS)
            assert answer.status == 200
            page = source.decode(json.dumps(answer.body).encode())
            known, cursor = known + list(page.instruments), page.cursor
    return Instruments(adapter.exchange, known, adapter.instrument_rule)


def _body(body: str | None) -> dict[str, str]:
    fields = json.loads(body) if body else {}
    return {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in fields.items()}


def clients(adapter: ExchangeAdapter, exchange: SimulatedExchange, known: Instruments) -> list[Client]:
    """One for each address of the producer, with what the producer's own requests subscribe to."""
    there = []
    for connection in adapter.connections:
        client = Client(connection.path, headers=connection.headers)
        client.channels |= exchange.channels_in_address(connection.path, {})
        pulse = [connection.pulse] if connection.pulse else []
        for request in connection.subscribe([*connection.topics(known.values()), *pulse]):
            reply = exchange.answer(request.frame, client)
            assert len(reply.texts) == request.acks, reply.texts
            assert all(adapter.control(text.encode()) for text in reply.texts)
            client.channels |= reply.subscribe
        there.append(client)
    return there


def assert_agree(event: Liquidation, row: Row) -> None:
    said = (event.exchange, event.instrument, event.asset, event.side, event.event_time_ms)
    assert said == (row.exchange, row.instrument, row.asset, row.side, row.event_time_ms)
    assert round(event.notional_usd * 1e6) == row.notional_micro_usd
    assert math.isclose(event.price, row.price, rel_tol=1e-12)
    assert math.isclose(event.quantity, row.quantity, rel_tol=1e-12)


def assert_pushes_agree(exchange: SimulatedExchange, pushes: list[Push]) -> int:
    adapter = ADAPTERS[exchange.name]
    known = listed(adapter, exchange)
    there = clients(adapter, exchange, known)
    identifiers: set[str] = set()
    for push in pushes:
        texts = [text.encode() for client in there for text in exchange.texts(push, client)]
        assert texts, "every frame goes to the producer"
        decode = partial(adapter.decoders[LIQUIDATION], received_time_us=NOW_MS * 1000, instruments=known)
        events = decode(texts[0])
        assert len(events) == len(push.rows)
        for event, row in zip(events, push.rows, strict=True):
            assert_agree(event, row)
        told = {event.event_id for event in events}
        assert told >= {event.event_id for text in texts[1:] for event in decode(text)}, "the same, told by others"
        identifiers |= told
    assert len(identifiers) == sum(len(push.rows) for push in pushes), "each row is an event of its own"
    return len(identifiers)


@pytest.mark.parametrize("name", MAKERS)
def test_both_read_every_frame_of_a_cascade_alike(name: str) -> None:
    exchange, pushes = MAKERS[name](), []
    for liquidation in liquidations("cascade", seed=7):
        if liquidation.exchange == name:
            pushes += exchange.due(NOW_MS + liquidation.at_ms)
            exchange.collect(liquidation, NOW_MS + liquidation.at_ms)
    pushes += exchange.due(NOW_MS + 62_000)
    assert assert_pushes_agree(exchange, pushes) > 250


@pytest.mark.parametrize("name", MAKERS)
def test_a_frame_with_swapped_words_has_the_other_side_in_every_row_for_both(name: str) -> None:
    exchange, adapter, rows = MAKERS[name](), ADAPTERS[name], 0
    known = listed(adapter, exchange)
    there = clients(adapter, exchange, known)
    for liquidation in islice((each for each in liquidations("flash", seed=7) if each.exchange == name), 60):
        exchange.collect(liquidation, NOW_MS + liquidation.at_ms)
    for push in [*exchange.due(NOW_MS + 1_000), *exchange.due(NOW_MS + 20_000)]:
        for text in (text for client in there for text in exchange.texts(push, client)):
            turned = exchange.swapped(text).encode()
            events = adapter.decoders[LIQUIDATION](turned, received_time_us=NOW_MS * 1000, instruments=known)
            rows += len(events)
            for event in events:
                assert any((event.side, event.price) == (row.turned().side, row.price) for row in push.rows)
    assert rows > 10


@pytest.mark.parametrize(("name", "rows"), {"binance": 11, "bybit": 6, "okx": 5, "gate": 4, "bitget": 1}.items())
def test_both_read_captured_frames_alike(name: str, rows: int) -> None:
    if not REAL_FRAMES.is_dir():
        pytest.skip(f"no captured frames at {REAL_FRAMES}; set LIQCASCADE_REAL_DATA to the folder that holds them")
    exchange = MAKERS[name]()
    assert assert_pushes_agree(exchange, frames.load(REAL_FRAMES, [exchange])[name]) == rows


def market_events(
    adapter: ExchangeAdapter, exchange: SimulatedExchange, known: Instruments
) -> list[OpenInterest | Funding]:
    """What the producer makes of every call that it repeats, and of its second topics."""
    marks, events = Marks(), []
    decode_args: dict[str, Any] = {"received_time_us": NOW_MS * 1000, "instruments": known, "marks": marks}
    for poll in adapter.polls:
        span = poll.window_params(NOW_MS - DAY_MS, NOW_MS) if poll.window_params else {}
        wanted = [row.instrument for row in known.values() if poll.wants(row)] if poll.per_instrument else [""]
        for instrument in wanted[:3]:
            query = {name: str(value) for name, value in {**poll.params, **span, **_body(poll.body)}.items()}
            query |= {poll.per_instrument: instrument} if poll.per_instrument else {}
            answer = exchange.rest(poll.path, query, NOW_MS)
            assert answer.status == 200, (poll.path, query)
            got = poll.decode(json.dumps(answer.body).encode(), **decode_args)
            assert got or not poll.kinds, (poll.path, query)
            events += got
    assert adapter.market_decoder is not None
    for client in clients(adapter, exchange, known):
        for push in exchange.market_due(NOW_MS, client.channels):
            for text in exchange.texts(push, client):
                events += adapter.market_decoder(text.encode(), **decode_args)
                nothing = adapter.decoders[LIQUIDATION](
                    text.encode(), received_time_us=NOW_MS * 1000, instruments=known
                )
                assert nothing == []
    return events


@pytest.mark.parametrize("name", MAKERS)
def test_both_read_open_interest_and_funding_alike(name: str) -> None:
    exchange, adapter = MAKERS[name](), ADAPTERS[name]
    for liquidation in liquidations("flash", seed=7):
        if liquidation.exchange == name:
            exchange.take_in(liquidation, NOW_MS)
    known = listed(adapter, exchange)
    market, seen = exchange.market, set()
    for event in market_events(adapter, exchange, known):
        instrument = exchange.instruments[event.instrument]
        if isinstance(event, OpenInterest):
            seen.add("open interest")
            assert event.open_interest == pytest.approx(market.open_coins(instrument), rel=2e-3)
            assert event.open_interest_usd == pytest.approx(market.open_usd(instrument), rel=2e-3)
        else:
            seen.add("settled" if event.settled else "predicted")
            assert not instrument.dated
            assert event.interval_hours == market.interval_hours(instrument)
            if event.settled:
                hour_ms = round(event.event_time_ms / HOUR_MS) * HOUR_MS
                (rate,) = (each.rate for each in market.settled(instrument, hour_ms, hour_ms))
            else:
                rate = market.next_funding(instrument, NOW_MS).rate
            assert event.rate == pytest.approx(float(rate))
    assert seen == {"open interest", "settled", "predicted"}
