"""The detector over a file."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from processors.detect import Step, detect, fold_history, new_detector
from processors.detector import Delivered, Detector
from processors.history import Part, partition_of, read_history
from processors.journal import replay
from processors.market.settings import MarketSettings
from processors.settings import DetectorSettings
from schemas.errors import SchemaError, SettingsError
from schemas.records import AssetState, CascadeAlert, FeedHealth, Record
from schemas.topics import FEED_HEALTH, FUNDING, LIQUIDATIONS, MARKET, OPEN_INTEREST, STATE
from schemas.words import AlertKind, Exchange, FeedState, JournalKind
from stack.cli import app, commands
from tests.processors.logs import START_MS, as_lines, cascade_log, funding, liquidation, open_interest
from tests.processors.market.reference import Reference
from tests.processors.market.states import Heard

SETTINGS = DetectorSettings()
Row = tuple[str, int, Record]


def line(topic: str, append_time_ms: int, value: Record | dict[str, Any]) -> bytes:
    plain = value if isinstance(value, dict) else msgspec.to_builtins(value)
    return msgspec.json.encode({"topic": topic, "append_time_ms": START_MS + append_time_ms, "value": plain})


def history(assets: Sequence[str] = ("BTC", "ETH")) -> list[Row]:
    """A cascade of assets, with what is known beside it."""
    rows: list[Row] = []
    for one in cascade_log(3, assets=assets):
        if isinstance(one, Delivered):
            rows.append((LIQUIDATIONS.name, one.append_time_ms - START_MS, one.liquidation))
    for second in range(0, 60, 5):
        rows.append((OPEN_INTEREST.name, second * 1_000, open_interest(coins=100.0 - second / 10)))
        rows.append((FUNDING.name, second * 1_000 + 7, funding(second * 1_000, 0.0004)))
    health = FeedHealth(
        exchange=Exchange.BYBIT, channel="liquidation", state=FeedState.LIVE, since_ms=0, event_time_ms=0
    )
    rows.append((FEED_HEALTH.name, 1_000, health))
    return rows


def written(rows: Iterable[Row]) -> list[bytes]:
    alerts, windows = detect(read_history((line(*row) for row in rows), partitions=3), SETTINGS)
    return [msgspec.json.encode(record) for record in (*alerts, *windows)]


def steps(part: Part) -> list[Step]:
    return list(fold_history(new_detector(SETTINGS), part, partition=0))


def test_interleaving_of_topics_changes_no_byte() -> None:
    rows = history()
    expected = written(rows)
    for seed in range(4):
        rng, left = random.Random(seed), {name: [row for row in rows if row[0] == name] for name, _, _ in rows}
        mixed = []
        while any(left.values()):
            mixed.append(left[rng.choice([name for name, own in left.items() if own])].pop(0))
        assert mixed != rows
        assert written(mixed) == expected


def test_the_market_stands_among_the_alerts_and_changes_no_other() -> None:
    rows = history(("BTC", "ETH", "SOL", "XRP", "DOGE", "BNB"))
    parts = read_history((line(*row) for row in rows), partitions=3)
    assert len(parts) > 1
    alerts, windows = detect(parts, SETTINGS, MarketSettings())
    assert ([one for one in alerts if one.asset != MARKET], windows) == detect(parts, SETTINGS)
    market = [one for one in alerts if one.asset == MARKET]
    assert (market[0].kind, market[-1].kind) == (AlertKind.RAISED, AlertKind.ENDED)
    assert market == plain_market(parts)
    assert not any(flag.startswith("blind") for one in market for flag in one.flags)


def plain_market(parts: Mapping[int, Part]) -> list[CascadeAlert]:
    """The market's alerts as a plain fold over all states by T and partition has them."""
    states: list[tuple[int, int, int, AssetState]] = []
    for number, part in parts.items():
        detector = Detector(SETTINGS, partition=number)
        for step in fold_history(detector, part, partition=number):
            told = [output.record for output in step.outputs if output.topic is STATE]
            states += [(one.append_time_ms, number, len(states), one) for one in told if isinstance(one, AssetState)]
    states.sort(key=lambda one: one[:3])
    settings = MarketSettings().model_copy(update={"blind_ms": 1 << 61})
    fold = Reference(settings, partitions=max(parts) + 1, judged_size_ms=SETTINGS.judged_size_ms)
    outputs = fold.fold(Heard(number, one) for number, (*_, one) in enumerate(states))
    records = [one.record for one in outputs if isinstance(one.record, CascadeAlert)]
    return [msgspec.structs.replace(one, source_partition=None, source_offset=None) for one in records]


