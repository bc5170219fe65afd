"""What a person sees while the demo runs: a live table on a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from schemas.topics import ALERTS, DEAD_LETTERS, LATE, LIQUIDATIONS, WINDOWS
from schemas.words import LEVEL_RANKS, Level
from stack.cli.console import LEVEL_STYLES
from stack.demo.ledger import Ledger

ASSETS_SHOWN_MAX: Final = 12
ALERTS_SHOWN_MAX: Final = 6
LINE_EVERY_S: Final = 5.0
WINDOW_MS: Final = 2_000


class View:
    """Shown on stderr: stdout is for the result."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if sys.stderr.isatty() else None
        self._next_line_s = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, sentence: str) -> None:
        """One line that stays."""
        self._console.print(escape(sentence), highlight=False, soft_wrap=True)

    def show(self, ledger: Ledger, elapsed_s: float, seconds: float | None) -> None:
        """The state of things now."""
        if self._live:
            self._live.update(Group(_head(ledger, elapsed_s, seconds), _assets(ledger), _alerts(ledger)), refresh=True)
        elif time.monotonic() >= self._next_line_s:
            self._next_line_s = time.monotonic() + LINE_EVERY_S
            self._console.print(_head(ledger, elapsed_s, seconds), highlight=False, soft_wrap=True)


def _head(ledger: Ledger, elapsed_s: float, seconds: float | None) -> Text:
    records = ledger.records
    until = f" of {seconds:.0f}" if seconds is not None else ", Ctrl-C ends it"
    text = Text(f"{elapsed_s:5.0f} s{until}   ")
    for name, topic in (("liquidations", LIQUIDATIONS), ("late", LATE), ("windows", WINDOWS), ("alerts", ALERTS)):
        text.append(f"{name} ", style="dim").append(f"{records[topic.name]:,}   ")
    text.append("dead letters ", style="dim").append(f"{records[DEAD_LETTERS.name]:,}   ")
    return text.append("highest ", style="dim").append(ledger.highest, style=LEVEL_STYLES[ledger.highest])


def _assets(ledger: Ledger) -> Table:
    table = Table("asset", "level", "p", "liq/s", "USD/s", "longs", "led by", box=None, header_style="bold")
    open_episodes = ledger.open_episodes
    states = sorted(
        ledger.states.values(),
        key=lambda state: (-LEVEL_RANKS[open_episodes.get(state.asset, Level.NONE)], -state.probability),
    )
    for state in states[:ASSETS_SHOWN_MAX]:
        level = open_episodes.get(state.asset, Level.NONE)
        judged = next((figures for figures in state.windows if figures.size_ms == WINDOW_MS), None)
        share = f"{judged.long_share:.0%}" if judged and judged.long_share is not None else "-"
        table.add_row(
            escape(state.asset), Text(level, style=LEVEL_STYLES[level]), f"{state.probability:.2f}",
            f"{judged.events_per_s:.1f}" if judged else "-", f"{judged.notional_usd_per_s:,.0f}" if judged else "-",
            share, state.leading_exchange or "-",
        )  # fmt: skip
    return table


def _alerts(ledger: Ledger) -> Table:
    table = Table("newest alerts", "", "", "", box=None, header_style="bold")
    for alert in ledger.alerts[-ALERTS_SHOWN_MAX:][::-1]:
        moved = alert.previous_level is not alert.level
        change = f"{alert.previous_level} → {alert.level}" if moved else alert.level
        table.add_row(
            escape(alert.asset), alert.kind, Text(change, style=LEVEL_STYLES[alert.level]), f"{alert.probability:.2f}"
        )
    return table
