"""Outputs are written as the codec writes their records, and rounded as whole numbers are."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.metrics import metric
from processors.outputs.avro import ratio
from processors.outputs.output import Outputs
from processors.outputs.words import ALERTS, STATES
from processors.windows.layout import LAST
from processors.windows.run import LogRun, Record
from processors.windows.seen import id_of
from processors.windows.state import Out
from schemas.topics import LIQUIDATIONS, STATE
from tests.processors.logs import CODEC, START_MS, at, cascade_log, fold_all, liquidation, new_detector, random_log

CASCADE = [at(i, i * 40, liquidation(i * 40, notional_usd=2e6, name=i)) for i in range(400)]


def test_every_output_is_what_the_codec_writes() -> None:
    log = [*random_log(11, 400), *cascade_log(11)]
    outputs = fold_all(new_detector(), random_log(11, 400)) + fold_all(new_detector(), cascade_log(11))
    assert len(outputs) > len(log) / 10
    for one in outputs:
        assert one.value == CODEC.encode(one.topic, one.record), one.record
        fields = [one.record.__struct_fields__[0]]
        assert one.topic is STATE or one.id == getattr(one.record, fields[0])


def test_outputs_by_topic_are_the_outputs_in_their_order() -> None:
    log = LogRun.of(
        Record(one.offset, one.append_time_ms, CODEC.encode(LIQUIDATIONS, one.liquidation)) for one in CASCADE
    )
    detector = new_detector()
    outputs, refused = detector.fold_log(log)
    assert not refused
    assert list(outputs) == new_detector().fold(CASCADE)
    assert len(outputs) == len(list(outputs))
    topics = [topic for topic, _ in outputs.by_topic()]
    assert len(topics) == len(set(topics)) > 2
    for topic, messages in outputs.by_topic():
        assert messages == [{"key": one.key, "value": one.value} for one in outputs if one.topic is topic]
    ids = {one.id for one in outputs if one.id}
    kept = {id_ for number, id_ in enumerate(sorted(ids)) if number % 3}
    left = dict(outputs.by_topic(lambda id_: id_ in ids - kept))
    for topic, messages in left.items():
        of_topic = [one for one in outputs if one.topic is topic and one.id not in ids - kept]
        assert messages == [{"key": one.key, "value": one.value} for one in of_topic]


def test_newest_output_is_found_over_several_takings() -> None:
    outputs = Outputs(["BTC", "ETH", "none"])
    for text in (b"one", b"two"):
        data = np.frombuffer(text + b"three" + bytes(80), np.uint8).copy()
        places = np.array([[STATES, 0, len(text)], [ALERTS, 1, len(text) + 5]])
        outputs.take(Out(data, places, np.array([2, len(text) + 5])))
    assert [one.value for one in outputs] == [b"one", b"three", b"two", b"three"]
    assert outputs.newest(0, (STATES,)).value == b"two"
    assert outputs.newest(1, (STATES, ALERTS)).key == "ETH"


def test_a_run_is_a_sequence_of_records() -> None:
    run = LogRun([4, 5, 9], [10, 11, 12], [b"a", None, b"c"])
    assert list(run) == [Record(4, 10, b"a"), Record(5, 11, None), Record(9, 12, b"c")]
    assert [one.offset for one in run[1:]] == [5, 9]
    assert run[-1] == Record(9, 12, b"c")
    run.extend(LogRun.of([Record(10, 13, b"d")]))
    assert (len(run), run[3].value) == (4, b"d")


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**53), 2**53), st.one_of(st.integers(1, 10**13), st.integers(1, 2**60)))
def test_ratio_is_that_of_whole_numbers(numerator: int, denominator: int) -> None:
    if abs(Fraction(numerator, denominator)) < 10**9:
        assert ratio(numerator, denominator) == metric.ratio(numerator, denominator)


@given(st.sampled_from((300, 2_000, 90_000)), st.integers(0, 10**6))
def test_halves_go_to_the_even_neighbour(size: int, half: int) -> None:
    assert ratio(2 * half + 1, 2_000_000) == metric.ratio(2 * half + 1, 2_000_000)
    assert ratio(half * 1_000, size) == metric.ratio(half * 1_000, size)


def test_last_events_are_packed_and_the_newest_thousand() -> None:
    detector = new_detector()
    detector.fold([at(i, i, liquidation(i, notional_usd=i + 0.5, name=i)) for i in range(1_500)])
    last = detector.last_events("BTC")
    assert (last.dtype, last.itemsize, len(last)) == (LAST, 18, 1_000)
    assert last["event_time_ms"].tolist() == [START_MS + i for i in range(500, 1_500)]
    assert last["notional_usd"].tolist() == [i + 0.5 for i in range(500, 1_500)]
    assert len(detector.last_events("ETH")) == 0


def test_hash_is_murmur_hash_64a() -> None:
    #  against the same in plain whole numbers
    for text in ("", "a", "12345678", "binance:BTCUSDT:1760000000000:0", "x" * 63):
        data, factor, mask = text.encode(), 0xC6A4A7935BD1E995, 2**64 - 1
        given_hash = len(data) * factor & mask
        for start in range(0, len(data) // 8 * 8, 8):
            word = int.from_bytes(data[start : start + 8], "little") * factor & mask
            given_hash = (given_hash ^ ((word ^ word >> 47) * factor & mask)) * factor & mask
        if len(data) % 8:
            rest = int.from_bytes(data[len(data) // 8 * 8 :], "little")
            given_hash = (given_hash ^ rest) * factor & mask
        given_hash = (given_hash ^ given_hash >> 47) * factor & mask
        assert id_of(text) & mask == given_hash ^ given_hash >> 47
    assert np.dtype(LAST).itemsize == 18