def test_a_cascade_begins_and_ends_and_all_windows_close() -> None:
    rows = history()
    alerts, windows = detect(read_history((line(*row) for row in rows), partitions=12), SETTINGS)
    assert [alert.kind for alert in alerts][-1] is AlertKind.ENDED
    assert [(one.append_time_ms, one.asset, one.sequence) for one in alerts] == sorted(
        (one.append_time_ms, one.asset, one.sequence) for one in alerts
    )
    assert max(alert.contributions.funding for alert in alerts) > 0
    assert any(alert.coverage["bybit"].state is FeedState.LIVE for alert in alerts)
    assert {(one.source_partition, one.source_offset) for one in alerts} == {(None, None)}
    assert {(one.source_partition, one.source_offset) for one in windows} == {(None, None)}
    counted = Counter[int]()
    for window in windows:
        counted[window.size_ms] += window.events
    liquidations = sum(row[0] == LIQUIDATIONS.name for row in rows)
    assert counted == {size.size_ms: liquidations for size in SETTINGS.windows}
    assert len({window.window_id for window in windows}) == len(windows)


def test_journal_of_the_rule_stands_where_the_rule_says() -> None:
    #  ms       130   200   250   400   401   600 ...
    #  log      L0          L1    L2    L3
    #  context  C0          C1
    #  ticks          T           T           T   ...
    rows: list[Row] = [(LIQUIDATIONS.name, ms, liquidation(ms - 100)) for ms in (130, 250, 400, 401)]
    rows += [(OPEN_INTEREST.name, ms, open_interest()) for ms in (130, 250)]
    (part,) = read_history((line(*row) for row in rows), partitions=1).values()
    entries = [step.entry for step in steps(part) if step.entry is not None]
    given = [(entry.kind, entry.after_offset, (entry.append_time_ms or START_MS) - START_MS) for entry in entries[:5]]
    assert given == [
        (JournalKind.CONTEXT, -1, 0),
        (JournalKind.TICK, 0, 200),
        (JournalKind.CONTEXT, 0, 0),
        (JournalKind.TICK, 1, 400),
        (JournalKind.TICK, 3, 600),
    ]
    last = entries[-1].append_time_ms
    assert last is not None
    assert last - START_MS < 600_000 + 30_200  # the window of 5 min closes 30 s after its end


def test_nothing_ticks_while_nothing_is_open() -> None:
    rows: list[Row] = [(LIQUIDATIONS.name, ms, liquidation(ms)) for ms in (0, 7_200_000)]
    (part,) = read_history((line(*row) for row in rows), partitions=1).values()
    ticks = [step.entry.append_time_ms for step in steps(part) if step.entry is not None]
    assert not [at for at in ticks if at is not None and 700_000 < at - START_MS < 7_200_000]


def test_a_worker_on_the_same_logs_gives_the_same() -> None:
    for partition, part in read_history((line(*row) for row in history()), partitions=2).items():
        given = list(fold_history(new_detector(SETTINGS), part, partition=partition))
        entries = [step.entry for step in given if step.entry is not None]
        detector = new_detector(SETTINGS)
        runs = [part.liquidations[start : start + 7] for start in range(0, len(part.liquidations), 7)]
        replayed = list(replay(detector.fold, detector.apply, runs, entries))
        assert as_lines(replayed) == as_lines(output for step in given for output in step.outputs)


