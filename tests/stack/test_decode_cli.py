"""`liqcascade decode` where a contract's size is in no table, as a user sees it."""

import json
import subprocess
import sys
from pathlib import Path

ROW = '{"contract":"NEW_USDT","price":"0.5","size":"-8","time":1791400000123}'


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stack.cli", "decode", "--exchange", "gate", "--kind", "liquidation", *options]
    return subprocess.run(command, input=ROW + "\n" + ROW, capture_output=True, text=True, timeout=60, check=False)


def test_the_sentence_on_stderr_has_the_line_that_gives_the_size(tmp_path: Path) -> None:
    without = run()
    assert without.returncode == 0
    assert {json.loads(line)["quantity"] for line in without.stdout.splitlines()} == {None}
    (sentence,) = without.stderr.splitlines()
    assert "--instruments" in sentence
    table = tmp_path / "sizes.jsonl"
    table.write_text(sentence[sentence.index("{") : sentence.index("}") + 1].replace("COINS", "100"))
    known = run("--instruments", str(table))
    assert (known.returncode, known.stderr) == (0, "")
    assert [json.loads(line)["quantity"] for line in known.stdout.splitlines()] == [800.0, 800.0]
