"""The fold is a function of the log: however it is cut, snapshotted, restored, repeated."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.detector import Delivered, Detector, Output
from processors.settings import DetectorSettings, RelativeSettings, RelativeWindowSettings, WindowSettings
from processors.windows.store import NOTIONAL_USD_MAX
from schemas.errors import RecordRefused, SchemaError
from schemas.records import DetectorSnapshot, JournalEntry, Liquidation, WindowAggregate
from schemas.words import Side
from tests.processors.logs import (
    Entry,
    as_lines,
    at,
    fold_all,
    heard,
    liquidation,
    new_detector,
    random_log,
    silence,
    tick,
    with_context,
)

LOG = with_context(random_log(7, 500), 7, assets=("BTC", "ETH", "SOL"))
LINES = as_lines(fold_all(new_detector(), LOG))


def fold_cut(detector: Detector, log: list[Entry], records_max: int) -> list[Output]:
    """Fold with as many records in a run as fit between two entries of the journal."""
    outputs: list[Output] = []
    run: list[Delivered] = []
    for entry in log:
        if isinstance(entry, JournalEntry) or len(run) == records_max:
            outputs += detector.fold(run)
            run = []
        if isinstance(entry, JournalEntry):
            outputs += detector.apply(entry)
        else:
            run.append(entry)
    return outputs + detector.fold(run)


@pytest.mark.parametrize("records_max", [1, 2, 7, 500])
def test_cuts_change_no_byte(records_max: int) -> None:
    assert as_lines(fold_cut(new_detector(), LOG, records_max)) == LINES


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, len(LOG)), max_size=4).map(sorted))
def test_snapshots_change_no_byte(stops: list[int]) -> None:
    rows: dict[str, DetectorSnapshot] = {}
    detector, outputs, done = new_detector(), list[Output](), 0
    for stop in [*stops, len(LOG)]:
        outputs += fold_all(detector, LOG[done:stop])
        done = stop
        rows |= {row.asset: row for row in detector.snapshot()}
        detector = new_detector()
        detector.restore(rows.values())
        detector.remember(heard(LOG[:done]))
    assert as_lines(outputs) == LINES


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_rows_of_different_age_change_no_byte(data: st.DataObject) -> None:
    """Some assets' rows were written when the process died, the partition's was not."""
    older = data.draw(st.integers(0, len(LOG)))
    newer = data.draw(st.integers(older, len(LOG)))
    detector = new_detector()
    before = as_lines(fold_all(detector, LOG[:older]))
    rows = {row.asset: row for row in detector.snapshot()}
    between = fold_all(detector, LOG[older:newer])
    late = [row for row in detector.snapshot() if row.asset]
    written = data.draw(st.integers(0, len(late)))
    rows |= {row.asset: row for row in late[:written]}
    ahead = {row.asset for row in late[:written]}

    again = new_detector()
    again.restore(reversed(rows.values()))
    again.remember(heard(LOG[:older]))
    outputs = fold_all(again, LOG[older:])
    # what the assets ahead had published between the two is not said again; everything else is, byte for byte
    said = as_lines(one for one in between if one.key in ahead)
    lines = as_lines(outputs)
    missing = list(LINES[len(before) :])
    for line in said:
        missing.remove(line)
    assert lines == missing


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_rows_taken_while_records_are_folded_change_no_byte(data: st.DataObject) -> None:
    # log   |------- before ------|-- .. --|---- .. ----|
    # rows                   partition   asset        asset
    older = data.draw(st.integers(0, len(LOG)))
    detector, done = new_detector(), older
    before = as_lines(fold_all(detector, LOG[:older]))
    taking = detector.snapshots()
    rows, said = [next(taking)], list[Output]()
    while True:
        newer = data.draw(st.integers(done, len(LOG)))
        between = fold_all(detector, LOG[done:newer])
        done = newer
        row = next(taking, None)
        said += [one for one in between if one.key not in {known.asset for known in rows}]
        if row is None:
            break
        rows.append(row)

    again = new_detector()
    again.restore(rows)
    again.remember(heard(LOG[:older]))
    lines = as_lines(fold_all(again, LOG[older:]))
    missing = list(LINES[len(before) :])
    taken = {row.asset for row in rows}
    for line in as_lines(one for one in said if one.key in taken):
        missing.remove(line)
    assert lines == missing


def test_snapshot_has_only_what_changed_and_the_partition_last() -> None:
    detector = new_detector()
    fold_all(detector, [at(0, 0, liquidation(0)), at(1, 1, liquidation(1, asset="ETH"))])
    assert [row.asset for row in detector.snapshot()] == ["BTC", "ETH", ""]
    fold_all(detector, [at(2, 2, liquidation(2, asset="ETH"))])
    assert [(row.asset, row.next_offset) for row in detector.snapshot()] == [("ETH", 3), ("", 3)]
    assert [row.asset for row in detector.snapshot()] == [""]


def test_records_and_entries_come_once() -> None:
    detector = new_detector()
    log: list[Entry] = [at(0, 0, liquidation(0)), tick(0, 900, after_offset=0), at(1, 1_000, liquidation(950))]
    fold_all(detector, log)
    assert fold_all(detector, log) == []
    assert (detector.next_offset, detector.next_sequence, detector.log_time_ms % 10_000) == (2, 1, 1_000)


def test_entry_of_a_replaced_owner_is_ignored() -> None:
    detector = new_detector()
    detector.apply(tick(0, 1_000, epoch=2))
    assert not detector.apply(tick(1, 90_000, epoch=1))
    assert (detector.next_sequence, detector.log_time_ms % 100_000) == (1, 1_000)
    detector.apply(tick(1, 2_000, epoch=2))
    assert detector.log_time_ms % 100_000 == 2_000


def test_time_never_runs_back() -> None:
    detector = new_detector()
    detector.fold([at(0, 5_000, liquidation(4_000)), at(1, 3_000, liquidation(4_100))])
    assert detector.log_time_ms % 10_000 == 5_000


def test_ticks_are_wanted_until_all_is_closed() -> None:
    detector = new_detector()
    assert not detector.wants_ticks
    detector.fold([at(0, 0, liquidation(0))])
    assert detector.wants_ticks
    outputs = silence(detector, 200)
    assert not detector.wants_ticks
    windows = [one.record for one in outputs if isinstance(one.record, WindowAggregate)]
    assert [window.size_ms for window in windows] == [100, 500, 2_000, 10_000, 60_000, 300_000]


@pytest.mark.parametrize(
    "refused",
    [
        liquidation(0, notional_usd=float("nan")),
        liquidation(0, notional_usd=float("inf")),
        liquidation(0, notional_usd=-1.0),
        liquidation(0, notional_usd=NOTIONAL_USD_MAX * 1.01),
        liquidation(0, side=Side.UNKNOWN),
        liquidation(-(10**13)),
    ],
)
def test_record_that_cannot_be_summed_is_refused_before_anything_changed(refused: Liquidation) -> None:
    detector = new_detector()
    with pytest.raises(RecordRefused, match="offset 1"):
        detector.fold([at(0, 0, liquidation(0)), at(1, 0, refused)])
    assert detector.next_offset == 0
    assert detector.fold([at(0, 0, liquidation(0))]) == new_detector().fold([at(0, 0, liquidation(0))])


def test_snapshot_of_another_format_or_size_is_refused() -> None:
    detector = new_detector()
    detector.fold([at(0, 0, liquidation(0))])
    rows = detector.snapshot()
    for row in rows:
        with pytest.raises(SchemaError, match="format 99"):
            new_detector().restore([DetectorSnapshot(**{**_fields(row), "format": 99})])
        with pytest.raises(SchemaError, match="begin from the log"):
            new_detector().restore([DetectorSnapshot(**{**_fields(row), "state": row.state[:-3]})])
    others = (WindowSettings(size_ms=2_000, grace_ms=5_000, flag="standard_cascade", flag_events=15),)
    relative = RelativeSettings(windows=(RelativeWindowSettings(size_ms=2_000, events_min=5, scale="1"),))
    with pytest.raises(SchemaError, match="windows"):
        new_detector(DetectorSettings(windows=others, relative=relative)).restore(rows)


def test_state_is_bounded_and_small() -> None:
    detector = new_detector()
    fold_all(detector, random_log(3, 2_000, assets=("BTC",), ticks=False))
    assert detector.state_bytes() < 400_000
    assert max(len(row.state) for row in detector.snapshot()) < 500_000


def _fields(row: DetectorSnapshot) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__}
