"""Damaged frames of every exchange, from a seed; `make fuzz-frames` tries a million."""

import pytest

from producers.exchanges import ADAPTERS
from tests.simulation.fuzz_frames import Fuzzer, main

SEED = 7
FRAMES = 5_000


@pytest.mark.parametrize("name", ADAPTERS)
def test_damaged_frame_gives_events_nothing_or_a_refusal_and_never_another_side(name: str) -> None:
    outcome = Fuzzer(name, SEED).run(FRAMES)
    assert outcome.broken == []
    assert all(outcome.counts[kind] > FRAMES // 50 for kind in ("events", "nothing", "refused"))


def test_seed_and_count_say_everything(capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for _ in range(2):
        assert main(["--count", "200", "--seed", "3", "--exchange", "bybit"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert '"broken": 0' in outputs[0]
