"""The account at the end: what was sent, what stands in the topics, what landed, what is missing, what came twice."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from runtime.settings import load
from schemas.topics import ALERTS, DEAD_LETTERS, LATE, LIQUIDATIONS, STATE, WINDOWS, Topic
from schemas.words import LEVELS, Level
from sinks.counts import redis_counts, timescale_counts
from sinks.settings import SinkSettings
from stack.demo.ledger import COUNTED, Ledger, Row

POLL_S: Final = 0.05
TABLES: Final[dict[str, Topic]] = {"liquidations": LIQUIDATIONS, "windows": WINDOWS, "alerts": ALERTS}


@dataclass(kw_only=True)
class Account:
    """The demo's result; as JSON it is the demo's last line. `why` names what is lost or doubled."""

    seconds: float
    sent: dict[str, int]
    published: dict[str, int]
    dead_letters: int
    alerts: int
    levels: dict[str, int]
    highest_level: str
    final_level: str
    timescale_rows: dict[str, int]
    redis: dict[str, int]
    restarts: dict[str, int]
    lost: int = 0
    duplicates: int = 0
    why: list[str] = field(default_factory=list)

    def miss(self, number: int, what: str) -> None:
        """Book lost records."""
        if number > 0:
            self.lost += number
            self.why.append(f"lost {number}: {what}")

    def double(self, number: int, what: str) -> None:
        """Book doubled records."""
        if number > 0:
            self.duplicates += number
            self.why.append(f"doubled {number}: {what}")


class SentRow(msgspec.Struct):
    """One line of the simulator's own account."""

    exchange: str
    instrument: str
    side: str
    price: float
    quantity: float
    event_time_ms: int

    def row(self) -> Row:
        """As the ledger has it."""
        return self.exchange, self.instrument, self.side, self.price, self.quantity, self.event_time_ms


def sink_settings(environment: Mapping[str, str]) -> SinkSettings:
    """Settings that reach the demo's own stores."""
    return load(
        SinkSettings,
        database={"url": environment["LIQCASCADE_DATABASE__URL"]},
        redis={"url": environment["LIQCASCADE_REDIS__URL"]},
    )


def await_landed(ledger: Ledger, settings: SinkSettings, seconds: float) -> bool:
    """Wait until the ledger has read all and the stores hold it, at most `seconds`; False when they do not."""
    deadline = time.monotonic() + seconds
    while True:
        if ledger.behind(COUNTED) == 0:
            rows = timescale_counts(settings)
            in_database = all(rows[name] >= ledger.distinct(topic) for name, topic in TABLES.items())
            if in_database and redis_counts(settings)["alerts"] >= ledger.distinct(ALERTS):
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)


def settle(
    ledger: Ledger,
    settings: SinkSettings,
    *,
    status: Mapping[str, Any] | None,
    sent_lines: str,
    restarts: Mapping[str, int],
    seconds: float,
) -> Account:
    """Compare the simulator's account with the topics, and the topics with the stores.

    `status` None: real exchanges, of which nobody knows what they sent."""
    rows = timescale_counts(settings)
    account = Account(
        seconds=round(seconds, 1),
        sent=dict(status["sent"]) if status is not None else {},
        published={topic.name: ledger.records[topic.name] for topic in COUNTED if topic not in (STATE, DEAD_LETTERS)},
        dead_letters=ledger.records[DEAD_LETTERS.name],
        alerts=ledger.records[ALERTS.name],
        levels={level: ledger.levels[level] for level in LEVELS if level is not Level.UNKNOWN},
        highest_level=ledger.highest,
        final_level=max(ledger.open_episodes.values(), key=LEVELS.index, default=Level.NONE),
        timescale_rows=rows,
        redis=redis_counts(settings),
        restarts=dict(restarts),
    )
    if status is not None:
        _compare_with_sent(account, ledger, status, sent_lines)
    for topic in (LIQUIDATIONS, LATE, WINDOWS, ALERTS):
        account.double(ledger.doubled[topic.name], f"ids in {topic.name}")
    for name, topic in TABLES.items():
        account.miss(ledger.distinct(topic) - rows[name], f"rows in the table {name}")
        account.double(rows[name] - ledger.distinct(topic), f"rows in the table {name}")
    account.miss(ledger.distinct(LATE) - rows["late"], "late rows in the table liquidations")
    account.miss(ledger.distinct(ALERTS) - account.redis["alerts"], "alerts in Redis")
    account.double(account.redis["alerts"] - ledger.distinct(ALERTS), "alerts in Redis")
    return account


def _compare_with_sent(account: Account, ledger: Ledger, status: Mapping[str, Any], sent_lines: str) -> None:
    """Row by row while the simulator remembers every row, else by their number."""
    if status["rows_forgotten"]:
        account.miss(status["rows"] - ledger.distinct(LIQUIDATIONS), "liquidations that the exchanges sent")
        account.double(ledger.records[LIQUIDATIONS.name] - status["rows"], "liquidations beyond those sent")
        return
    decoder = msgspec.json.Decoder(SentRow)
    sent = Counter(hash(decoder.decode(line).row()) for line in sent_lines.splitlines())
    account.miss((sent - ledger.rows).total(), "liquidations that the exchanges sent")
    account.double((ledger.rows - sent).total(), "liquidations that the exchanges did not send so")
