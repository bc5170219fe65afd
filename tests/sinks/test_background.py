"""Jobs in a thread: their order, how many may wait, and what a failure leaves undone."""

import threading

import pytest

from sinks.background import AHEAD_MAX, Background


def test_jobs_are_done_in_their_order() -> None:
    done: list[int] = []
    background = Background("test")
    for number in range(10):
        background.do(lambda number=number: done.append(number))  # type: ignore[misc]
    background.wait()
    assert done == list(range(10))
    background.close()


def test_no_more_than_two_wait() -> None:
    gate, done = threading.Event(), []
    background = Background("test")
    for _ in range(AHEAD_MAX):
        background.do(lambda: done.append(gate.wait(30)))
    more = threading.Thread(target=background.do, args=(lambda: done.append(True),))
    more.start()
    assert not done
    gate.set()
    more.join(30)
    background.wait()
    assert done == [True] * (AHEAD_MAX + 1)
    background.close()


def test_what_is_behind_a_failure_is_not_done_and_what_comes_later_is() -> None:
    gate, done = threading.Event(), []
    background = Background("test")

    def fail() -> None:
        gate.wait(30)
        raise ValueError("first")

    background.do(fail)
    background.do(lambda: done.append("behind"))
    gate.set()
    with pytest.raises(ValueError, match="first"):
        background.wait()
    background.wait()
    background.do(lambda: done.append("later"))
    background.wait()
    assert done == ["later"]
    background.close()


def test_closing_drops_what_has_not_begun() -> None:
    begun, gate, done = threading.Event(), threading.Event(), []
    background = Background("test")

    def first() -> None:
        begun.set()
        gate.wait(30)
        done.append("first")

    background.do(first)
    background.do(lambda: done.append("second"))
    begun.wait(30)
    closing = threading.Thread(target=background.close)
    closing.start()
    gate.set()
    closing.join(30)
    assert done == ["first"]
