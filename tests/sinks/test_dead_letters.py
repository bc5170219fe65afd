"""Dead letters on a real broker that answers late."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import sinks.dead_letters
from runtime.settings import KafkaSettings
from schemas.errors import BrokerUnavailable, LiqcascadeError
from schemas.topics import DEAD_LETTERS
from sinks.dead_letters import DeadLetters, Letter, Stage
from stack.embedded import EmbeddedStack
from stack.log_range import between
from tests.sinks.topics import Log


@contextmanager
def frozen(pid: int | None) -> Iterator[None]:
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def letter(offset: int) -> Letter:
    return Letter(
        position=("market.liquidations", 0),
        offset=offset,
        key=None,
        value=b"poison",
        headers=(),
        error=LiqcascadeError("not the wire format"),
        stage=Stage.VALUE_CONVERTER,
        class_name="schemas.codec.Codec",
    )


def test_letters_that_are_still_on_their_way_are_not_sent_again(
    kafka: str, topic_prefix: str, embedded_stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(KafkaSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=1))
    letters = DeadLetters(log.settings, log.names.of(DEAD_LETTERS), connector="timescale", task=0)
    letters.send(letter(0))
    letters.flush()
    with frozen(embedded_stack.kafka.pid), monkeypatch.context() as patience:
        patience.setattr(sinks.dead_letters, "ACKNOWLEDGE_S_MAX", 0.3)
        letters.send(letter(1))
        with pytest.raises(BrokerUnavailable, match=r"1 were not acknowledged \(no answer\)"):
            letters.flush()
    for offset in (0, 1, 2):  # as an outage brings them back
        letters.send(letter(offset))
    letters.flush()
    held = [
        dict(record.headers)["__connect.errors.offset"]
        for record in between(log.settings, [log.names.of(DEAD_LETTERS)])
    ]
    assert held == [b"0", b"1", b"2"]
