"""Runs the whole flow, watches it, ends it in order and settles the account."""

import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from schemas.topics import LIQUIDATIONS
from stack.demo.account import Account, await_landed, settle, sink_settings
from stack.demo.house import House
from stack.demo.ledger import Ledger
from stack.demo.options import FAULTS, DemoOptions, Fault
from stack.demo.view import View

TICK_S: Final = 0.25
PUBLISH_S_MAX: Final = 3.0  # what the exchanges have sent is in the topic within this, or is lost
LANDED_S_MAX: Final = 20.0  # a database that was just killed is back and has caught up within this
REACH_EVERY_S: Final = 3.0
LANDED_AFTER_INTERRUPT_S_MAX: Final = 2.0  # of the 5 s in which Ctrl-C ends everything


def run_demo(options: DemoOptions) -> Account:
    """Run a demo to its end. Raises StackError, BrokerUnavailable, SettingsError."""
    with _interrupts() as interrupted, _data(options) as data, View() as view:
        simulated = "" if options.live else ", the simulated exchanges"
        view.say(f"starting Kafka, PostgreSQL, Redis{simulated} and the stages")
        with House(options, data) as house:
            return _play(house, options, view, interrupted)


def _play(house: House, options: DemoOptions, view: View, interrupted: threading.Event) -> Account:
    ledger = Ledger(house.kafka)
    ledger.start()
    view.say(f"everything is up; logs are in {house.logs}")
    reach = Reach(house, view) if options.live else None
    if reach is None:
        house.control("POST", "play")
    start_s = time.monotonic()
    faults, restarts = sorted(options.faults, key=lambda fault: fault.at_s), Counter[str]()
    while not interrupted.is_set():
        elapsed_s = time.monotonic() - start_s
        if options.seconds is not None and elapsed_s >= options.seconds:
            break
        while faults and faults[0].at_s <= elapsed_s:
            _inflict(house, faults.pop(0), view)
        for name in house.heal():
            restarts[name] += 1
            view.say(f"{name} had ended and was started again")
        view.show(ledger, elapsed_s, options.seconds)
        if reach is not None:
            reach.look(elapsed_s)
        if ledger.error is not None:
            raise ledger.error
        interrupted.wait(TICK_S)
    try:
        return _end(house, ledger, restarts, time.monotonic() - start_s, interrupted.is_set())
    finally:
        ledger.stop()


class Reach:
    """Says which of the real exchanges cannot be reached, at every change; the producers keep trying."""

    def __init__(self, house: House, view: View) -> None:
        self._house, self._view = house, view
        self._missing: set[str] = set()
        self._next_s = REACH_EVERY_S

    def look(self, elapsed_s: float) -> None:
        """Ask the producers now and then."""
        if elapsed_s < self._next_s:
            return
        self._next_s = elapsed_s + REACH_EVERY_S
        missing = self._house.out_of_reach()
        if missing.keys() != self._missing:
            self._missing = set(missing)
            reasons = ", ".join(f"{exchange} ({reason or 'no answer yet'})" for exchange, reason in missing.items())
            self._view.say(
                f"cannot reach {reasons}; trying on. Check the network; details are in {self._house.logs}/produce.log"
                if missing
                else "all exchanges are connected"
            )


def _inflict(house: House, fault: Fault, view: View) -> None:
    view.say(f"fault: {FAULTS[fault.name]}")
    house.inflict(fault.name)


def _end(house: House, ledger: Ledger, restarts: Counter[str], seconds: float, interrupted: bool) -> Account:
    """Stop from the source to the stores, so that nothing is under way when the account is settled."""
    status = None
    if house.simulator is not None:
        house.control("POST", "pause")
        status = house.status()
        deadline = time.monotonic() + PUBLISH_S_MAX
        while ledger.records[LIQUIDATIONS.name] < status["rows"] and time.monotonic() < deadline:
            time.sleep(TICK_S / 5)
    for name in ("produce", "process"):
        stage = house.stages[name]
        stage.ask_to_stop()
        stage.await_end()
    settings = sink_settings(house.environment)
    await_landed(ledger, settings, LANDED_AFTER_INTERRUPT_S_MAX if interrupted else LANDED_S_MAX)
    sent_lines = house.control("GET", "sent") if status is not None else ""
    house.ask_all_to_stop()
    return settle(ledger, settings, status=status, sent_lines=sent_lines, restarts=restarts, seconds=seconds)


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Set by the first SIGINT or SIGTERM; a second one ends the process at once, and with it all children."""
    event = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _data(options: DemoOptions) -> Iterator[Path]:
    """The folder that was asked for, or one that goes with the demo."""
    if options.data is not None:
        yield options.data.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="liqcascade-demo-"))
    folder.chmod(0o755)  # PostgreSQL may have to run as an account that must enter here
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
