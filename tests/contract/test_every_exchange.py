"""What every exchange's module must do, found through the registry: a new one is tested by its line there and its
folder in tests/data/. events.jsonl: whole events; ignored.jsonl: gives nothing; refused.jsonl: raises, names the field.
"""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.budget import RateBudget
from producers.drift import FieldWatch
from producers.exchange import (
    FRAME_BYTES_MAX,
    FUNDING,
    LIQUIDATION,
    OPEN_INTEREST,
    ControlKind,
    ExchangeAdapter,
    shards,
)
from producers.exchanges import ADAPTERS
from producers.instruments import Instruments, shipped
from producers.marks import Marks
from schemas.codec import Codec, from_plain
from schemas.errors import FrameRefused, UnknownInstrument
from schemas.records import Liquidation
from schemas.topics import LIQUIDATIONS
from schemas.words import Side

DATA = Path(__file__).parent.parent / "data"
PRODUCERS = Path(__file__).parent.parent.parent / "producers"
RECEIVED_TIME_US = 1_791_400_000_000_000
TABLES = {name: Instruments(a.exchange, shipped(a.exchange), a.instrument_rule) for name, a in ADAPTERS.items()}


def samples(kind: str) -> list[Any]:
    return [
        pytest.param(name, case, id=f"{name}: {case['name']}")
        for name in ADAPTERS
        for case in map(json.loads, (DATA / name / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines())
    ]


def frame_of(case: dict[str, Any]) -> bytes:
    text: str = case["text"] if "text" in case else json.dumps(case["frame"], ensure_ascii=False)
    return text.encode()


def decode(name: str, frame: bytes) -> list[Liquidation]:
    return ADAPTERS[name].decoders[LIQUIDATION](frame, received_time_us=RECEIVED_TIME_US, instruments=TABLES[name])


@pytest.mark.parametrize(("name", "case"), samples("events"))
def test_sample_gives_whole_events(name: str, case: dict[str, Any]) -> None:
    assert decode(name, frame_of(case)) == [from_plain(Liquidation, event) for event in case["events"]]
    assert ADAPTERS[name].control(frame_of(case)) is None


@pytest.mark.parametrize(("name", "case"), samples("ignored"))
def test_control_frames_and_other_channels_give_nothing(name: str, case: dict[str, Any]) -> None:
    assert decode(name, frame_of(case)) == []


@pytest.mark.parametrize(("name", "case"), samples("refused"))
def test_refusal_names_exchange_and_field(name: str, case: dict[str, Any]) -> None:
    with pytest.raises(FrameRefused) as refused:
        decode(name, frame_of(case))
    assert name in str(refused.value)
    assert case["names"] in str(refused.value)
    assert len(refused.value.events) == case.get("understood", 0)


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
class TestAdapter:
    def test_samples_say_where_they_come_from_and_show_both_sides(self, adapter: ExchangeAdapter) -> None:
        folder = DATA / adapter.exchange.value
        source = json.loads((folder / "source.json").read_text())
        assert source["after"]
        assert source["as_of"]
        own = [case.values[1] for case in samples("events") if case.values[0] == adapter.exchange.value]
        sides = {event["side"] for case in own for event in case["events"]}
        assert sides == {Side.LONG, Side.SHORT}

    def test_frame_beyond_the_limit_is_refused(self, adapter: ExchangeAdapter) -> None:
        with pytest.raises(FrameRefused, match=str(FRAME_BYTES_MAX)):
            decode(adapter.exchange.value, b" " * (FRAME_BYTES_MAX + 1))

    def test_addresses_are_encrypted_and_can_be_replaced(self, adapter: ExchangeAdapter) -> None:
        for connection in adapter.connections:
            assert connection.url().startswith("wss://")
            assert connection.url("http://127.0.0.1:9/x") == "ws://127.0.0.1:9/x" + connection.path
            assert connection.url("https://proxy.example") == "wss://proxy.example" + connection.path
        for source in adapter.instrument_sources:
            assert source.url().startswith("https://")
            assert source.url("ws://127.0.0.1:9/x") == "http://127.0.0.1:9/x" + source.path

    def test_shipped_table_is_of_this_exchange_and_without_repetition(self, adapter: ExchangeAdapter) -> None:
        table = shipped(adapter.exchange)
        assert len({row.instrument for row in table}) == len(table) >= 20
        assert {row.exchange for row in table} == {adapter.exchange}
        for row in table:
            by_rule = adapter.instrument_rule(row.instrument)
            assert by_rule in (None, row)

    def test_unknown_instrument_is_not_guessed(self, adapter: ExchangeAdapter) -> None:
        with pytest.raises(UnknownInstrument, match="NO_SUCH"):
            TABLES[adapter.exchange.value]["NO_SUCH"]

    def test_subscriptions_hold_every_topic_once(self, adapter: ExchangeAdapter) -> None:
        for connection in adapter.connections:
            topics = connection.topics(shipped(adapter.exchange))
            assert len(set(topics)) == len(topics) > 0
            requests = connection.subscribe(topics)
            text = "".join(request.frame for request in requests)
            assert all(text.count(f'"{topic}"') == 1 for topic in topics)
            assert all(request.acks > 0 and json.loads(request.frame) for request in requests)

    def test_pulse_is_no_topic_of_its_own_and_its_request_is_answered(self, adapter: ExchangeAdapter) -> None:
        for connection in adapter.connections:
            assert connection.pulse is not None
            assert connection.pulse not in connection.topics(shipped(adapter.exchange))
            assert sum(request.acks for request in connection.subscribe([connection.pulse])) > 0
            assert connection.pulse_ms_max <= 60_000

    def test_calls_are_encrypted_and_within_the_budget(self, adapter: ExchangeAdapter) -> None:
        budget = RateBudget(adapter.budget)
        repeated = 0.0
        for poll in adapter.polls:
            assert poll.url().startswith("https://")
            assert poll.url("ws://127.0.0.1:9/x") == "http://127.0.0.1:9/x" + poll.path
            assert 0 < poll.weight <= budget.weight_max
            assert poll.settled or 10_000 <= poll.interval_ms <= 300_000
            if poll.per_instrument is None and not poll.settled:
                repeated += poll.weight * budget.window_ms / poll.interval_ms
        assert repeated <= budget.weight_max * 0.4, "calls by instrument and instruments need the rest"
        kinds = {kind for poll in adapter.polls for kind in poll.kinds} | set(adapter.market_kinds)
        assert {OPEN_INTEREST, FUNDING} <= kinds
        assert any(poll.settled for poll in adapter.polls)

    def test_market_decoders_refuse_what_is_no_answer(self, adapter: ExchangeAdapter) -> None:
        table = TABLES[adapter.exchange.value]
        for poll in adapter.polls:
            for body in (b"", b"\xff", b"<html>", b"nul", b"[" * 3_000):
                with pytest.raises(FrameRefused, match=adapter.exchange.value):
                    poll.decode(body, received_time_us=RECEIVED_TIME_US, instruments=table, marks=Marks())

    def test_known_fields_cover_the_samples(self, adapter: ExchangeAdapter) -> None:
        for case in samples("events"):
            name, sample = case.values
            if name == adapter.exchange.value:
                watch = FieldWatch(adapter.known_fields[LIQUIDATION])
                assert watch.look(frame_of(sample), 0) == []

    def test_liquidation_is_no_control_frame_and_garbage_neither(self, adapter: ExchangeAdapter) -> None:
        for garbage in (b"", b"\xff", b"[]", b"{}", b'"x"', b"nul"):
            assert adapter.control(garbage) is None

    def test_refused_subscription_is_recognised(self, adapter: ExchangeAdapter) -> None:
        kinds = []
        for case in samples("ignored"):
            control = adapter.control(frame_of(case.values[1])) if case.values[0] == adapter.exchange.value else None
            kinds += [control.kind] if control else []
            assert control is None or control.kind is not ControlKind.REFUSED or control.detail
        assert {ControlKind.ACK, ControlKind.REFUSED} <= set(kinds)


def test_generic_code_names_no_exchange() -> None:
    generic = [path for path in PRODUCERS.glob("*.py") if path.name != "__init__.py"]
    assert len(generic) > 5
    named = [
        (path.name, name)
        for path in generic
        for name in ADAPTERS
        if re.search(rf"\b{name}\b", path.read_text().lower())
    ]
    assert named == []


@pytest.mark.parametrize("characters_max", [None, 1, 7, 10, 1_000])
@pytest.mark.parametrize("topics_max", [None, 1, 3])
def test_shards_hold_every_topic_in_order(characters_max: int | None, topics_max: int | None) -> None:
    topics = [f"t{number}" * (number % 3 + 1) for number in range(20)]
    split = shards(topics, characters_max, topics_max)
    assert all(len(shard) <= (topics_max or 20) for shard in split)
    for shard in shards(topics, characters_max, topics_max, taken=["pulse"]):
        assert len(shard) == 1 or sum(map(len, ["pulse", *shard])) <= (characters_max or 10_000)
        assert len(shard) == 1 or len(shard) + 1 <= (topics_max or 21)
    assert [topic for shard in split for topic in shard] == topics
    assert all(len(shard) == 1 or sum(map(len, shard)) <= (characters_max or 10_000) for shard in split)


WHOLE = [(case.values[0], frame_of(case.values[1])) for case in samples("events") + samples("refused")]
CODEC = Codec()


@settings(max_examples=400, deadline=None)
@given(whole=st.sampled_from(WHOLE), data=st.data())
def test_damaged_frame_gives_events_nothing_or_a_refusal(whole: tuple[str, bytes], data: st.DataObject) -> None:
    name, frame = whole
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(frame)))
        end = data.draw(st.integers(start, min(len(frame), start + 12)))
        frame = frame[:start] + data.draw(st.binary(max_size=6)) + frame[end:]
    understood(name, frame)
    ADAPTERS[name].control(frame)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=6), children, max_size=3),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(whole=st.sampled_from([case.values for case in samples("events")]), value=JSON, data=st.data())
def test_any_value_in_any_field_gives_events_nothing_or_a_refusal(
    whole: tuple[str, dict[str, Any]], value: Any, data: st.DataObject
) -> None:
    name, case = whole
    frame = json.loads(json.dumps(case["frame"]))
    place = frame
    while True:
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
        if not place[key] or not isinstance(place[key], dict | list) or data.draw(st.integers(0, 4)) == 0:
            place[key] = value
            break
        place = place[key]
    understood(name, json.dumps(frame).encode())


def understood(name: str, frame: bytes) -> None:
    """What the decoder lets through must be fit for the topic."""
    try:
        events: Any = decode(name, frame)
    except FrameRefused as exc:
        events = exc.events
        str(exc).encode()
    ids = [event.event_id for event in events]
    assert len(set(ids)) == len(ids)
    for event in events:
        assert event.side in (Side.LONG, Side.SHORT)
        assert event.price > 0
        assert event.quantity > 0
        assert event.notional_usd >= 0
        assert event.asset.encode()
        assert CODEC.decode(Liquidation, CODEC.encode(LIQUIDATIONS, event)) == event
        assert msgspec.json.decode(msgspec.json.encode(event), type=Liquidation) == event
