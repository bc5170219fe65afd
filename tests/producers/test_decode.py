"""Lines of raw frames -> lines of JSON."""

import json
from pathlib import Path

import pytest

from producers.decode import decode_lines
from schemas.errors import SettingsError

ACK = '{"success":true,"ret_msg":"","conn_id":"c","op":"subscribe"}'
ROW = '{"T":1791400000123,"s":"BTCUSDT","S":"%s","v":"0.25","p":"80000"}'
FRAME = '{"topic":"allLiquidation.BTCUSDT","data":[' + ROW + "]}"
SWAP = (
    '{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"instId":"NEW-USDT-SWAP","details":'
    '[{"bkPx":"2","posSide":"long","side":"sell","sz":"3","ts":"1791400000123"}]}]}'
)


def test_events_and_errors_keep_their_order_and_lines() -> None:
    lines: list[str | bytes] = [ACK, "", FRAME % "Buy", b"\xff\n", (FRAME % "Sell").encode() + b"\r\n"]
    decoded = decode_lines(lines, exchange="bybit", kind="liquidation", instruments=None, received_time_us=5)
    first, error, second = map(json.loads, decoded)
    assert (first["side"], first["received_time_us"], second["side"]) == ("LONG", 5, "SHORT")
    assert list(error) == ["error", "line"]
    assert error["line"] == 4
    assert decoded.refused == 1


def test_good_rows_beside_a_bad_one_are_given() -> None:
    frame = '{"topic":"allLiquidation.BTCUSDT","data":[' + ",".join([ROW % "Buy", ROW % "?", ROW % "Buy"]) + "]}"
    decoded = decode_lines([frame], exchange="bybit", kind="liquidation", instruments=None)
    lines = [json.loads(line) for line in decoded]
    assert [line.get("event_id", "error")[-2:] for line in lines] == [":0", ":1", "or"]
    assert decoded.refused == 1


def test_table_of_ones_own_gives_the_contract_size(tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"
    table.write_text(
        '{"exchange":"okx","instrument":"NEW-USDT-SWAP","asset":"NEW","market":"USDT","contract_size":0.5,"inverse":false}'
    )
    known = decode_lines([SWAP], exchange="okx", kind="liquidation", instruments=table)
    unknown = decode_lines([SWAP], exchange="okx", kind="liquidation", instruments=None)
    assert [json.loads(line)["quantity"] for line in known] == [1.5]
    assert [list(json.loads(line)) for line in unknown] == [["error", "line"]]


@pytest.mark.parametrize(
    ("exchange", "kind", "says"), [("mtgox", "liquidation", "okx"), ("okx", "trades", "liquidation")]
)
def test_unknown_choice_says_what_there_is(exchange: str, kind: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        decode_lines([], exchange=exchange, kind=kind, instruments=None)


LEGACY = (
    '{"topic":"liquidation.BTCUSD","data":{"symbol":"BTCUSD","side":"Buy","price":"40000","qty":"20000",'
    '"time":1646584807379}}'
)
TICKER = (
    '{"topic":"tickers.BTCUSDT","type":"snapshot","ts":1791400000123,"data":{"symbol":"BTCUSDT","markPrice":"80000",'
    '"singleOpenInterest":"2","fundingRate":"0.0001","nextFundingTime":"1791417600000","fundingIntervalHour":"8"}}'
)


def test_format_of_old_is_decoded_for_its_time_alone() -> None:
    def sides(at_ms: int | None, text: str) -> list[str]:
        lines = decode_lines([text], exchange="bybit", kind="liquidation", instruments=None, at_ms=at_ms)
        return [json.loads(line).get("side", "refused") for line in lines]

    assert sides(1646584807379, LEGACY) == ["LONG"]
    assert sides(1646584807379, LEGACY.replace("Buy", "Both")) == ["refused"]
    assert "LONG" not in sides(None, LEGACY)
    assert sides(1646584807379, FRAME % "Buy") == ["LONG"]


@pytest.mark.parametrize(
    ("kind", "field", "value"), [("open-interest", "open_interest", 2.0), ("funding", "rate", 0.0001)]
)
def test_one_kind_of_a_frame_with_several(kind: str, field: str, value: float) -> None:
    (line,) = decode_lines([TICKER, ACK], exchange="bybit", kind=kind, instruments=None)
    assert json.loads(line)[field] == value
