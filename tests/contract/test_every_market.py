"""Open interest and funding of every exchange, found through the registry. Samples in tests/data/<exchange>/:
market.jsonl: bodies -> whole events of both kinds, with the marks and intervals known before and learned by them;
market_refused.jsonl: raises, names the field; legacy.jsonl: formats of old, which only their own decoders understand.
"""

import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.exchange import FUNDING, LIQUIDATION, OPEN_INTEREST, MarketEvent
from producers.exchanges import ADAPTERS
from producers.instruments import Instruments, shipped
from producers.marks import Marks
from schemas.codec import Codec, from_plain
from schemas.errors import FrameRefused
from schemas.records import Funding, Liquidation, OpenInterest
from schemas.topics import FUNDING as FUNDING_TOPIC
from schemas.topics import OPEN_INTEREST as OPEN_INTEREST_TOPIC

DATA = Path(__file__).parent.parent / "data"
RECEIVED_TIME_US = 1_791_400_000_000_000
TABLES = {name: Instruments(a.exchange, shipped(a.exchange), a.instrument_rule) for name, a in ADAPTERS.items()}


def samples(kind: str) -> list[Any]:
    files = {name: DATA / name / f"{kind}.jsonl" for name in ADAPTERS}
    return [
        pytest.param(name, case, id=f"{name}: {case['name']}")
        for name, file in files.items()
        if file.is_file()
        for case in map(json.loads, file.read_text(encoding="utf-8").splitlines())
    ]


def body_of(case: dict[str, Any]) -> bytes:
    text: str = case["text"] if "text" in case else json.dumps(case["frame"], ensure_ascii=False)
    return text.encode()


def known(case: dict[str, Any]) -> Marks:
    marks = Marks()
    for instrument, price in case.get("marks", {}).items():
        marks.set(instrument, Decimal(price), 0)
    marks.interval_hours.update(case.get("intervals", {}))
    return marks


def decode(name: str, body: bytes, marks: Marks) -> list[MarketEvent]:
    decoder = ADAPTERS[name].market_decoder
    assert decoder is not None
    return decoder(body, received_time_us=RECEIVED_TIME_US, instruments=TABLES[name], marks=marks)


def expected(case: dict[str, Any]) -> list[Any]:
    def record(event: dict[str, Any]) -> type[Any]:
        return Liquidation if "side" in event else Funding if "rate" in event else OpenInterest

    return [from_plain(record(event), event) for event in case["events"]]


@pytest.mark.parametrize(("name", "case"), samples("market"))
def test_sample_gives_whole_events(name: str, case: dict[str, Any]) -> None:
    marks = known(case)
    assert decode(name, body_of(case), marks) == expected(case)
    assert {of: marks.get(of) for of in case.get("learned", {})} == {
        of: Decimal(price) for of, price in case.get("learned", {}).items()
    }
    assert marks.interval_hours.items() >= case.get("learned_intervals", {}).items()


@pytest.mark.parametrize(("name", "case"), samples("market_refused"))
def test_refusal_names_exchange_and_field(name: str, case: dict[str, Any]) -> None:
    with pytest.raises(FrameRefused) as refused:
        decode(name, body_of(case), known(case))
    assert name in str(refused.value)
    assert case["names"] in str(refused.value)
    assert len(refused.value.events) == case.get("understood", 0)


def decode_legacy(name: str, kind: str, body: bytes, marks: Marks) -> list[Any]:
    (legacy,) = (each for each in ADAPTERS[name].legacy if each.kind == kind)
    learned = {} if kind == LIQUIDATION else {"marks": marks}
    decoder: Any = legacy.decode
    events: list[Any] = decoder(body, received_time_us=RECEIVED_TIME_US, instruments=TABLES[name], **learned)
    return events


@pytest.mark.parametrize(("name", "case"), samples("legacy"))
def test_format_of_old_is_understood_by_its_own_decoder_alone(name: str, case: dict[str, Any]) -> None:
    marks = known(case)
    assert decode_legacy(name, case["kind"], body_of(case), marks) == expected(case)
    assert all(marks.get(of) == Decimal(price) for of, price in case.get("learned", {}).items())
    assert of_today(name, case["kind"], body_of(case)) == []


