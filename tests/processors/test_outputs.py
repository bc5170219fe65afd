"""Outputs are written as the codec writes their records, and rounded as whole numbers are."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.metrics import metric
from processors.outputs.avro import ratio
from processors.windows.layout import LAST
from processors.windows.seen import id_of
from schemas.topics import STATE
from tests.processors.logs import CODEC, START_MS, at, cascade_log, fold_all, liquidation, new_detector, random_log


def test_every_output_is_what_the_codec_writes() -> None:
    log = [*random_log(11, 400), *cascade_log(11)]
    outputs = fold_all(new_detector(), random_log(11, 400)) + fold_all(new_detector(), cascade_log(11))
    assert len(outputs) > len(log) / 10
    for one in outputs:
        assert one.value == CODEC.encode(one.topic, one.record), one.record
        fields = [one.record.__struct_fields__[0]]
        assert one.topic is STATE or one.id == getattr(one.record, fields[0])


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
