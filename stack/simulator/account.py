"""What was really sent: the figures that published events are compared with. No socket, no clock."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

from stack.simulator.exchange import Push, Row, compact

# A cascade is about 6,000 rows of about 250 bytes: 32 of them, or 50 MB, are kept to be looked at; counts go on.
SENT_ROWS_MAX: Final = 200_000


class Account:
    """Rows and frames that went to a live, subscribed socket, by exchange; rows that nobody got (withheld), and rows
    that went out so that nobody can understand them (damaged).

    A row that went to several clients, or several times, counts once; a frame counts for each."""

    def __init__(self, exchanges: Iterable[str]) -> None:
        zeros = dict.fromkeys(exchanges, 0)
        self.rows: deque[Row] = deque(maxlen=SENT_ROWS_MAX)
        self.sent, self.withheld, self.damaged = Counter(zeros), Counter(zeros), Counter(zeros)
        self.frames, self.market_frames = Counter(zeros), Counter(zeros)
        self.notional_micro_usd = Counter(zeros)

    def delivered(self, exchange: str, push: Push, *, frames: int, again: bool = False, damaged: bool = False) -> None:
        """Book a push that went out in so many frames; 0: nobody was subscribed. again: a repetition of an old one."""
        assert frames >= 0
        (self.frames if push.rows or push.parts else self.market_frames)[exchange] += frames
        for part in push.parts or (push,):
            self._book(exchange, part, went_out=frames > 0, again=again or bool(push.parts), damaged=damaged)

    def _book(self, exchange: str, push: Push, *, went_out: bool, again: bool, damaged: bool) -> None:
        if push.sent or (again and not went_out):
            return
        if not went_out or damaged:
            if push.withheld is None:
                push.withheld = self.damaged if went_out else self.withheld
                push.withheld[exchange] += len(push.rows)
            return
        if push.withheld is not None:
            push.withheld[exchange] -= len(push.rows)
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
            "market_frames": self.market_frames.total(),
            "withheld": dict(self.withheld),
            "damaged": dict(self.damaged),
            "notional_micro_usd": dict(self.notional_micro_usd),
            "rows_forgotten": rows - len(self.rows),
        }

    def json_lines(self) -> Iterator[str]:
        """The rows as they should come out of the producers, one JSON object a line, oldest first."""
        for row in tuple(self.rows):
            fields = row._asdict()
            micro_usd = fields.pop("notional_micro_usd")
            yield compact(fields | {"notional_usd": micro_usd / 1e6}) + "\n"
