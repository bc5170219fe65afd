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
    known = decode_lines(
        [SWAP, SWAP.replace("NEW", "ETH")], exchange="okx", kind="liquidation", instruments=table
    )  # the shipped table counts beside it
    assert [json.loads(line)["quantity"] for line in known] == [1.5, 0.3]
    assert known.unsized == {}


def test_contract_of_unknown_size_has_what_is_known_of_it_and_null_for_the_rest() -> None:
    decoded = decode_lines([SWAP, SWAP], exchange="okx", kind="liquidation", instruments=None)
    event, again = map(json.loads, decoded)
    assert event == again
    assert (event["asset"], event["market"], event["side"], event["price"]) == ("NEW", "USDT", "LONG", 2.0)
    assert (event["quantity"], event["notional_usd"], event["contracts"]) == (None, None, 3.0)
    assert event["event_time_ms"] == 1791400000123
    (sentence,) = decoded.unsized.values()
    assert '{"exchange":"okx","instrument":"NEW-USDT-SWAP","asset":"NEW","market":"USDT"' in sentence
    assert decoded.refused == 0


def test_contract_priced_by_the_thousand_has_its_own_price_without_its_size() -> None:
    frame = (
        '{"channel":"futures.public_liquidates","event":"update","result":'
        '{"contract":"1000NEW_USDT","price":"2","size":"-7.5","time":1791400000123}}'
    )
    (line,) = decode_lines([frame], exchange="gate", kind="liquidation", instruments=None)
    event = json.loads(line)
    assert (event["asset"], event["price"], event["contracts"], event["quantity"]) == ("NEW", 0.002, 7.5, None)


def test_rate_needs_no_contract_size_and_open_interest_does() -> None:
    ticker = (
        '{"time":1791400000,"channel":"futures.tickers","event":"update","result":[{"contract":"ETC_USD",'
        '"mark_price":"5.735","funding_rate":"0.0002","total_size":"46366"}]}'
    )
    rates = decode_lines([ticker], exchange="gate", kind="funding", instruments=None)
    assert [(row["rate"], row["market"]) for row in map(json.loads, rates)] == [(0.0002, "USD")]
    assert rates.unsized == {}
    totals = decode_lines([ticker], exchange="gate", kind="open-interest", instruments=None)
    (total,) = map(json.loads, totals)
    assert (total["open_interest"], total["open_interest_usd"], total["contracts"]) == (None, None, 23183.0)
    assert list(totals.unsized) == ["ETC_USD"]


def test_symbol_that_tells_no_contract_is_refused_beside_one_that_does() -> None:
    frame = SWAP.replace("NEW-USDT-SWAP", "NEW-EUR-SWAP")
    decoded = decode_lines([frame, SWAP], exchange="okx", kind="liquidation", instruments=None)
    assert [json.loads(line).get("contracts", "refused") for line in decoded] == ["refused", 3.0]
    assert decoded.refused == 1


@pytest.mark.parametrize("kind", ["liquidation", "open-interest"])
def test_body_of_another_kind_gives_nothing(kind: str) -> None:
    settled = '{"symbol":"BTCUSDT","fundingRate":"0.0001","fundingRateTimestamp":"1672041600000"}'
    decoded = decode_lines([settled], exchange="bybit", kind=kind, instruments=None)
    assert list(decoded) == []
    assert decoded.refused == 0


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