def test_context_without_liquidations_gives_nothing() -> None:
    assert written([(OPEN_INTEREST.name, 0, open_interest())]) == []
    assert written([]) == []


def test_asset_lies_in_the_partition_of_the_brokers_clients() -> None:
    # murmur2 as Kafka's own tests give it, in the Java client's UtilsTest
    assert partition_of("21", 1_000) == (-973932308 & 0x7FFFFFFF) % 1_000
    assert partition_of("a-little-bit-long-string", 1_000) == (-985981536 & 0x7FFFFFFF) % 1_000


GOOD = line(LIQUIDATIONS.name, 5, liquidation(0))


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"{", "line 2"),
        (line("market.trades", 5, {}), "line 2: topic is 'market.trades'"),
        (line(LIQUIDATIONS.name, 4, liquidation(1)), r"line 2: append_time_ms \d+4 of market.liquidations is before"),
        (line(LIQUIDATIONS.name, 5, {"asset": "BTC"}), "line 2: .*missing required field"),
        (GOOD.replace(b'"LONG"', b'"UNKNOWN"'), "line 2: side is UNKNOWN"),
        (GOOD.replace(b'"LONG"', b'"long"'), "line 2: Invalid enum value"),
        (line(LIQUIDATIONS.name, -START_MS - 1, liquidation(0)), "line 2: append_time_ms is -1"),
    ],
)
def test_what_does_not_fit_names_its_line(bad: bytes, why: str) -> None:
    with pytest.raises(SchemaError, match=why):
        read_history([GOOD, bad], partitions=1)


def test_command_writes_alerts_and_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIQCASCADE_SETTINGS", "")
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(line(*row) for row in history()))
    (tmp_path / "other.toml").write_text("kafka.partitions = 3\ndetector.levels.watch_events_per_s = 12\n")
    paths = [str(tmp_path / name) for name in ("alerts.jsonl", "windows.jsonl")]
    arguments = ["detect", "--events", str(tmp_path / "events.jsonl"), "--alerts", paths[0], "--windows", paths[1]]
    if not app.registered_commands:
        commands.register(app)
    result = CliRunner().invoke(app, [*arguments, "--settings", str(tmp_path / "other.toml")])
    assert result.exit_code == 0, result.output
    alerts = [msgspec.json.decode(text) for text in Path(paths[0]).read_bytes().splitlines()]
    assert alerts[0]["kind"] == "RAISED"
    assert alerts[0]["source_offset"] is None
    assert {"asset", "size_ms", "window_start_ms", "exchanges"} <= set(
        msgspec.json.decode(Path(paths[1]).read_bytes().splitlines()[0])
    )


@pytest.mark.parametrize(
    ("events", "alerts", "why"),
    [
        ("none.jsonl", "a", "No such file"),
        ("good.jsonl", "none/a", "there is no folder"),
        ("good.jsonl", "", "a folder"),
    ],
)
def test_command_says_which_file_it_cannot_use(tmp_path: Path, events: str, alerts: str, why: str) -> None:
    (tmp_path / "good.jsonl").write_bytes(GOOD)
    if not app.registered_commands:
        commands.register(app)
    arguments = ["--events", tmp_path / events, "--alerts", tmp_path / alerts, "--windows", tmp_path / "w"]
    result = CliRunner().invoke(app, ["detect", *map(str, arguments)])
    assert isinstance(result.exception, SettingsError)
    assert why in str(result.exception)


def test_detector_decodes_context_of_files() -> None:
    detector = new_detector(SETTINGS)
    (part,) = read_history((line(*row) for row in history()), partitions=1).values()
    for _ in fold_history(detector, part, partition=0):
        pass
    assert detector.contexts_refused == 0
