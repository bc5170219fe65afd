"""The archive of Parquet files: what stands in them, and what a crash at each step leaves."""

from pathlib import Path
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest

from schemas.errors import RecordRefused, StoreUnavailable
from schemas.topics import LATE, LIQUIDATIONS
from sinks import archive, parquet
from sinks.connector import Batch, SinkRecord, batch_of
from sinks.offsets import STAGING, Offsets
from sinks.parquet import ParquetSink
from sinks.settings import ArchiveSettings, SinkSettings
from tests.sinks.records import alert, landing, liquidation, window

HERE = (LIQUIDATIONS.name, 0)
MIDNIGHT_MS = 1_760_054_400_000  # 2025-10-10 00:00 UTC


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def opened(folder: Path, *positions: tuple[str, int]) -> ParquetSink:
    sink = ParquetSink(SinkSettings(archive=ArchiveSettings(folder=folder)))
    sink.open(positions or (HERE,))
    return sink


def land(sink: ParquetSink, records: list[SinkRecord]) -> None:
    sink.put(batch_of(records))
    sink.flush()


def names(folder: Path) -> list[str]:
    return sorted(path.parent.relative_to(folder).as_posix() for path in folder.rglob("*.parquet"))


def event_ids(folder: Path) -> list[str]:
    return sorted(one for path in folder.rglob("*.parquet") for one in pq.read_table(path)["event_id"].to_pylist())


def test_files_stand_by_topic_and_day_of_the_event(folder: Path) -> None:
    events = [liquidation(n, event_time_ms=MIDNIGHT_MS + at_ms) for n, at_ms in enumerate((-1, 0, 86_399_999))]
    late = landing([events[0]], topic=LATE)
    sink = opened(folder, HERE, (LATE.name, 0))
    land(sink, landing(events) + late)
    assert names(folder) == [
        "market.late/day=2025-10-09", "market.liquidations/day=2025-10-09", "market.liquidations/day=2025-10-10",
    ]  # fmt: skip


def test_rows_hold_every_field_sorted_by_time_and_say_where_they_come_from(folder: Path) -> None:
    events = [liquidation(n, event_time_ms=MIDNIGHT_MS + 10 - n, asset="龙虾") for n in range(3)]
    records = landing(events, first_offset=7)
    land(opened(folder), records)
    (path,) = folder.rglob("*.parquet")
    table = pq.read_table(path)
    assert table["event_id"].to_pylist() == [f"binance:BTCUSDT:{n}" for n in (2, 1, 0)]
    row = table.to_pylist()[0]
    assert (row["asset"], row["side"], row["price"], row["backlog"]) == ("龙虾", "LONG", 65_432.1, False)
    assert (row["log_partition"], row["log_offset"]) == (0, 9)
    assert row["log_append_time_ms"] == records[2].append_time_ms
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"


def test_nested_fields_are_json(folder: Path) -> None:
    records = landing([alert(1)]) + landing([window(1)])
    land(opened(folder, *{record.position for record in records}), records)
    (path,) = folder.glob("alerts.cascades/*/*.parquet")
    row = pq.read_table(path).to_pylist()[0]
    assert row["flags"] == '["flash_crash","momentum"]'
    assert row["relative_ratio"] is None
    (path,) = folder.glob("signals.windows/*/*.parquet")
    assert pq.read_table(path).to_pylist()[0]["exchanges"].startswith('{"binance":{"events":2,')


def test_a_crash_after_the_commit_is_mended_at_the_next_opening(folder: Path) -> None:
    sink = opened(folder)
    with patch.object(archive.Archive, "_mended", side_effect=[Offsets(), KeyboardInterrupt]):
        sink.put(batch_of(landing([liquidation(1)])))
        with patch.object(archive.Archive, "forget"), pytest.raises(KeyboardInterrupt):  # killed: nobody cleans up
            sink.flush()
    assert event_ids(folder) == []
    assert opened(folder).flush() == {HERE: 1}
    assert event_ids(folder) == ["binance:BTCUSDT:1"]


def test_a_crash_before_the_commit_leaves_nothing_that_a_reader_sees(folder: Path) -> None:
    sink = opened(folder)
    sink.put(batch_of(landing([liquidation(1)])))
    with (
        patch.object(archive.Archive, "commit", side_effect=KeyboardInterrupt),
        patch.object(archive.Archive, "forget"),
        pytest.raises(KeyboardInterrupt),
    ):
        sink.flush()
    assert opened(folder).flush() == {}
    assert event_ids(folder) == []


def test_a_failed_commit_leaves_no_staged_file(folder: Path) -> None:
    first, second = opened(folder), opened(folder)
    land(first, landing([liquidation(1)]))
    with pytest.raises(StoreUnavailable, match="another worker"):
        land(second, landing([liquidation(2)]))
    assert not [path for path in folder.rglob("*") if path.suffix == STAGING]


def test_offsets_that_were_deleted_are_found_in_the_files(folder: Path) -> None:
    land(opened(folder), landing([liquidation(1), liquidation(2)]))
    for path in (folder / archive.OFFSETS_FOLDER).iterdir():
        path.unlink()
    sink = opened(folder)
    assert sink.flush() == {HERE: 2}
    land(sink, landing([liquidation(3)], first_offset=2))
    assert len(event_ids(folder)) == 3


def test_what_is_redelivered_from_far_back_is_known_by_its_file(folder: Path) -> None:
    with patch.object(parquet, "IDS_MAX", 2):
        land(opened(folder), landing([liquidation(n) for n in range(3)]))
        land(opened(folder), landing([liquidation(n) for n in range(3, 6)], first_offset=3))
        sink = opened(folder)
        sink.put(Batch((), {HERE: 0}))
        sink.flush()
        sink.open([HERE])
        land(sink, landing([liquidation(n) for n in range(6)]))
    assert len(event_ids(folder)) == 6


def test_too_much_to_hold_is_written_at_once(folder: Path) -> None:
    with patch.object(parquet, "HELD_MAX", 2):
        opened(folder).put(batch_of(landing([liquidation(1), liquidation(2)])))
    assert len(event_ids(folder)) == 2


def test_a_text_that_is_not_unicode_and_a_time_of_no_year_are_refused(folder: Path) -> None:
    for bad in (liquidation(1, instrument="\ud800"), liquidation(1, event_time_ms=2**60, received_time_us=1)):
        sink = opened(folder)
        record = landing([liquidation(1)])[0]
        bad_record = SinkRecord(
            topic=record.topic, position=HERE, offset=0, append_time_ms=1, key=b"", value=b"", record=bad
        )
        with pytest.raises(RecordRefused):
            land(sink, [bad_record])
        assert sink.flush() == {}


def test_damaged_offsets_are_a_sentence(folder: Path) -> None:
    opened(folder)
    (folder / archive.OFFSETS_FOLDER / "parquet.json").write_text("{")
    with pytest.raises(StoreUnavailable, match="damaged"):
        opened(folder)


def test_a_folder_that_is_a_file_is_found_where_the_task_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = SinkSettings(archive=ArchiveSettings(folder=tmp_path / "file"))
    assert ParquetSink.validate(settings) == {}
    with pytest.raises(StoreUnavailable, match=r"opening the archive .*/file/_offsets: Not a directory"):
        ParquetSink(settings).open([])
