"""A recording gives the events that the feeds gave, each by the decoder and the instruments of its time."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zstandard

from producers.instruments import Instrument, to_lines
from producers.record import Recorder
from producers.recording import INSTRUMENTS, SUFFIX, WEBSOCKET, Recording, to_line
from producers.replay_frames import Replay
from producers.replay_frames import to_lines as lines_of
from schemas.errors import SettingsError
from schemas.words import Exchange, Market, Side

NOW_US = 1_791_565_601_482_000  # 2026-10-09
EVENT_MS = 1_791_565_600_992
ROW = {"T": EVENT_MS, "s": "BTCUSDT", "S": "Buy", "v": "0.5", "p": "80000"}
OLD_MS = 1_632_123_952_732
OLD_ROW = {"symbol": "BTCUSDT", "side": "Sell", "price": "45212.50", "qty": "0.009", "time": OLD_MS}
OLD = json.dumps({"topic": "liquidation.BTCUSDT", "data": OLD_ROW}).encode()


def swap(event_time_ms: int) -> bytes:
    detail = {"bkPx": "2", "posSide": "long", "side": "sell", "sz": "3", "ts": str(event_time_ms)}
    row = {"instId": "NEW-USDT-SWAP", "details": [detail]}
    return json.dumps({"arg": {"channel": "liquidation-orders", "instType": "SWAP"}, "data": [row]}).encode()


def frame(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"topic": "allLiquidation.BTCUSDT", "data": rows}).encode()


def table(size: str) -> bytes:
    row = Instrument(
        exchange=Exchange.OKX, instrument="NEW-USDT-SWAP", asset="NEW", market=Market.USDT,
        contract_size=Decimal(size), inverse=False,
    )  # fmt: skip
    return to_lines([row])


def record(folder: Path, *puts: tuple[str, str, bytes, int, int]) -> Recording:
    recorder = Recorder(folder)
    for exchange, source, body, received_time_us, covered_since_ms in puts:
        recorder.put(
            body, exchange=exchange, source=source, received_time_us=received_time_us, covered_since_ms=covered_since_ms
        )
    recorder.close()
    return Recording(folder)


def test_rows_that_came_twice_count_once_and_history_is_backlog(tmp_path: Path) -> None:
    covered_ms = EVENT_MS + 10_000
    recording = record(
        tmp_path,
        ("bybit", WEBSOCKET, frame(ROW), NOW_US, 0),
        ("bybit", WEBSOCKET, frame(ROW, ROW | {"p": "79000"}), NOW_US + 1, covered_ms),
        ("bybit", WEBSOCKET, b'{"success":true,"ret_msg":"","conn_id":"c","op":"subscribe"}', NOW_US + 2, covered_ms),
    )
    replay = Replay(recording)
    found = [event for replayed in replay for event in replayed.events]
    assert [(event.price, event.backlog, event.received_time_us) for event in found] == [  # type: ignore[union-attr]
        (80_000.0, False, NOW_US), (79_000.0, True, NOW_US + 1),
    ]  # fmt: skip
    assert (replay.frames, replay.refused) == (3, 0)


def test_decoder_of_the_time_is_used(tmp_path: Path) -> None:
    then, now = Replay(
        record(
            tmp_path,
            ("bybit", WEBSOCKET, OLD, OLD_MS * 1_000, 0),
            ("bybit", WEBSOCKET, OLD, NOW_US, 0),
        )
    )
    assert [(event.side, event.quantity) for event in then.events] == [(Side.SHORT, 0.009)]  # type: ignore[union-attr]
    assert now.events == []


def test_instruments_of_the_time_are_used(tmp_path: Path) -> None:
    recording = record(
        tmp_path,
        ("okx", WEBSOCKET, swap(1_791_400_000_123), NOW_US, 0),
        ("okx", INSTRUMENTS, table("0.5"), NOW_US, 0),
        ("okx", WEBSOCKET, swap(1_791_400_000_124), NOW_US, 0),
        ("okx", INSTRUMENTS, table("5"), NOW_US, 0),
        ("okx", WEBSOCKET, swap(1_791_400_000_125), NOW_US, 0),
    )
    replayed = list(Replay(recording))
    quantities = [event.quantity for each in replayed for event in each.events]  # type: ignore[union-attr]
    assert quantities[-2:] == [1.5, 15.0]
    assert all(each.refused is None for each in replayed)


def test_refusal_is_a_line_and_the_good_rows_of_its_frame_too(tmp_path: Path) -> None:
    recording = record(tmp_path, ("bybit", WEBSOCKET, frame(ROW, ROW | {"S": "?"}), NOW_US, 0))
    (replayed,) = Replay(recording, speed=1_000.0)
    event, error = map(json.loads, lines_of(replayed))
    assert (event["kind"], event["side"]) == ("liquidation", "LONG")
    assert set(error) == {"error", "exchange", "received_time_us"}


def test_other_exchanges_are_left_out_and_unknown_ones_refused(tmp_path: Path) -> None:
    recording = record(tmp_path, ("bybit", WEBSOCKET, frame(ROW), NOW_US, 0))
    assert list(Replay(recording, exchanges=["okx"])) == []
    with pytest.raises(SettingsError, match="mtgox"):
        Replay(recording, exchanges=["mtgox"])


def test_frame_with_an_unknown_instrument_waits_for_the_next_table(tmp_path: Path) -> None:
    lines = [
        to_line(swap(EVENT_MS), exchange="okx", source=WEBSOCKET, received_time_us=NOW_US),
        to_line(table("0.5"), exchange="okx", source=INSTRUMENTS, received_time_us=NOW_US),
    ]
    path = tmp_path / f"x{SUFFIX}"
    path.write_bytes(zstandard.compress(b"".join(lines)))
    (event,) = [event for replayed in Replay(Recording(path)) for event in replayed.events]
    assert event.quantity == 1.5  # type: ignore[union-attr]
    path.write_bytes(zstandard.compress(lines[0]))
    replay = Replay(Recording(path))
    assert [bool(replayed.refused) for replayed in replay] == [False, True]
    assert replay.refused == 1
