"""What was really sent: the figures that published events are compared with. No socket, no clock."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

from stack.simulator.exchange import Push, Row, compact

# A cascade is about 6,000 rows of about 250 bytes: 32 of them, or 50 MB, are kept to be looked at; counts go on.
SENT_ROWS_MAX: Final = 200_000


class Account:
    """Rows and frames that went to a live, subscribed socket, and rows that nobody was there for, by exchange.

    A row that went to several clients counts once; a frame counts for each."""

    def __init__(self, exchanges: Iterable[str]) -> None:
        zeros = dict.fromkeys(exchanges, 0)
        self.rows: deque[Row] = deque(maxlen=SENT_ROWS_MAX)
        self.sent, self.withheld, self.frames = Counter(zeros), Counter(zeros), Counter(zeros)
        self.notional_micro_usd = Counter(zeros)

    def delivered(self, exchange: str, push: Push, *, frames: int, again: bool = False) -> None:
        """Book a push that went out in so many frames; 0: nobody was subscribed. again: a repetition of an old one."""
        assert frames >= 0
        self.frames[exchange] += frames
        if push.sent or (again and frames == 0):
            return
        if frames == 0:
            self.withheld[exchange] += len(push.rows)
            return
        if again:
            self.withheld[exchange] -= len(push.rows)
        push.sent = True
        self.sent[exchange] += len(push.rows)
        self.notional_micro_usd[exchange] += sum(row.notional_micro_usd for row in push.rows)
        self.rows.extend(push.rows)

    def figures(self) -> dict[str, Any]:
        """Counts for the status; `rows_forgotten` of the rows are no longer in `json_lines`."""
        rows = self.sent.total()
        return {
            "sent": dict(self.sent),
            "rows": rows,
            "frames": self.frames.total(),
            "withheld": dict(self.withheld),
            "notional_micro_usd": dict(self.notional_micro_usd),
            "rows_forgotten": rows - len(self.rows),
        }

    def json_lines(self) -> Iterator[str]:
        """The rows as they should come out of the producers, one JSON object a line, oldest first."""
        for row in tuple(self.rows):
            fields = row._asdict()
            micro_usd = fields.pop("notional_micro_usd")
            yield compact(fields | {"notional_usd": micro_usd / 1e6}) + "\n"
