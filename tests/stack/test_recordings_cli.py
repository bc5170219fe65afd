"""`replay-frames`, `decode --at` and `exchanges` as commands."""

import json
import os
import subprocess
import sys
from pathlib import Path

from producers.record import Recorder
from producers.recording import WEBSOCKET

FRAME = b'{"topic":"allLiquidation.BTCUSDT","data":[{"T":1791565600992,"s":"BTCUSDT","S":"Buy","v":"0.5","p":"80000"}]}'
OLD = '{"topic":"liquidation.BTCUSD","data":{"symbol":"BTCUSD","side":"Buy","price":"40000","qty":"20000","time":1646584807379}}'  # noqa: E501
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("LIQCASCADE_")}


def run(*arguments: str, given: str = "", **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "stack.cli", *arguments],
        input=given, env=CLEAN | settings, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_recording_is_printed_as_json_lines_and_its_torn_tail_is_told(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.put(FRAME, exchange="bybit", source=WEBSOCKET, received_time_us=1_791_565_601_000_000)
    recorder.close()
    done = run("replay-frames", str(tmp_path), "--speed", "1000")
    (event,) = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, event["kind"], event["side"]) == (0, "liquidation", "LONG"), done.stderr
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + path.read_bytes()[:20])
    torn = run("replay-frames", str(tmp_path))
    assert (torn.returncode, torn.stdout.count("\n")) == (1, 1)
    assert "20 bytes are torn" in torn.stderr.replace("\n", " ")


def test_wrong_use_is_one_sentence(tmp_path: Path) -> None:
    for arguments, says in (
        (("replay-frames", str(tmp_path)), "no file"),
        (("replay-frames", str(tmp_path), "--speed", "fast"), "--speed fast"),
        (("replay-frames", str(tmp_path), "--to-topics", "--prefix", ""), "--prefix"),
    ):
        done = run(*arguments)
        assert (done.returncode, says in done.stderr.replace("\n", " ")) == (2, True), done.stderr


def test_old_frames_are_decoded_at_their_date() -> None:
    then = run("decode", "--exchange", "bybit", "--kind", "liquidation", "--at", "2022-03-06", given=OLD)
    assert (then.returncode, json.loads(then.stdout)["side"]) == (0, "LONG")
    now = run("decode", "--exchange", "bybit", "--kind", "liquidation", given=OLD)
    assert "side" not in now.stdout


def test_no_producer_is_announced(redis_url: str) -> None:
    done = run("exchanges", LIQCASCADE_REDIS__URL=redis_url.rpartition("/")[0] + "/11")
    assert (done.returncode, "no producer" in done.stdout) == (1, True), done.stderr
