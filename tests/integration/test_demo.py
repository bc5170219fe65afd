"""End to end on the embedded servers: exchange frames to alerts, rows and keys, with faults on the way."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REAL_FRAMES = Path(os.environ.get("LIQCASCADE_REAL_DATA", "../shared/data")) / "frames"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("LIQCASCADE_")}


def demo(*arguments: str, timeout_s: int = 180) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-m", "stack.cli", "demo", *arguments],
        env=CLEAN, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_a_cascade_reaches_extreme_and_ends_while_everything_is_killed() -> None:
    """Database, detector and Redis are killed with -9 and all connections are cut, while the cascade runs."""
    code, account, said = demo(
        "--seconds", "62",
        "--fault", "database@12", "--fault", "feed@18", "--fault", "detector@24", "--fault", "redis@34",
    )  # fmt: skip
    assert (code, account["lost"], account["duplicates"], account["why"]) == (0, 0, 0, []), said
    assert account["highest_level"] == "EXTREME"
    assert account["final_level"] == "NONE"
    assert account["restarts"]["process"] == 1
    assert account["dead_letters"] == 0
    assert account["published"]["market.liquidations"] == sum(account["sent"].values()) > 1_000
    assert account["timescale_rows"]["liquidations"] == account["published"]["market.liquidations"]


@pytest.mark.skipif(not REAL_FRAMES.is_dir(), reason=f"captured frames are not at {REAL_FRAMES}")
def test_each_captured_liquidation_becomes_one_row() -> None:
    code, account, said = demo("--seconds", "12", "--frames", str(REAL_FRAMES))
    assert (code, account["lost"], account["duplicates"]) == (0, 0, 0), said
    assert account["dead_letters"] == 0
    rows = sum(len(rows) for rows in (binance_rows(), bybit_rows(), okx_rows()))
    assert account["timescale_rows"]["liquidations"] == rows
    assert account["timescale_rows"]["late"] == rows


def test_ctrl_c_ends_everything_in_order() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "stack.cli", "demo", "--scenario", "calm"],
        env=CLEAN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "liquidations" in line and " 5 s" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    account = json.loads(out.splitlines()[-1])
    assert (process.returncode, account["lost"], account["duplicates"]) == (0, 0, 0), err


def payloads(name: str) -> list[Any]:
    return [json.loads(line)["payload"] for line in (REAL_FRAMES / name).read_text().splitlines()]


def binance_rows() -> list[Any]:
    return payloads("binance_liquidation.jsonl")


def bybit_rows() -> list[Any]:
    return [row for frame in payloads("bybit_liquidation.jsonl") for row in frame["data"]]


def okx_rows() -> list[Any]:
    frames = [frame for frame in payloads("okx_liquidation.jsonl") if "arg" in frame]
    return [row for frame in frames for item in frame["data"] for row in item["details"]]