def of_today(name: str, kind: str, body: bytes) -> list[Any]:
    """What today's decoder makes of it, refused or not."""
    try:
        if kind != LIQUIDATION:
            return [*decode(name, body, Marks())]
        decoder = ADAPTERS[name].decoders[LIQUIDATION]
        return [*decoder(body, received_time_us=RECEIVED_TIME_US, instruments=TABLES[name])]
    except FrameRefused as exc:
        return [*exc.events]


@pytest.mark.parametrize(("name", "case"), samples("events"))
def test_formats_of_today_are_understood_in_the_time_of_old_ones(name: str, case: dict[str, Any]) -> None:
    for kind in {each.kind for each in ADAPTERS[name].legacy}:
        events = decode_legacy(name, kind, body_of(case), Marks())
        assert events == (expected(case) if kind == LIQUIDATION else [])


@pytest.mark.parametrize("name", sorted({case.values[0] for case in samples("market")}))
def test_samples_show_both_kinds_and_rates_of_both_signs(name: str) -> None:
    events = [event for case in samples("market") if case.values[0] == name for event in expected(case.values[1])]
    rates = [event.rate for event in events if isinstance(event, Funding)]
    assert min(rates) < 0 < max(rates)
    assert any(isinstance(event, OpenInterest) for event in events)
    assert {event.settled for event in events if isinstance(event, Funding)} == {True, False}


def names(parsed: Any) -> Iterable[str]:
    if isinstance(parsed, dict):
        yield from parsed
    for value in parsed.values() if isinstance(parsed, dict) else parsed if isinstance(parsed, list) else ():
        yield from names(value)


@pytest.mark.parametrize(("name", "case"), samples("market") + samples("events"))
def test_fields_of_samples_are_known(name: str, case: dict[str, Any]) -> None:
    fields = ADAPTERS[name].known_fields
    kinds = (OPEN_INTEREST, FUNDING) if case in [each.values[1] for each in samples("market")] else (LIQUIDATION,)
    for kind in kinds:
        if case["events"] and kind in fields:
            assert set(names(case.get("frame"))) <= fields[kind]


WHOLE = [(case.values[0], case.values[1]) for case in samples("market") + samples("market_refused")]
CODEC = Codec()


@settings(max_examples=400, deadline=None)
@given(whole=st.sampled_from(WHOLE), data=st.data())
def test_damaged_body_gives_events_nothing_or_a_refusal(whole: tuple[str, dict[str, Any]], data: st.DataObject) -> None:
    name, case = whole
    body = body_of(case)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(len(body), start + 12)))
        body = body[:start] + data.draw(st.binary(max_size=6)) + body[end:]
    understood(name, body, known(case))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=6), children, max_size=3),
    max_leaves=6,
)
TEXTS = st.sampled_from(["", "0", "-1", "1e18", "1e-18", "1e400", "NaN", "9" * 40, "1791400000123", "１", "BTC:USDT"])


@settings(max_examples=400, deadline=None)
@given(whole=st.sampled_from([each for each in WHOLE if "frame" in each[1]]), value=JSON | TEXTS, data=st.data())
def test_any_value_in_any_field_gives_events_nothing_or_a_refusal(
    whole: tuple[str, dict[str, Any]], value: Any, data: st.DataObject
) -> None:
    name, case = whole
    frame = json.loads(json.dumps(case["frame"]))
    place = frame
    while place:
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
        if not place[key] or not isinstance(place[key], dict | list) or data.draw(st.integers(0, 4)) == 0:
            place[key] = value
            break
        place = place[key]
    understood(name, json.dumps(frame).encode(), known(case))


def understood(name: str, body: bytes, marks: Marks) -> None:
    """What the decoder lets through must be fit for the topics."""
    try:
        events: Any = decode(name, body, marks)
    except FrameRefused as exc:
        events = exc.events
        str(exc).encode()
    for event in events:
        assert event.asset.encode()
        assert ":" not in event.instrument
        if isinstance(event, Funding):
            assert abs(event.rate) <= 1
            assert 0 < event.interval_hours <= 24
            assert CODEC.decode(Funding, CODEC.encode(FUNDING_TOPIC, event)) == event
        else:
            assert event.open_interest is not None or event.open_interest_usd is not None
            assert 0 <= (event.open_interest or 0.0) < float("inf")
            assert 0 <= (event.open_interest_usd or 0.0) <= 1e12
            assert CODEC.decode(OpenInterest, CODEC.encode(OPEN_INTEREST_TOPIC, event)) == event
